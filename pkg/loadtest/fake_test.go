package loadtest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// fake is a small pool with one lock: strict order, simulated work. Its faults are what a run must find.
type fake struct {
	park.Service // what a load test does not use is not there

	mu     sync.Mutex
	pool   park.Pool
	rev    int64
	events []park.Event
	grown  chan struct{} // closed and replaced when there are more events
	tasks  map[string]*fakeTask
	line   []*fakeTask
	mail   map[box][]park.Message

	asleep atomic.Bool

	overCommit  int64                // units that it thinks it has and does not
	sleepy      time.Duration        // it looks for tasks to start so long after units came free
	dawdle      time.Duration        // a start in the log is so long before the work begins
	loseMessage func(id string) bool // a message that never comes
	twice       func(id string) bool // a message that comes twice
	lieAbout    func(id string) bool // a result that is another task's
	forget      func(id string) bool // a task that never ends
	barge       bool                 // the last in line goes first
	refuse      func(id string) *park.Error
	outage      func() bool // nothing can be stored
}

type fakeTask struct {
	park.Submission
	status park.Status
	rank   int
	result json.RawMessage
	done   chan struct{}
	submit park.Time
}

func newFake() *fake {
	return &fake{
		pool: park.Pool{
			PoolID: "load", MaxUnits: 24, MaxQueueDepth: 1_000_000, State: park.Active,
			Executor: "simulate", QueueBackend: park.InMemory,
		},
		grown: make(chan struct{}), tasks: map[string]*fakeTask{}, mail: map[box][]park.Message{},
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
func (f *fake) step(change func(event func(a park.Action, t *fakeTask, attempt int))) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ord, rev := 0, f.rev+1
	change(func(a park.Action, t *fakeTask, attempt int) {
		e := park.Event{
			EventID: park.EventID("load", rev, ord), At: park.At(time.Now()), Rev: rev, Ord: ord, Action: a,
			TaskID: t.TaskID, PoolID: "load", Tenant: t.Tenant, Units: int64(t.ResourceCost.Units), Attempt: attempt,
		}
		f.events = append(f.events, e)
		ord++
	})
	if ord > 0 {
		f.rev = rev
		close(f.grown)
		f.grown = make(chan struct{})
	}
}

func (f *fake) Submit(_ context.Context, _ string, tasks []park.Submission) ([]park.SubmitResult, error) {
	if f.outage != nil && f.outage() {
		return nil, park.Errorf(park.StorageUnavailable, "no store")
	}
	time.Sleep(time.Millisecond)
	results := make([]park.SubmitResult, len(tasks))
	for i, s := range tasks {
		if err := s.Normalize(); err != nil {
			return nil, err
		}
		f.step(func(event func(park.Action, *fakeTask, int)) { results[i] = f.take(s, event) })
	}
	return results, nil
}

func (f *fake) take(s park.Submission, event func(park.Action, *fakeTask, int)) park.SubmitResult {
	now := park.At(time.Now())
	if t := f.tasks[s.TaskID]; t != nil {
		return park.SubmitResult{Accepted: park.Accepted{TaskID: s.TaskID, Status: t.status, SubmittedAt: t.submit}}
	}
	t := &fakeTask{Submission: s, status: park.Queued, rank: len(f.tasks), done: make(chan struct{}), submit: now}
	if s.ResourceCost.Units == 0 {
		t.ResourceCost.Units = 1
	}
	if f.refuse != nil {
		if err := f.refuse(s.TaskID); err != nil {
			event(park.ActReject, t, 0)
			return park.SubmitResult{Err: err}
		}
	}
	if !s.Deadline.IsZero() && !s.Deadline.After(now.Time) {
		event(park.ActReject, t, 0)
		return park.SubmitResult{Err: park.Errorf(park.DeadlinePast, "too late")}
	}
	f.tasks[s.TaskID] = t
	event(park.ActSubmit, t, 0)
	if first := f.first(); (first == nil || first.Priority < t.Priority) && f.fits(t) {
		f.start(t, event)
	} else {
		event(park.ActEnqueue, t, 0)
		f.park(t)
		if !s.Deadline.IsZero() {
			time.AfterFunc(time.Until(s.Deadline.Time), func() { f.expire(t) })
		}
	}
	return park.SubmitResult{Accepted: park.Accepted{TaskID: s.TaskID, Status: t.status, SubmittedAt: now}}
}

func (f *fake) fits(t *fakeTask) bool {
	return f.pool.UsedUnits+int64(t.ResourceCost.Units) <= f.pool.MaxUnits+f.overCommit
}

func (f *fake) first() *fakeTask {
	switch {
	case len(f.line) == 0:
		return nil
	case f.barge:
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

func (f *fake) start(t *fakeTask, event func(park.Action, *fakeTask, int)) {
	t.status = park.Running
	f.pool.UsedUnits += int64(t.ResourceCost.Units)
	event(park.ActStart, t, 1)
	var work struct {
		DurationMs int64           `json:"durationMs"`
		Fail       bool            `json:"fail"`
		Result     json.RawMessage `json:"result"`
	}
	if err := json.Unmarshal(t.Payload, &work); err != nil {
		panic(err)
	}
	if f.forget != nil && f.forget(t.TaskID) {
		f.pool.UsedUnits -= int64(t.ResourceCost.Units)
		return
	}
	time.AfterFunc(f.dawdle+time.Duration(work.DurationMs)*time.Millisecond, func() {
		t.result = work.Result
		if work.Fail {
			f.end(t, park.ActFail, park.Failed, 1)
		} else {
			f.end(t, park.ActComplete, park.Completed, 1)
		}
	})
}

func (f *fake) end(t *fakeTask, a park.Action, s park.Status, attempt int) {
	f.step(func(event func(park.Action, *fakeTask, int)) {
		t.status = s
		if attempt > 0 {
			f.pool.UsedUnits -= int64(t.ResourceCost.Units)
		}
		event(a, t, attempt)
		f.deliver(t)
		close(t.done)
		if f.sleepy == 0 {
			f.wake(event)
		}
	})
	if f.sleepy > 0 && f.asleep.CompareAndSwap(false, true) {
		time.AfterFunc(f.sleepy, func() {
			f.asleep.Store(false)
			f.step(f.wake)
		})
	}
}

func (f *fake) wake(event func(park.Action, *fakeTask, int)) {
	for t := f.first(); t != nil && f.fits(t); t = f.first() {
		f.leave(t)
		f.start(t, event)
	}
}

func (f *fake) expire(t *fakeTask) {
	f.mu.Lock()
	parked := t.status == park.Queued
	if parked {
		t.status = park.Expired
		f.leave(t)
	}
	f.mu.Unlock()
	if parked {
		f.end(t, park.ActExpire, park.Expired, 0)
	}
}

func (f *fake) deliver(t *fakeTask) {
	m := park.Message{TaskID: t.TaskID, PoolID: "load", Status: t.status, Payload: t.result}
	b := box{t.Tenant, t.MailboxKey.Key}
	if f.loseMessage != nil && f.loseMessage(t.TaskID) {
		return
	}
	if f.lieAbout != nil && f.lieAbout(t.TaskID) {
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

func (f *fake) Task(ctx context.Context, _, id string, _ time.Duration) (park.Task, error) {
	f.mu.Lock()
	t := f.tasks[id]
	f.mu.Unlock()
	select {
	case <-t.done:
	case <-ctx.Done():
		return park.Task{}, ctx.Err()
	}
	return park.Task{TaskID: id, Status: t.status, Result: t.result}, nil
}

func (f *fake) Mailbox(_ context.Context, q park.MailboxQuery) (park.MessagePage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.mail[box{q.Tenant, q.Key}]
	from, _ := strconv.Atoi(q.After)
	page := all[from:min(len(all), from+q.Limit)]
	return park.MessagePage{Messages: slices.Clone(page)}, nil
}

func (f *fake) Audit(_ context.Context, q park.AuditQuery) (park.EventPage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var p park.EventPage
	for _, e := range f.events[f.after(q.Cursor):] {
		if q.Action != "" && q.Action != e.Action || q.TaskID != "" && q.TaskID != e.TaskID ||
			q.Tenant != "" && q.Tenant != e.Tenant || e.At.Before(q.Since.Time) {
			continue
		}
		if len(p.Events) == q.Limit {
			p.Next = p.Events[len(p.Events)-1].EventID
			break
		}
		p.Events = append(p.Events, e)
	}
	return p, nil
}

func (f *fake) after(cursor string) int {
	_, rev, ord, err := park.ParseEventID(cursor)
	if err != nil {
		return 0
	}
	i, _ := slices.BinarySearchFunc(f.events, park.Event{Rev: rev, Ord: ord + 1}, func(a, b park.Event) int {
		return cmp.Or(cmp.Compare(a.Rev, b.Rev), a.Ord-b.Ord)
	})
	return i
}

func (f *fake) Watch(ctx context.Context, q park.AuditQuery) iter.Seq2[park.Event, error] {
	return func(yield func(park.Event, error) bool) {
		f.mu.Lock()
		at := f.after(q.Cursor)
		f.mu.Unlock()
		for ctx.Err() == nil {
			f.mu.Lock()
			more, grown := f.events[at:], f.grown
			f.mu.Unlock()
			for _, e := range more {
				if !yield(e, nil) {
					return
				}
			}
			at += len(more)
			select {
			case <-grown:
			case <-ctx.Done():
			}
		}
	}
}
