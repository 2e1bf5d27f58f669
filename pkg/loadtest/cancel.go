package loadtest

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// canceller cancels the tasks of a load that are to be cancelled.
type canceller struct {
	service  park.TaskService
	pool     string
	ledger   *ledger
	findings *findings

	ctx     context.Context //nolint:containedctx // a task is cancelled when it is seen to run, by whoever sees it
	stop    context.CancelFunc
	pending sync.WaitGroup
}

func newCanceller(ctx context.Context, t *target, l *ledger, f *findings) *canceller {
	c := &canceller{service: t.service, pool: t.pool.PoolID, ledger: l, findings: f}
	c.ctx, c.stop = context.WithCancel(ctx)
	return c
}

// begin starts to cancel task number i, once.
func (c *canceller) begin(i int) {
	if c.ledger.markCancelled(i) {
		c.pending.Go(func() { c.cancel(i) })
	}
}

// cancel repeats the request until there is an answer.
func (c *canceller) cancel(i int) {
	id := c.ledger.run + strconv.Itoa(i)
	pause := firstPause
	for tries := 1; c.ctx.Err() == nil; tries++ {
		t, err := c.service.Cancel(c.ctx, c.pool, id)
		switch {
		case c.ctx.Err() != nil:
			return
		case err == nil:
			if t.TaskID != id || t.Status != park.Dropped {
				c.findings.note(wrongAnswer, "the cancellation of task %s was answered with task %s that is %s", id, t.TaskID, t.Status)
			}
			c.ledger.mark(i, cancelled)
			return
		case park.CodeOf(err) == park.TaskFinished:
			if tries == 1 { // else it may have been cancelled by a request whose answer was lost
				c.ledger.mark(i, cancelRefused)
			}
			return
		case !isTemporary(err):
			c.findings.note(wrongAnswer, "the cancellation of task %s was refused: %v", id, err)
			return
		}
		sleep(c.ctx, pause)
		pause = min(2*pause, mostPause)
	}
}

// finish waits for the answers for a limited time, and gives up the others. It may be called again.
func (c *canceller) finish() {
	all := make(chan struct{})
	go func() {
		c.pending.Wait()
		close(all)
	}()
	t := time.NewTimer(lagTimeout)
	defer t.Stop()
	select {
	case <-all:
	case <-t.C:
	}
	c.stop()
	<-all
}

// markCancelled records that a task is to be cancelled, and reports whether that is new.
func (l *ledger) markCancelled(i int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &l.entries[i]
	if e.is(cancelAsked) {
		return false
	}
	e.mark(cancelAsked)
	return true
}

// cancels counts the tasks that were to be cancelled.
func (l *ledger) cancels() (n int) {
	for i := range l.entries {
		if l.entries[i].is(cancelAsked) {
			n++
		}
	}
	return n
}
