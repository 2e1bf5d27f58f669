// Package lot is the scheduler of one pool: a pure state machine.
//
// Operations go in, a [Step] comes out: which tasks are parked, started, ended, and the messages and events
// that tell of it. The package starts no goroutine, reads no clock, does no I/O and draws no random number,
// so the same operations at the same instants give the same steps, on every node and in every replay.
//
// A task's units are released and given to the next parked task within one step. There is no moment at which
// capacity is free and nobody has been offered it, hence no wake-up that could be lost and no later arrival
// that could barge in. Which parked task is next is said in policy.go and nowhere else.
//
// The caller makes a step durable before anyone hears of it. If that fails, [Lot.Rollback] takes the step back.
package lot

import (
	"errors"
	"fmt"
	"strconv"
	"time"
	"unique"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Instant is one reading of the two clocks. Deadlines are kept by the wall clock, which may be set; leases and backoffs
// by the monotonic one, whose zero is arbitrary and which two processes must not compare.
type Instant struct {
	Wall park.Time
	Mono time.Duration
}

// Config is what a lot is made from.
type Config struct {
	Pool string
	Node string // who starts the tasks
	// Leased says that tasks start only for a [Demand].
	Leased bool
	Row    ledger.Pool
	Tasks  []ledger.Record // the live tasks, in any order
}

// Lot is the state of one pool. It must not be used from two goroutines at once.
type Lot struct {
	pool   string
	node   string
	leased bool
	held   bool
	resume string // see Resume
	quota  int    // starts that are left to the lot; negative: any number

	row     ledger.Pool
	tasks   tasks
	classes [park.Critical - park.Low + 1]class
	parked  timers // wall clock: deadlines
	rests   timers // monotonic clock: ends of backoffs
	leases  timers // monotonic clock: leases and time limits of leased tasks
	used    int64
	queued  int
	running int

	now     Instant // of the current step; Wall never runs backwards
	demand  []Demand
	step    *Step
	before  ledger.Pool
	results []Result
	journal []undo
	runs    []*run // of ended tasks, to be used again

	owner unique.Handle[owner] // of the last submission
	told  told                 // of the last one that most are like
}

// New returns a lot in the state of its last step.
func New(c Config, now Instant) *Lot {
	l := &Lot{
		pool: c.Pool, node: c.Node, leased: c.Leased, quota: -1, row: c.Row, tasks: newTasks(len(c.Tasks)), now: now, before: c.Row,
		step: &Step{}, owner: unique.Make(owner{}),
	}
	l.parked.all, l.rests.all, l.leases.all = &l.tasks, &l.tasks, &l.tasks
	for i := range c.Tasks {
		l.restore(&c.Tasks[i], now, nil)
	}
	return l
}

// Restore adds a live task to a lot that is being made, before [Lot.Merge] gives it its row. It takes none of which
// [NeedsRow] is true.
func (l *Lot) Restore(r *ledger.Record, now Instant) { l.restore(r, now, nil) }

// NeedsRow reports whether a lot must have its row before it gets a live task, because what is left of the task's rest, or
// of its time limit, depends on the pool's time.
func NeedsRow(r *ledger.Record) bool { return !r.NotBefore.IsZero() || r.Lease != "" && r.Timeout > 0 }

// Apply carries out ops, one after the other, at one instant, and returns the step and one result for each op.
// Before the ops it does what time has brought: expiries, ends of backoffs, lost leases. A pool whose tasks
// are leased starts them for demand, in order, and counts down its Max.
//
// Changes of the pool go before all else, so that a step never ends with more in use than it began with and
// than the pool then has: that is what a store can check of a step.
//
// Apply changes the lot at once. Call Rollback to take the step back; Settle or the next Apply makes it final and uses
// its slices and the results again.
func (l *Lot) Apply(now Instant, ops []Op, demand []Demand) (*Step, []Result) {
	l.begin(now, demand)
	if l.resume != "" {
		l.event(park.ActUpdate, "", "", 0, 0, l.resumption())
		l.resume = ""
	}
	l.fire()
	results := l.results
	for range ops {
		extend(&results)
	}
	l.results = results
	for i, op := range ops {
		if changesPool(op) {
			results[i] = op.apply(l)
		}
	}
	l.startReady()
	for i, op := range ops {
		if changesPool(op) {
			continue
		}
		results[i] = op.apply(l)
		if makesRoom(ops, i) {
			l.startReady()
		}
	}
	return l.finish(), results
}

func changesPool(op Op) bool {
	_, ok := op.(Configure)
	return ok
}

// makesRoom says whether a parked task may start that could not before op i. Of requeues in a row all come back before
// any starts again, so that the first of them in order is the first to start.
func makesRoom(ops []Op, i int) bool {
	switch ops[i].(type) {
	case Submit, Seen, Keep:
		return false // what is submitted and may start has started
	case Requeue:
		if i+1 < len(ops) {
			_, next := ops[i+1].(Requeue)
			return !next
		}
	}
	return true
}

func (l *Lot) begin(now Instant, demand []Demand) {
	if now.Wall.Before(l.row.LastAt.Time) {
		now.Wall = l.row.LastAt
	}
	l.now, l.demand, l.before = now, demand, l.row
	l.Settle()
}

// finish notes what became of the tasks that the step touched, and lets those that it ended no longer be found.
func (l *Lot) finish() *Step {
	s := l.step
	l.demand = nil
	for i := range l.journal {
		u := &l.journal[i]
		e := l.tasks.at(u.ref)
		if u.spec != nil {
			r := extend(&s.Inserts)
			r.Spec = *u.spec
			l.describe(e, &r.State)
			s.Specs = append(s.Specs, u.spec)
		} else {
			c := extend(&s.Updates)
			c.TaskID = e.id
			l.describe(e, &c.State)
		}
		if e.where == gone {
			l.tasks.leave(e)
		}
		e.touched = 0
	}
	if len(s.Events) > 0 {
		l.row.Rev++
		l.row.LastAt = l.now.Wall
	}
	l.row.Used, l.row.Queued = l.used, l.queued
	s.Row = l.row
	return s
}

// Merge brings the lot to a later rev that another node has reached: row is the pool there and changed holds
// every task that was touched since.
func (l *Lot) Merge(row ledger.Pool, changed []ledger.Record, now Instant) {
	l.Settle()
	l.row, l.before = row, row
	known := make(map[string]time.Duration)
	// All leave before any comes, as in Rollback.
	for i := range changed {
		if old := l.tasks.find(changed[i].TaskID); old != nil {
			if old.where == running && old.run.lease != "" && old.run.limit > 0 {
				known[old.run.lease] = old.run.limit
			}
			l.remove(old)
			l.tasks.leave(old)
			l.tasks.release(old)
		}
	}
	for i := range changed {
		if r := &changed[i]; !r.Status.Ended() {
			l.restore(r, now, known)
		}
	}
}

// Hold makes the lot park and end tasks but start none, as a node does that is about to stop, or lets it go
// on. It is this node's own affair and not part of the pool's state.
func (l *Lot) Hold(held bool) { l.held = held }

// Resume has the next Apply begin with an event that tells a reader of the log that the pool's tasks are not those that
// the log has led to: its queue was lost, or put back to an older state. How is [TasksLost] or [TasksOlder].
func (l *Lot) Resume(how string) { l.resume = how }

// What became of the tasks of a pool's log.
const (
	TasksLost  = "lost"  // there are none
	TasksOlder = "older" // they are as at an earlier rev
)

// resumption is the detail of the event: from here on the pool is what it says.
func (l *Lot) resumption() []byte {
	var limits, d details
	limits.add("tasks", []byte(strconv.Quote(l.resume)))
	limits.add("maxUnits", []byte(strconv.FormatInt(l.row.MaxUnits, 10)))
	limits.add("maxQueueDepth", []byte(strconv.Itoa(l.row.MaxQueueDepth)))
	limits.add("state", []byte(strconv.Quote(string(l.row.State))))
	d.add("resumed", limits.json())
	return d.json()
}

// Limit lets the next Apply start so many tasks at most, as a node does that tries whether it can start any; negative: any
// number. Like Hold it is this node's own affair, and it says nothing of leases.
func (l *Lot) Limit(starts int) { l.quota = starts }

// Row returns the pool's row as of the last step.
func (l *Lot) Row() ledger.Pool { return l.row }

// Running returns how many tasks hold units.
func (l *Lot) Running() int { return l.running }

// Next returns the instants at which Apply has something to do even without ops: by the wall clock and by the
// monotonic one. Zero values mean never.
func (l *Lot) Next() (wall park.Time, mono time.Duration) {
	if len(l.parked.heap) > 0 {
		wall = park.FromMicro(l.parked.heap[0].key)
	}
	for _, t := range [...][]timer{l.rests.heap, l.leases.heap} {
		if len(t) > 0 && (mono == 0 || t[0].key < int64(mono)) {
			mono = time.Duration(t[0].key)
		}
	}
	return wall, mono
}

// State returns a live task's state and, while it is parked, its position from 1.
func (l *Lot) State(id string) (s ledger.State, position int64, ok bool) {
	e := l.tasks.find(id)
	if e == nil {
		return ledger.State{}, 0, false
	}
	l.describe(e, &s)
	return s, l.position(e), true
}

// Submitted returns when a live task was submitted. It tells the task from earlier and later ones of the same id.
func (l *Lot) Submitted(id string) park.Time {
	e := l.tasks.find(id)
	if e == nil {
		return park.Time{}
	}
	return park.FromMicro(e.submitted)
}

// TooLarge returns how many parked tasks cost more units than the pool has, and the most that one of them costs. It takes
// time in proportion to the number of live tasks.
func (l *Lot) TooLarge() (tasks int, most int64) {
	for e := range l.tasks.all {
		if e.where != running && e.units > l.row.MaxUnits {
			tasks++
			most = max(most, e.units)
		}
	}
	return tasks, most
}

// RunningTasks returns the ids of the tasks that hold units, in the order in which they were taken into
// their class, so that requeueing them from the last to the first restores that order.
func (l *Lot) RunningTasks() []string {
	var all []*entry
	for e := range l.tasks.all {
		if e.where == running {
			all = append(all, e)
		}
	}
	sortEntries(all)
	ids := make([]string, len(all))
	for i, e := range all {
		ids[i] = e.id
	}
	return ids
}

// Check counts the lot again from its tasks and returns an error where the totals disagree or are
// impossible. It costs time in proportion to the number of live tasks.
func (l *Lot) Check() error {
	var used int64
	var queued, run int
	for e := range l.tasks.all {
		if e.where == running {
			used += e.units
			run++
		} else {
			queued++
		}
	}
	if used != l.used || queued != l.queued || run != l.running {
		return fmt.Errorf("pool %s counts %d units, %d parked, %d running, but its tasks add up to %d, %d, %d",
			l.pool, l.used, l.queued, l.running, used, queued, run)
	}
	return l.Sane()
}

// Sane returns an error where the lot's totals are impossible or disagree with the pool's row. It is cheap.
func (l *Lot) Sane() error {
	if l.used < 0 || l.queued < 0 || l.running < 0 {
		return errors.New("a total is negative")
	}
	if l.used != l.row.Used || l.queued != l.row.Queued {
		return fmt.Errorf("pool %s holds %d units and %d parked tasks, but its row says %d and %d",
			l.pool, l.used, l.queued, l.row.Used, l.row.Queued)
	}
	if l.used > l.row.MaxUnits && l.used > l.before.Used {
		return fmt.Errorf("the last step of pool %s raised its use to %d of %d units", l.pool, l.used, l.row.MaxUnits)
	}
	return nil
}

// Agrees reports whether the tasks add up to what the pool's row says.
func (l *Lot) Agrees() bool { return l.used == l.row.Used && l.queued == l.row.Queued }

// Live reports whether a task with the id is queued or running.
func (l *Lot) Live(id string) bool { return l.tasks.find(id) != nil }
