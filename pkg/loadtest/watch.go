package loadtest

import (
	"context"
	"fmt"
	"hash/maphash"
	"strconv"
	"sync"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// watcher follows a pool's event stream and records by its own clock when it sees each step.
type watcher struct {
	service  park.Service
	pool     string
	ledger   *ledger
	epoch    time.Time
	seed     maphash.Seed  // of the digests of events
	probe    string        // the id of a task whose end shows that the stream flows
	flowSeen chan struct{} // closed when it was seen
	cancel   func(i int)   // starts to cancel a task

	mu         sync.Mutex
	base       int64    // the first rev
	seen       []int64  // by rev from base: when, in nanoseconds since epoch; 0: not at all, -1: late, after a break
	sums       []uint64 // by rev too: sums of the digests of events
	probed     int64    // the rev of the probe's submission
	lastPos    eventPos // of the last event
	outOfOrder int      // events that came after later ones
	last       string   // its id
	live       int
	running    int
	flowing    bool
	behind     bool // the stream was broken and has not caught up yet
	breaks     int
	err        error // the last error
}

const (
	late      = -1
	keepingUp = 100 * time.Millisecond // an event that is seen this soon is not one of a backlog
	mostRevs  = 200_000_000
)

func newWatcher(t *target, l *ledger) *watcher {
	return &watcher{
		service: t.service, pool: t.pool.PoolID, ledger: l, epoch: time.Now(),
		probe: t.run + "probe", flowSeen: make(chan struct{}), seed: maphash.MakeSeed(), cancel: func(int) {},
	}
}

// run follows the stream until ctx ends, from the given time on, and reconnects if it breaks.
func (w *watcher) run(ctx context.Context, since park.Time) {
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, mostPause) {
		w.mu.Lock()
		q := park.AuditQuery{PoolID: w.pool, Cursor: w.last}
		w.mu.Unlock()
		if q.Cursor == "" {
			q.Since = since
		}
		for e, err := range w.service.Watch(ctx, q) {
			if err != nil {
				w.broken(err)
				continue
			}
			pause = firstPause
			w.handle(&e, time.Now())
		}
		sleep(ctx, pause)
	}
}

// broken records that events may come late from now on.
func (w *watcher) broken(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.behind, w.err = true, err
	w.breaks++
}

func (w *watcher) handle(e *park.Event, now time.Time) {
	w.mu.Lock()
	if w.behind && now.Sub(e.At.Time) < keepingUp {
		w.behind = false
	}
	at := max(int64(now.Sub(w.epoch)), 1)
	if w.behind {
		at = late
	}
	w.note(e.Rev, at)
	w.add(e)
	w.last = e.EventID
	w.count(e.Action)
	if e.TaskID == w.probe && ends(e.Action) && !w.flowing {
		w.flowing = true
		close(w.flowSeen)
	}
	w.mu.Unlock()
	w.follow(e)
}

// follow handles an event of one of the generator's tasks.
func (w *watcher) follow(e *park.Event) {
	if e.Action != park.ActStart && !ends(e.Action) {
		return
	}
	switch i, ok := w.ledger.number(e.TaskID); {
	case !ok:
	case e.Action != park.ActStart:
		w.ledger.endSeen(i)
	case w.ledger.toStop(i):
		w.cancel(i)
	}
}

// note records when the first event of a rev was seen.
func (w *watcher) note(rev, at int64) {
	if w.base == 0 {
		w.base = rev
	}
	i := rev - w.base
	if i < 0 || i > mostRevs {
		return
	}
	for int64(len(w.seen)) <= i {
		w.seen, w.sums = append(w.seen, 0), append(w.sums, 0)
	}
	if w.seen[i] == 0 {
		w.seen[i] = at
	}
}

// count counts for the progress display; the judge has its own counts.
func (w *watcher) count(a park.Action) {
	switch a {
	case park.ActSubmit:
		w.live++
	case park.ActStart:
		w.running++
	case park.ActComplete, park.ActFail:
		w.running--
		w.live--
	case park.ActExpire, park.ActCancel:
		w.live--
	case park.ActRequeue:
		w.running--
	default:
	}
}

// progress fills in the stream's part.
func (w *watcher) progress(p *Progress) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p.Running, p.Parked = max(0, w.running), max(0, w.live-w.running)
}

// when returns when a rev was seen, since the epoch; false if it was not, or late.
func (w *watcher) when(rev int64) (time.Duration, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := rev - w.base
	if i < 0 || i >= int64(len(w.seen)) || w.seen[i] <= 0 {
		return 0, false
	}
	return time.Duration(w.seen[i]), true
}

func ends(a park.Action) bool {
	return a == park.ActComplete || a == park.ActFail || a == park.ActExpire || a == park.ActCancel
}

// probe runs one task of no duration, to see that the pool runs simulated work and that the stream flows. It returns
// when the task was submitted, by the daemon's clock.
func (t *target) probe(ctx context.Context, w *watcher, tenant string) (park.Time, error) {
	const answer = 8191
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	s := park.Submission{TaskID: w.probe, Tenant: tenant, Payload: payload(time.Millisecond, false, answer)}
	results, err := t.service.Submit(ctx, w.pool, []park.Submission{s})
	switch {
	case err != nil:
		return park.Time{}, fmt.Errorf("submit a first task to pool %s: %w", w.pool, err)
	case len(results) != 1:
		return park.Time{}, fmt.Errorf("submit a first task to pool %s: %d answers to one task", w.pool, len(results))
	case results[0].Err != nil:
		return park.Time{}, fmt.Errorf("submit a first task to pool %s: %w", w.pool, results[0].Err)
	}
	task, err := t.service.Task(ctx, w.pool, w.probe, 20*time.Second)
	if err != nil {
		return park.Time{}, fmt.Errorf("read the first task: %w", err)
	}
	if task.Status != park.Completed || string(task.Result) != strconv.Itoa(answer) {
		return park.Time{}, fmt.Errorf("the first task of pool %s is %s with the result %.60q, not completed with %d: "+
			"the pool must be idle enough to start it and its executor must simulate", w.pool, task.Status, task.Result, answer)
	}
	select {
	case <-w.flowSeen:
		return results[0].SubmittedAt, nil
	case <-ctx.Done():
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.err != nil {
			return park.Time{}, fmt.Errorf("follow the events of pool %s: %w", w.pool, w.err)
		}
		return park.Time{}, fmt.Errorf("the events of pool %s do not arrive", w.pool)
	}
}
