package storetest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// Feed makes the steps of one pool as a scheduler would: its revs have no gaps, its time never runs backwards,
// its tasks end once and its totals add up. Next closes a step; what is done before belongs to it.
type Feed struct {
	Row     ledger.Pool
	Tasks   map[string]*ledger.Record // every task, as of the last step
	Ended   []string                  // the tasks that have ended, in order
	Queued  []string
	Running []string
	Log     []park.Event // of the steps so far

	pool   string
	prefix string
	number int // of the task submitted last
	rank   int64
	now    time.Time
	step   *store.Step
	fresh  []string        // inserted by the open step, in order
	dirty  map[string]bool // touched by it
}

// Epoch is when the time of every feed begins.
func Epoch() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// NewFeed returns the feed of a pool that was never committed.
func NewFeed(pool string) *Feed {
	f := &Feed{pool: pool, prefix: pool + "-", now: Epoch(), Tasks: make(map[string]*ledger.Record)}
	f.Row = ledger.Pool{MaxUnits: 1 << 30, MaxQueueDepth: 1 << 20, State: park.Active, ConfiguredUnits: 1 << 30, ConfiguredDepth: 1 << 20}
	f.begin()
	return f
}

func (f *Feed) begin() {
	f.step = &store.Step{PoolID: f.pool}
	f.fresh, f.dirty = nil, make(map[string]bool)
}

// Committed returns the pool's row as a store has it.
func (f *Feed) Committed() ledger.Pool {
	if f.Row.Rev == 0 {
		return ledger.Pool{}
	}
	return f.Row
}

// Post owes a parcel to another place.
func (f *Feed) Post(p store.OutboxEntry) {
	p.Since = f.Now()
	f.step.Outbox = append(f.step.Outbox, p)
}

// Pass lets time go by.
func (f *Feed) Pass(d time.Duration) { f.now = f.now.Add(d) }

// Now returns the time of the open step.
func (f *Feed) Now() park.Time { return park.At(f.now) }

// Event adds an event of a task, or of the pool where task is nil.
func (f *Feed) Event(a park.Action, r *ledger.Record, detail string) {
	e := park.Event{At: f.Now(), Rev: f.Row.Rev + 1, Ord: len(f.step.Events), Action: a, PoolID: f.pool}
	e.EventID = park.EventID(e.PoolID, e.Rev, e.Ord)
	if r != nil {
		e.TaskID, e.Tenant, e.Units, e.Attempt, e.Node = r.TaskID, r.Tenant, r.Units, r.Attempt, r.Node
	}
	if detail != "" {
		e.Detail = json.RawMessage(detail)
	}
	f.step.Events = append(f.step.Events, e)
}

// Submit parks a new task; edit may change it first.
func (f *Feed) Submit(edit func(*ledger.Record)) *ledger.Record {
	f.number++
	f.rank++
	r := &ledger.Record{
		Spec: ledger.Spec{
			PoolID: f.pool, TaskID: f.prefix + strconv.Itoa(f.number), Tenant: "acme", MailboxKey: "alice", Units: 1,
			SubmittedAt: f.Now(), Payload: json.RawMessage(`{"n":` + strconv.Itoa(f.number) + `}`),
		},
		State: ledger.State{Status: park.Queued, Rank: f.rank},
	}
	if edit != nil {
		edit(r)
	}
	f.Tasks[r.TaskID] = r
	f.fresh = append(f.fresh, r.TaskID)
	f.Queued = append(f.Queued, r.TaskID)
	f.Row.Queued++
	f.Event(park.ActSubmit, r, "")
	f.Event(park.ActEnqueue, r, "")
	return r
}

// Start gives a queued task its units.
func (f *Feed) Start(id string) *ledger.Record {
	r := f.Tasks[id]
	f.Queued = without(f.Queued, id)
	f.Running = append(f.Running, id)
	f.Row.Queued--
	f.Row.Used += r.Units
	r.Status, r.Attempt, r.Node, r.StartedAt = park.Running, r.Attempt+1, "node-1", f.Now()
	f.dirty[id] = true
	f.Event(park.ActStart, r, "")
	return r
}

// Requeue takes a running task's units back.
func (f *Feed) Requeue(id string) {
	r := f.Tasks[id]
	f.Running = without(f.Running, id)
	f.Queued = append(f.Queued, id)
	f.Row.Queued++
	f.Row.Used -= r.Units
	f.Event(park.ActRequeue, r, `{"reason":"node_lost"}`)
	f.rank++
	r.State = ledger.State{Status: park.Queued, Attempt: r.Attempt, Rank: f.rank, Failures: r.Failures + 1, NotBefore: park.At(f.now.Add(time.Second))}
	f.dirty[id] = true
}

// End ends a task and leaves its message.
func (f *Feed) End(id string, s park.Status, result string) *ledger.Record {
	r := f.Tasks[id]
	if r.Status == park.Running {
		f.Running = without(f.Running, id)
		f.Row.Used -= r.Units
	} else {
		f.Queued = without(f.Queued, id)
		f.Row.Queued--
	}
	r.Status, r.EndedAt = s, f.Now()
	if result != "" {
		r.Result = json.RawMessage(result)
	}
	if s != park.Completed {
		r.Reason, r.Message = "exit_nonzero", "exit status 3"
	}
	f.dirty[id] = true
	f.Ended = append(f.Ended, id)
	f.Event(map[park.Status]park.Action{
		park.Completed: park.ActComplete, park.Failed: park.ActFail, park.Expired: park.ActExpire, park.Dropped: park.ActCancel,
	}[s], r, "")
	if r.MailboxKey != "" {
		f.step.Messages = append(f.step.Messages, f.Message(r))
	}
	return r
}

// Message returns the message of an ended task.
func (f *Feed) Message(r *ledger.Record) park.Message {
	return park.Message{
		TaskID: r.TaskID, PoolID: f.pool, Status: r.Status, Reason: r.Reason, Message: r.Message, Payload: r.Result,
		Attempt: r.Attempt, CreatedAt: r.EndedAt, Tenant: r.Tenant, Key: r.MailboxKey,
	}
}

// Next closes the step and returns it. The feed goes on behind it.
func (f *Feed) Next() *store.Step {
	st := f.step
	f.Row.Rev++
	f.Row.LastAt = f.Now()
	st.ID = fmt.Sprintf("%s/%d/%x", f.pool, f.Row.Rev, rand.Uint64())
	f.Row.LastStep = st.ID
	st.Row = f.Row
	for _, id := range f.fresh {
		st.Inserts = append(st.Inserts, *f.Tasks[id])
		delete(f.dirty, id)
	}
	for id := range f.dirty {
		st.Updates = append(st.Updates, store.Update{TaskID: id, State: f.Tasks[id].State})
	}
	f.Log = append(f.Log, st.Events...)
	f.begin()
	return st
}

// Live returns the tasks that have not ended, as Load gives them.
func (f *Feed) Live() []ledger.Record {
	var all []ledger.Record
	for _, r := range f.Tasks {
		if !r.Status.Ended() {
			all = append(all, light(*r))
		}
	}
	byTask(all)
	return all
}

func without(ids []string, id string) []string {
	for i := range ids {
		if ids[i] == id {
			return append(ids[:i:i], ids[i+1:]...)
		}
	}
	return ids
}
