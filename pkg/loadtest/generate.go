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

// submitter is the interface through which a client submits.
type submitter interface {
	Submit(ctx context.Context, pool string, tasks []park.Submission) ([]park.SubmitResult, error)
}

// generator submits a workload.
type generator struct {
	line     func(ctx context.Context, client int) submitter
	pool     string
	load     *workload
	ledger   *ledger
	findings *findings
	latency  *latencies
	halfway  func()       // called once, midway through the submissions
	cancel   func(i int)  // starts to cancel a task
	alive    func() error // returns why the daemon is gone for good, if it is
	started  time.Time

	mu           sync.Mutex
	plannedCount int
	half         bool
	done         bool
	lastAnswer   time.Time // when a task was last answered
	unanswered   bool      // none was within the patience: the rest of the load is left out
}

// How long to repeat a submission without an answer: a daemon that restarts is back within it. If it runs out for one
// submission and no other was answered meanwhile, the daemon is gone.
const (
	patience   = 60 * time.Second
	firstPause = 20 * time.Millisecond
	mostPause  = 500 * time.Millisecond
)

// run submits the whole load. Refused tasks are no error, but an unusable daemon is.
func (g *generator) run(ctx context.Context, clients, batch int) error {
	g.started = time.Now()
	defer g.finish()
	if g.load.open {
		return g.runOpen(ctx, clients)
	}
	group, ctx := errgroup.WithContext(ctx)
	for n := range clients {
		group.Go(func() error {
			line := g.line(ctx, n)
			for {
				b := g.plan(batch)
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

// runOpen submits each task at its own time. At most inFlight are in progress at once, so that files do not run out;
// the latency of a task includes a wait for that.
func (g *generator) runOpen(ctx context.Context, inFlight int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(inFlight)
	idle := make(chan submitter, inFlight+1) // one is taken while all others are under way
	for opened := 0; ; {
		b := g.plan(1)
		if len(b) == 0 {
			return group.Wait()
		}
		due := g.started.Add(b[0].job.arrival)
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

// finish records that everything was submitted.
func (g *generator) finish() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done = true
}

// state returns how many tasks were planned and whether that was all.
func (g *generator) state() (taken int, done bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.plannedCount, g.done
}

// plannedJob is a job and its number.
type plannedJob struct {
	i   int
	job job
}

// plan plans up to n more tasks and records them; none at the end of the load.
func (g *generator) plan(n int) []plannedJob {
	g.mu.Lock()
	defer g.mu.Unlock()
	var b []plannedJob
	for len(b) < n && !g.unanswered && (g.load.size == 0 || g.plannedCount < g.load.size) {
		if g.load.until > 0 && !g.load.open && time.Since(g.started) >= g.load.until {
			break
		}
		j := g.load.next(g.plannedCount)
		if g.load.until > 0 && g.load.open && j.arrival >= g.load.until {
			break
		}
		b = append(b, plannedJob{g.ledger.offer(&j), j})
		g.plannedCount++
	}
	if !g.half && g.isHalf() {
		g.half = true
		g.halfway()
	}
	return b
}

func (g *generator) isHalf() bool {
	return g.load.size > 0 && g.plannedCount >= (g.load.size+1)/2 ||
		g.load.until > 0 && time.Since(g.started) >= g.load.until/2
}

// submit repeats a batch that arrived at the given time until it is answered, and records the answers.
func (g *generator) submit(ctx context.Context, line submitter, b []plannedJob, arrived time.Time) error {
	tasks := make([]park.Submission, len(b))
	for i, p := range b {
		tasks[i] = p.job.submission(g.ledger.run, p.i, arrived)
		g.ledger.setDeadline(p.i, tasks[i].Deadline)
	}
	pause, first, began := firstPause, true, time.Now()
	for giveUp := began.Add(patience); time.Now().Before(giveUp); pause, first = min(2*pause, mostPause), false {
		results, err := line.Submit(ctx, g.pool, tasks)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !isTemporary(err):
			return fmt.Errorf("submit to pool %s: %w", g.pool, err)
		case err != nil:
			for _, p := range b {
				g.ledger.markResent(p.i, err)
			}
		default:
			if b, tasks = g.record(b, tasks, results, first); len(b) == 0 {
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
	g.unanswered = g.unanswered || g.lastAnswer.Before(began)
	return nil // the ledger shows the unanswered ones
}

// noteAnswer records that a task was answered.
func (g *generator) noteAnswer() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lastAnswer = time.Now()
}

// leftOut returns how many tasks were not submitted because the daemon did not answer, if that is known.
func (g *generator) leftOut() (left int, silent bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(g.load.size-g.plannedCount, 0), g.unanswered
}

// record records the answers to a batch, sent for the first time or again, and returns the tasks to send again because
// nothing could be stored.
func (g *generator) record(b []plannedJob, tasks []park.Submission, results []park.SubmitResult, first bool) (rest []plannedJob, left []park.Submission) {
	for i := range b {
		if i >= len(results) {
			g.findings.note(wrongAnswer, "%d tasks were submitted at once and %d answered", len(b), len(results))
			break
		}
		r, p := &results[i], &b[i]
		if r.Err != nil && isTemporary(r.Err) {
			g.ledger.markResent(p.i, r.Err)
			rest, left = append(rest, *p), append(left, tasks[i])
			continue
		}
		if r.Err == nil {
			g.checkAccepted(&tasks[i], &r.Accepted, first)
		}
		g.ledger.answered(p.i, r)
		g.noteAnswer()
		if r.Err == nil && p.job.cancel == atOnce {
			g.cancel(p.i)
		}
	}
	return rest, left
}

// checkAccepted records an answer that does not match its submission.
func (g *generator) checkAccepted(s *park.Submission, a *park.Accepted, first bool) {
	switch {
	case a.TaskID != s.TaskID || a.PoolID != g.pool:
		g.findings.note(wrongAnswer, "the submission of task %s to pool %s was answered with task %s in pool %s", s.TaskID, g.pool, a.TaskID, a.PoolID)
	case a.Status == park.Queued != (a.Position > 0) || a.Position < 0:
		g.findings.note(wrongAnswer, "task %s was answered to be %s in position %d", s.TaskID, a.Status, a.Position)
	case first && a.Status != park.Queued && a.Status != park.Running:
		g.findings.note(wrongAnswer, "task %s was answered to be %s when it was submitted", s.TaskID, a.Status)
	case a.SubmittedAt.IsZero():
		g.findings.note(wrongAnswer, "the answer to task %s does not say when it was submitted", s.TaskID)
	}
}

// isTemporary reports whether the same submission may succeed later: the daemon could not be reached, or could not
// store anything.
func isTemporary(err error) bool {
	e, ok := errors.AsType[*park.Error](err)
	return !ok || park.Passing(e) || e.Code == park.OutcomeUnknown || e.Code == park.Internal
}

// sleep waits for d and returns false if ctx ended first.
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
