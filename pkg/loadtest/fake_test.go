package loadtest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// fake is a small pool with one lock, strict order and simulated work. A load test must find its faults.
type fake struct {
	park.Service // nil: a load test calls no other method

	mu          sync.Mutex
	pool        park.Pool
	rev         int64
	events      []park.Event
	moreEvents  chan struct{} // closed and replaced when there are more events
	tasks       map[string]*fakeTask
	all         []*fakeTask // by arrival
	line        []*fakeTask
	requeueRank int // the rank of the task that was requeued last
	mail        map[mailbox][]park.Message

	asleep atomic.Bool

	overCommit   int64                // units that it uses beyond its capacity
	startDelay   time.Duration        // delay between freed units and the next start
	runDelay     time.Duration        // delay between the start in the log and the work
	loseMessage  func(id string) bool // a message that is never delivered
	twice        func(id string) bool // a message that is delivered twice
	wrongResult  func(id string) bool // a result of another task
	neverEnds    func(id string) bool // a task that never ends
	lastFirst    bool                 // the last parked task starts first
	refuse       func(id string) *park.Error
	outage       func() bool // nothing can be stored
	ignoreCancel bool        // a cancelled task keeps running
	work         func(id string, w *fakeWork)
	expireEarly  time.Duration // how long before their deadline tasks expire
	dropAnswer   bool          // the last answer of a batch is missing

	onSubmit func(n int) // called with the number of each submission
	offered  int
	gate     sync.Mutex
	// answerInstead says whether the submission of a task is accepted, and which answer is sent instead.
	answerInstead func(id string) (bool, error)
	loseAnswer    func(n int) bool // its answer is lost
	onAnswer      func(r *park.SubmitResult)
	onCancel      func(t *park.Task, err error) (park.Task, error)
}

// fakeWork is what a task's payload asks for.
type fakeWork struct {
	DurationMs int64           `json:"durationMs"`
	Fail       bool            `json:"fail"`
	Result     json.RawMessage `json:"result"`
}

type fakeTask struct {
	park.Submission
	status  park.Status
	rank    int
	attempt int
	result  json.RawMessage
	reason  string
	done    chan struct{}
	stop    chan struct{} // closed when its run is to stop
	stopped bool
	submit  park.Time
	began   park.Time
	ended   park.Time
}

func (t *fakeTask) view() park.Task {
	return park.Task{
		TaskID: t.TaskID, PoolID: "load", Tenant: t.Tenant, Status: t.status, Priority: t.Priority, ResourceCost: t.ResourceCost,
		Attempt: t.attempt, Deadline: t.Deadline, TimeoutSecs: t.TimeoutSecs, MailboxKey: t.MailboxKey.Key, Reason: t.reason,
		Result: t.result, SubmittedAt: t.submit, StartedAt: t.began, CompletedAt: t.ended,
	}
}

func newFake() *fake {
	return &fake{
		pool: park.Pool{
			PoolID: "load", MaxUnits: 24, MaxQueueDepth: 1_000_000, State: park.Active,
			Executor: "simulate", QueueBackend: park.InMemory, MailboxBackend: park.InMemory,
		},
		moreEvents: make(chan struct{}), tasks: map[string]*fakeTask{}, mail: map[mailbox][]park.Message{},
	}
}

func (f *fake) Pool(context.Context, string) (park.Pool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.pool
	p.QueueDepth = len(f.line)
	if p.UsedUnits > 0 {
		p.Running = 1
	}
	return p, nil
}

// step runs one change and gives its events a rev.
func (f *fake) step(change func(event func(a park.Action, t *fakeTask, detail string))) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.locked(change)
}

func (f *fake) locked(change func(event func(a park.Action, t *fakeTask, detail string))) {
	ord, rev := 0, f.rev+1
	change(func(a park.Action, t *fakeTask, detail string) {
		e := park.Event{At: park.At(time.Now()), Rev: rev, Ord: ord, Action: a, PoolID: "load", EventID: park.EventID("load", rev, ord)}
		if a != park.ActUpdate {
			e.TaskID, e.Tenant, e.Units, e.Attempt = t.TaskID, t.Tenant, int64(t.ResourceCost.Units), t.attempt
		}
		if detail != "" {
			e.Detail = json.RawMessage(detail)
		}
		ord++
		f.events = append(f.events, e)
	})
	if ord > 0 {
		f.rev = rev
		close(f.moreEvents)
		f.moreEvents = make(chan struct{})
	}
}

func (f *fake) Submit(_ context.Context, _ string, tasks []park.Submission) ([]park.SubmitResult, error) {
	n, out := f.countSubmission()
	if out {
		return nil, park.Errorf(park.StorageUnavailable, "no store")
	}
	time.Sleep(time.Millisecond)
	if f.answerInstead != nil && len(tasks) == 1 {
		if take, err := f.answerInstead(tasks[0].TaskID); err != nil {
			if take {
				f.step(func(event func(park.Action, *fakeTask, string)) { f.take(tasks[0], event) })
			}
			return nil, err
		}
	}
	results := make([]park.SubmitResult, len(tasks))
	for i, s := range tasks {
		if err := s.Normalize(); err != nil {
			return nil, err
		}
		f.step(func(event func(park.Action, *fakeTask, string)) { results[i] = f.take(s, event) })
		if f.onAnswer != nil {
			f.onAnswer(&results[i])
		}
	}
	if f.loseAnswer != nil && f.loseAnswer(n) {
		return nil, errors.New("the connection broke")
	}
	if f.dropAnswer && len(results) > 1 {
		results = results[1:]
	}
	return results, nil
}

