package loadtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parkd-dev/parkd/pkg/park"
)

// submitter is what a client of the load submits through.
type submitter interface {
	Submit(ctx context.Context, pool string, tasks []park.Submission) ([]park.SubmitResult, error)
}

// generator submits a workload.
type generator struct {
	line    func(ctx context.Context, client int) submitter
	pool    string
	load    *workload
	ledger  *ledger
	found   *findings
	latency *latencies
	halfway func()       // called once, in the middle of the submissions
	cancel  func(i int)  // begins to cancel a task
	alive   func() error // says why there is no daemon to wait for any more
	begun   time.Time

	mu     sync.Mutex
	taken  int
	half   bool
	done   bool
	heard  time.Time // when a task was answered last
	silent bool      // none was for as long as patience lasts: the rest of the load is left out
}

// The patience with a submission that gets no answer: a daemon that restarts comes back within it. Where it has run out for one
// and no other was answered meanwhile, there is nobody to submit to.
const (
	patience   = 60 * time.Second
	firstPause = 20 * time.Millisecond
	mostPause  = 500 * time.Millisecond
)

// run submits the whole load. Refused tasks are no error, but a daemon that cannot be used at all is one.
func (g *generator) run(ctx context.Context, clients, batch int) error {
	g.begun = time.Now()
	defer g.finish()
	if g.load.open {
		return g.runOpen(ctx, clients)
	}
	group, ctx := errgroup.WithContext(ctx)
	for n := range clients {
		group.Go(func() error {
			line := g.line(ctx, n)
			for {
				b := g.take(batch)
				if len(b) == 0 {
					return nil
				}
				if err := g.submit(ctx, line, b, time.Now()); err != nil {
					return err
				}
			}
		})
	}
	return group.Wait()
}

// runOpen submits each task at its own time. More than the given number are never under way at once, so that
// files do not run out; a task that must wait for that is late, and its latency says so.
func (g *generator) runOpen(ctx context.Context, inFlight int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(inFlight)
	idle := make(chan submitter, inFlight+1) // one is taken while all others are under way
	for opened := 0; ; {
		b := g.take(1)
		if len(b) == 0 {
			return group.Wait()
		}
		due := g.begun.Add(b[0].job.arrival)
		if !sleep(ctx, time.Until(due)) {
			return errors.Join(group.Wait(), ctx.Err())
		}
		var line submitter
		select {
		case line = <-idle:
		default:
			line = g.line(ctx, opened)
			opened++
		}
		group.Go(func() error {
			err := g.submit(ctx, line, b, due)
			idle <- line
			return err
		})
	}
}

// finish notes that all was submitted.
func (g *generator) finish() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done = true
}

// state returns how many tasks were offered and whether that was all.
func (g *generator) state() (taken int, done bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.taken, g.done
}

// planned is a job and its number.
type planned struct {
	i   int
	job job
}

// take plans up to n more tasks and books them; none when the load is over.
func (g *generator) take(n int) []planned {
	g.mu.Lock()
	defer g.mu.Unlock()
	var b []planned
	for len(b) < n && !g.silent && (g.load.size == 0 || g.taken < g.load.size) {
		if g.load.until > 0 && !g.load.open && time.Since(g.begun) >= g.load.until {
			break
		}
		j := g.load.next(g.taken)
		if g.load.until > 0 && g.load.open && j.arrival >= g.load.until {
			break
		}
		b = append(b, planned{g.ledger.offer(&j), j})
		g.taken++
	}
	if !g.half && g.isHalf() {
		g.half = true
		g.halfway()
	}
	return b
}

func (g *generator) isHalf() bool {
	return g.load.size > 0 && g.taken >= (g.load.size+1)/2 ||
		g.load.until > 0 && time.Since(g.begun) >= g.load.until/2
}

// submit sends a batch that arrived at the given time until it is answered, and books the answers.
func (g *generator) submit(ctx context.Context, line submitter, b []planned, arrived time.Time) error {
	tasks := make([]park.Submission, len(b))
	for i, p := range b {
		tasks[i] = p.job.submission(g.ledger.run, p.i, arrived)
		g.ledger.sent(p.i, tasks[i].Deadline)
	}
	pause, first, began := firstPause, true, time.Now()
	for giveUp := began.Add(patience); time.Now().Before(giveUp); pause, first = min(2*pause, mostPause), false {
		results, err := line.Submit(ctx, g.pool, tasks)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !again(err):
			return fmt.Errorf("submit to pool %s: %w", g.pool, err)
		case err != nil:
			for _, p := range b {
				g.ledger.again(p.i, err)
			}
		default:
			if b, tasks = g.book(b, tasks, results, first); len(b) == 0 {
				g.latency.record(time.Since(arrived))
				return nil
			}
		}
		if err := g.alive(); err != nil {
			return err
		}
		sleep(ctx, pause)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.silent = g.silent || g.heard.Before(began)
	return nil // the ledger shows which were never answered
}

// hear notes that a task was answered.
func (g *generator) hear() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.heard = time.Now()
}

// cut returns how many tasks were not offered because nobody answered, if that is known.
func (g *generator) cut() (left int, silent bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(g.load.size-g.taken, 0), g.silent
}

// book notes the answers to what was sent for the first time, or again, and returns what must be sent again because
// nothing could be stored.
func (g *generator) book(b []planned, tasks []park.Submission, results []park.SubmitResult, first bool) (rest []planned, left []park.Submission) {
	for i := range b {
		if i >= len(results) {
			g.found.note(wrongAnswer, "%d tasks were submitted at once and %d answered", len(b), len(results))
			break
		}
		r, p := &results[i], &b[i]
		if r.Err != nil && again(r.Err) {
			g.ledger.again(p.i, r.Err)
			rest, left = append(rest, *p), append(left, tasks[i])
			continue
		}
		if r.Err == nil {
			g.check(&tasks[i], &r.Accepted, first)
		}
		g.ledger.answered(p.i, r)
		g.hear()
		if r.Err == nil && p.job.cancel == atOnce {
			g.cancel(p.i)
		}
	}
	return rest, left
}

// check notes an answer that cannot be one to its submission.
func (g *generator) check(s *park.Submission, a *park.Accepted, first bool) {
	switch {
	case a.TaskID != s.TaskID || a.PoolID != g.pool:
		g.found.note(wrongAnswer, "the submission of task %s to pool %s was answered with task %s in pool %s", s.TaskID, g.pool, a.TaskID, a.PoolID)
	case a.Status == park.Queued != (a.Position > 0) || a.Position < 0:
		g.found.note(wrongAnswer, "task %s was answered to be %s in position %d", s.TaskID, a.Status, a.Position)
	case first && a.Status != park.Queued && a.Status != park.Running:
		g.found.note(wrongAnswer, "task %s was answered to be %s when it was submitted", s.TaskID, a.Status)
	case a.SubmittedAt.IsZero():
		g.found.note(wrongAnswer, "the answer to task %s does not say when it was submitted", s.TaskID)
	}
}

// again reports whether the same submission may succeed later: the daemon could not be reached, or could not
// store anything.
func again(err error) bool {
	e, ok := errors.AsType[*park.Error](err)
	return !ok || park.Passing(e) || e.Code == park.OutcomeUnknown || e.Code == park.Internal
}

// sleep waits for d and reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
