package loadtest

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// canceller cancels those tasks of a load that are to be.
type canceller struct {
	service park.TaskService
	pool    string
	ledger  *ledger
	found   *findings

	ctx  context.Context //nolint:containedctx // a task is cancelled when it is seen to run, by whoever sees it
	stop context.CancelFunc
	busy sync.WaitGroup
}

func newCanceller(ctx context.Context, t *target, l *ledger, f *findings) *canceller {
	c := &canceller{service: t.service, pool: t.pool.PoolID, ledger: l, found: f}
	c.ctx, c.stop = context.WithCancel(ctx)
	return c
}

// begin cancels task number i, once, and does not wait for that.
func (c *canceller) begin(i int) {
	if c.ledger.ask(i) {
		c.busy.Go(func() { c.cancel(i) })
	}
}

// cancel asks until there is an answer.
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
				c.found.note(wrongAnswer, "the cancellation of task %s was answered with task %s that is %s", id, t.TaskID, t.Status)
			}
			c.ledger.mark(i, cancelled)
			return
		case park.CodeOf(err) == park.TaskFinished:
			if tries == 1 { // else it may have been cancelled by a request whose answer was lost
				c.ledger.mark(i, cancelRefused)
			}
			return
		case !again(err):
			c.found.note(wrongAnswer, "the cancellation of task %s was refused: %v", id, err)
			return
		}
		sleep(c.ctx, pause)
		pause = min(2*pause, mostPause)
	}
}

// finish waits for the answers, but not for ever, and gives up those that do not come. It may be called again.
func (c *canceller) finish() {
	all := make(chan struct{})
	go func() {
		c.busy.Wait()
		close(all)
	}()
	t := time.NewTimer(settling)
	defer t.Stop()
	select {
	case <-all:
	case <-t.C:
	}
	c.stop()
	<-all
}

// ask books that a task is to be cancelled, and reports whether it was not before.
func (l *ledger) ask(i int) bool {
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