// countSubmission counts a submission and reports whether the store is out.
func (f *fake) countSubmission() (n int, out bool) {
	f.gate.Lock()
	defer f.gate.Unlock()
	f.offered++
	if f.onSubmit != nil {
		f.onSubmit(f.offered)
	}
	return f.offered, f.outage != nil && f.outage()
}

func (f *fake) take(s park.Submission, event func(park.Action, *fakeTask, string)) park.SubmitResult {
	now := park.At(time.Now())
	if t := f.tasks[s.TaskID]; t != nil {
		a := park.Accepted{TaskID: s.TaskID, PoolID: "load", Status: t.status, SubmittedAt: t.submit}
		if t.status == park.Queued {
			a.Position = 1
		}
		return park.SubmitResult{Accepted: a}
	}
	t := &fakeTask{
		Submission: s, status: park.Queued, rank: len(f.tasks), submit: now,
		done: make(chan struct{}), stop: make(chan struct{}),
	}
	if s.ResourceCost.Units == 0 {
		t.ResourceCost.Units = 1
	}
	if err := f.refusal(&s, now); err != nil {
		if !park.Passing(err) {
			event(park.ActReject, t, `{"code":"`+string(err.Code)+`"}`)
		}
		return park.SubmitResult{Err: err}
	}
	f.tasks[s.TaskID], f.all = t, append(f.all, t)
	event(park.ActSubmit, t, t.told())
	a := park.Accepted{TaskID: s.TaskID, PoolID: "load", SubmittedAt: now}
	if f.startsNow(t.Priority, int64(t.ResourceCost.Units)) {
		f.start(t, event)
	} else {
		event(park.ActEnqueue, t, "")
		f.park(t)
		a.Position = 1 + int64(slices.IndexFunc(f.line, func(o *fakeTask) bool { return o == t }))
		if !s.Deadline.IsZero() {
			time.AfterFunc(time.Until(s.Deadline.Time)-f.expireEarly, func() { f.expire(t) })
		}
	}
	a.Status = t.status
	return park.SubmitResult{Accepted: a}
}

func (t *fakeTask) told() string {
	s := fmt.Sprintf(`{"priority":%q,"mailbox":%q`, t.Priority, t.MailboxKey.Key)
	if !t.Deadline.IsZero() {
		s += fmt.Sprintf(`,"deadline":%q`, t.Deadline)
	}
	return s + "}"
}

func (f *fake) refusal(s *park.Submission, now park.Time) *park.Error {
	if f.refuse != nil {
		if err := f.refuse(s.TaskID); err != nil {
			return err
		}
	}
	if len(f.line) >= f.pool.MaxQueueDepth && !f.startsNow(s.Priority, int64(max(s.ResourceCost.Units, 1))) {
		return park.Errorf(park.QueueFull, "full")
	}
	if !s.Deadline.IsZero() && !s.Deadline.After(now.Time) {
		return park.Errorf(park.DeadlinePast, "too late")
	}
	return nil
}

func (f *fake) startsNow(p park.Priority, units int64) bool {
	first := f.first()
	return (first == nil || first.Priority < p) && f.pool.UsedUnits+units <= f.pool.MaxUnits+f.overCommit
}

func (f *fake) fits(t *fakeTask) bool {
	return f.pool.UsedUnits+int64(t.ResourceCost.Units) <= f.pool.MaxUnits+f.overCommit
}

func (f *fake) first() *fakeTask {
	switch {
	case len(f.line) == 0:
		return nil
	case f.lastFirst:
		return f.line[len(f.line)-1]
	}
	return f.line[0]
}

func (f *fake) park(t *fakeTask) {
	i, _ := slices.BinarySearchFunc(f.line, t, func(a, b *fakeTask) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), a.rank-b.rank)
	})
	f.line = slices.Insert(f.line, i, t)
}

func (f *fake) leave(t *fakeTask) {
	f.line = slices.DeleteFunc(f.line, func(o *fakeTask) bool { return o == t })
}

func (f *fake) start(t *fakeTask, event func(park.Action, *fakeTask, string)) {
	t.status, t.began = park.Running, park.At(time.Now())
	t.attempt++
	f.pool.UsedUnits += int64(t.ResourceCost.Units)
	event(park.ActStart, t, "")
	var w fakeWork
	if err := json.Unmarshal(t.Payload, &w); err != nil {
		panic(err)
	}
	if f.neverEnds != nil && f.neverEnds(t.TaskID) {
		f.pool.UsedUnits -= int64(t.ResourceCost.Units)
		return
	}
	if f.work != nil {
		f.work(t.TaskID, &w)
	}
	go f.run(t, w, t.attempt)
}

