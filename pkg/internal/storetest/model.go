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

// Model is the expected state of one pool. It makes the steps that a scheduler would commit: its revs have no gaps, its
// time never runs backwards, its tasks end once and its totals add up. Changes belong to the open step, which Next
// closes.
type Model struct {
	Row     ledger.Pool
	Tasks   map[string]*ledger.Record // every task, as changed by the open step
	Ended   []string                  // in the order in which they ended
	Queued  []string
	Running []string
	Log     []park.Event // of the closed steps

	pool       string
	idPrefix   string
	lastNumber int // of the last task
	lastRank   int64
	now        time.Time
	step       *store.Step
	inserted   []string        // by the open step, in order
	updated    map[string]bool // by the open step
}

// Epoch is the time at which every model begins.
func Epoch() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// NewModel returns the model of a pool that has no step yet.
func NewModel(pool string) *Model {
	m := &Model{pool: pool, idPrefix: pool + "-", now: Epoch(), Tasks: make(map[string]*ledger.Record)}
	m.Row = ledger.Pool{MaxUnits: 1 << 30, MaxQueueDepth: 1 << 20, State: park.Active, ConfiguredUnits: 1 << 30, ConfiguredDepth: 1 << 20}
	m.openStep()
	return m
}

// openStep begins the next step.
func (m *Model) openStep() {
	m.step = &store.Step{PoolID: m.pool}
	m.inserted, m.updated = nil, make(map[string]bool)
}

// StoredRow returns the pool's row as a store has it: the zero row before the first step.
func (m *Model) StoredRow() ledger.Pool {
	if m.Row.Rev == 0 {
		return ledger.Pool{}
	}
	return m.Row
}

// AddOutboxEntry adds an outbox entry to the outbox.
func (m *Model) AddOutboxEntry(p store.OutboxEntry) {
	p.Since = m.Now()
	m.step.Outbox = append(m.step.Outbox, p)
}

// Advance moves the clock forward.
func (m *Model) Advance(d time.Duration) { m.now = m.now.Add(d) }

// Now returns the time of the open step.
func (m *Model) Now() park.Time { return park.At(m.now) }

// Event adds an event of a task, or of the pool if the record is nil.
func (m *Model) Event(a park.Action, r *ledger.Record, detail string) {
	e := park.Event{At: m.Now(), Rev: m.Row.Rev + 1, Ord: len(m.step.Events), Action: a, PoolID: m.pool}
	e.EventID = park.EventID(e.PoolID, e.Rev, e.Ord)
	if r != nil {
		e.TaskID, e.Tenant, e.Units, e.Attempt, e.Node = r.TaskID, r.Tenant, r.Units, r.Attempt, r.Node
	}
	if detail != "" {
		e.Detail = json.RawMessage(detail)
	}
	m.step.Events = append(m.step.Events, e)
}

// Submit adds a queued task. edit may change the task before.
func (m *Model) Submit(edit func(*ledger.Record)) *ledger.Record {
	m.lastNumber++
	m.lastRank++
	r := &ledger.Record{
		Spec: ledger.Spec{
			PoolID: m.pool, TaskID: m.idPrefix + strconv.Itoa(m.lastNumber), Tenant: "acme", MailboxKey: "alice", Units: 1,
			SubmittedAt: m.Now(), Payload: json.RawMessage(`{"n":` + strconv.Itoa(m.lastNumber) + `}`),
		},
		State: ledger.State{Status: park.Queued, Rank: m.lastRank},
	}
	if edit != nil {
		edit(r)
	}
	m.Tasks[r.TaskID] = r
	m.inserted = append(m.inserted, r.TaskID)
	m.Queued = append(m.Queued, r.TaskID)
	m.Row.Queued++
	m.Event(park.ActSubmit, r, "")
	m.Event(park.ActEnqueue, r, "")
	return r
}

// Start starts a queued task.
func (m *Model) Start(id string) *ledger.Record {
	r := m.Tasks[id]
	m.Queued = without(m.Queued, id)
	m.Running = append(m.Running, id)
	m.Row.Queued--
	m.Row.Used += r.Units
	r.Status, r.Attempt, r.Node, r.StartedAt = park.Running, r.Attempt+1, "node-1", m.Now()
	m.updated[id] = true
	m.Event(park.ActStart, r, "")
	return r
}

// Requeue returns a running task to the queue.
func (m *Model) Requeue(id string) {
	r := m.Tasks[id]
	m.Running = without(m.Running, id)
	m.Queued = append(m.Queued, id)
	m.Row.Queued++
	m.Row.Used -= r.Units
	m.Event(park.ActRequeue, r, `{"reason":"node_lost"}`)
	m.lastRank++
	r.State = ledger.State{Status: park.Queued, Attempt: r.Attempt, Rank: m.lastRank, Failures: r.Failures + 1, NotBefore: park.At(m.now.Add(time.Second))}
	m.updated[id] = true
}

// End ends a task, and adds its message if it has a mailbox.
func (m *Model) End(id string, s park.Status, result string) *ledger.Record {
	r := m.Tasks[id]
	if r.Status == park.Running {
		m.Running = without(m.Running, id)
		m.Row.Used -= r.Units
	} else {
		m.Queued = without(m.Queued, id)
		m.Row.Queued--
	}
	r.Status, r.EndedAt = s, m.Now()
	if result != "" {
		r.Result = json.RawMessage(result)
	}
	if s != park.Completed {
		r.Reason, r.Message = "exit_nonzero", "exit status 3"
	}
	m.updated[id] = true
	m.Ended = append(m.Ended, id)
	m.Event(map[park.Status]park.Action{
		park.Completed: park.ActComplete, park.Failed: park.ActFail, park.Expired: park.ActExpire, park.Dropped: park.ActCancel,
	}[s], r, "")
	if r.MailboxKey != "" {
		m.step.Messages = append(m.step.Messages, m.Message(r))
	}
	return r
}

// Message returns the message of an ended task.
func (m *Model) Message(r *ledger.Record) park.Message {
	return park.Message{
		TaskID: r.TaskID, PoolID: m.pool, Status: r.Status, Reason: r.Reason, Message: r.Message, Payload: r.Result,
		Attempt: r.Attempt, CreatedAt: r.EndedAt, Tenant: r.Tenant, Key: r.MailboxKey,
	}
}

// Next closes the open step and returns it. Later changes belong to the next step.
func (m *Model) Next() *store.Step {
	st := m.step
	m.Row.Rev++
	m.Row.LastAt = m.Now()
	st.ID = fmt.Sprintf("%s/%d/%x", m.pool, m.Row.Rev, rand.Uint64())
	m.Row.LastStep = st.ID
	st.Row = m.Row
	for _, id := range m.inserted {
		st.Inserts = append(st.Inserts, *m.Tasks[id])
		delete(m.updated, id)
	}
	for id := range m.updated {
		st.Updates = append(st.Updates, store.Update{TaskID: id, State: m.Tasks[id].State})
	}
	m.Log = append(m.Log, st.Events...)
	m.openStep()
	return st
}

// Live returns the tasks that have not ended, as Load returns them.
func (m *Model) Live() []ledger.Record {
	var all []ledger.Record
	for _, r := range m.Tasks {
		if !r.Status.Ended() {
			all = append(all, asLoaded(*r))
		}
	}
	sortByTask(all)
	return all
}

// without removes an id from a list.
func without(ids []string, id string) []string {
	for i := range ids {
		if ids[i] == id {
			return append(ids[:i:i], ids[i+1:]...)
		}
	}
	return ids
}