// run does a task's work.
func (f *fake) run(t *fakeTask, w fakeWork, attempt int) {
	limit := time.Duration(t.TimeoutSecs) * time.Second
	if limit == 0 {
		limit = time.Hour
	}
	stop := t.stop
	if f.ignoreCancel {
		stop = nil
	}
	select {
	case <-time.After(f.runDelay + time.Duration(w.DurationMs)*time.Millisecond):
	case <-time.After(limit):
		f.end(t, park.ActFail, park.Failed, park.ReasonTimeout)
		return
	case <-stop:
	}
	f.mu.Lock()
	stopped, lost := t.stopped, t.attempt != attempt || t.status != park.Running
	f.mu.Unlock()
	switch {
	case lost:
	case stopped && !f.ignoreCancel:
		f.end(t, park.ActCancel, park.Dropped, park.ReasonCancelled)
	case w.Fail:
		f.end(t, park.ActFail, park.Failed, reasonRequested)
	default:
		t.result = w.Result
		f.end(t, park.ActComplete, park.Completed, "")
	}
}

func (f *fake) end(t *fakeTask, a park.Action, s park.Status, reason string) {
	f.step(func(event func(park.Action, *fakeTask, string)) { f.over(t, a, s, reason, event) })
	if f.startDelay > 0 && f.asleep.CompareAndSwap(false, true) {
		time.AfterFunc(f.startDelay, func() {
			f.asleep.Store(false)
			f.step(f.wake)
		})
	}
}

func (f *fake) over(t *fakeTask, a park.Action, s park.Status, reason string, event func(park.Action, *fakeTask, string)) {
	if t.status == park.Running {
		f.pool.UsedUnits -= int64(t.ResourceCost.Units)
	}
	t.status, t.reason, t.ended = s, reason, park.At(time.Now())
	detail := ""
	if reason != "" {
		detail = `{"reason":"` + reason + `"}`
	}
	event(a, t, detail)
	f.deliver(t)
	close(t.done)
	if f.startDelay == 0 {
		f.wake(event)
	}
}

func (f *fake) wake(event func(park.Action, *fakeTask, string)) {
	for t := f.first(); t != nil && f.fits(t); t = f.first() {
		f.leave(t)
		f.start(t, event)
	}
}

// loseRuns requeues all runs, as if their node had died.
func (f *fake) loseRuns() {
	f.step(func(event func(park.Action, *fakeTask, string)) {
		for _, t := range slices.Backward(f.all) { // the task that is requeued last will be first
			switch {
			case t.status != park.Running:
			case t.stopped:
				f.over(t, park.ActCancel, park.Dropped, park.ReasonCancelled, event)
			default:
				event(park.ActRequeue, t, `{"reason":"node_lost"}`)
				f.pool.UsedUnits -= int64(t.ResourceCost.Units)
				f.requeueRank--
				t.status, t.rank = park.Queued, f.requeueRank
				f.park(t)
			}
		}
		f.wake(event)
	})
}

func (f *fake) expire(t *fakeTask) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t.status == park.Queued {
		f.leave(t)
		f.locked(func(event func(park.Action, *fakeTask, string)) {
			f.over(t, park.ActExpire, park.Expired, park.ReasonDeadlinePassed, event)
		})
	}
}

func (f *fake) Cancel(ctx context.Context, _, id string) (park.Task, error) {
	f.mu.Lock()
	t := f.tasks[id]
	var err error
	switch {
	case t.status.Ended():
		err = park.Errorf(park.TaskFinished, "over")
	case t.status == park.Queued:
		f.leave(t)
		f.locked(func(event func(park.Action, *fakeTask, string)) {
			f.over(t, park.ActCancel, park.Dropped, park.ReasonCancelled, event)
		})
	case !t.stopped:
		f.locked(func(event func(park.Action, *fakeTask, string)) { event(park.ActUpdate, t, `{"cancel":"`+id+`"}`) })
		t.stopped = true
		close(t.stop)
	}
	f.mu.Unlock()
	select {
	case <-t.done:
	case <-ctx.Done():
		return park.Task{}, ctx.Err()
	}
	v := t.view()
	if f.onCancel != nil {
		return f.onCancel(&v, err)
	}
	return v, err
}

func (f *fake) deliver(t *fakeTask) {
	m := park.Message{
		TaskID: t.TaskID, PoolID: "load", Status: t.status, Reason: t.reason, Payload: t.result, Attempt: t.attempt, CreatedAt: t.ended,
	}
	b := mailbox{t.Tenant, t.MailboxKey.Key}
	if f.loseMessage != nil && f.loseMessage(t.TaskID) {
		return
	}
	if f.wrongResult != nil && f.wrongResult(t.TaskID) {
		m.Payload = json.RawMessage("-1")
	}
	n := 1
	if f.twice != nil && f.twice(t.TaskID) {
		n = 2
	}
	for range n {
		m.ID = fmt.Sprintf("%08d", len(f.mail[b])+1)
		f.mail[b] = append(f.mail[b], m)
	}
}
