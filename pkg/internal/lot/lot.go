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
	pool         string
	node         string
	leased       bool
	held         bool
	resumeReason string // see Resume
	startsLeft   int    // starts that are left to the lot; negative: any number

	row       ledger.Pool
	tasks     tasks
	classes   [park.Critical - park.Low + 1]class
	deadlines timers // wall clock: deadlines
	backoffs  timers // monotonic clock: ends of backoffs
	leases    timers // monotonic clock: leases and time limits of leased tasks
	used      int64
	queued    int
	running   int

	now       Instant // of the current step; Wall never runs backwards
	requests  []LeaseRequest
	step      *Step
	rowBefore ledger.Pool
	results   []Result
	undoLog   []undoRecord
	spareRuns []*run // of ended tasks, to be used again

	lastOwner  unique.Handle[owner] // of the last submission
	lastDetail cachedDetail         // of the last one that most are like
}

// New returns a lot in the state of its last step.
func New(c Config, now Instant) *Lot {
	l := &Lot{
		pool: c.Pool, node: c.Node, leased: c.Leased, startsLeft: -1, row: c.Row, tasks: newTasks(len(c.Tasks)), now: now, rowBefore: c.Row,
		step: &Step{}, lastOwner: unique.Make(owner{}),
	}
	l.deadlines.all, l.backoffs.all, l.leases.all = &l.tasks, &l.tasks, &l.tasks
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
func (l *Lot) Apply(now Instant, ops []Op, requests []LeaseRequest) (*Step, []Result) {
	l.beginStep(now, requests)
	if l.resumeReason != "" {
		l.addEvent(park.ActUpdate, "", "", 0, 0, l.resumeDetail())
		l.resumeReason = ""
	}
	l.expireTimers()
	results := l.results
	for range ops {
		appendZero(&results)
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
		if mayFreeStart(ops, i) {
			l.startReady()
		}
	}
	return l.finishStep(), results
}

func changesPool(op Op) bool {
	_, ok := op.(Configure)
	return ok
}

// mayFreeStart says whether a parked task may start that could not before op i. Of requeues in a row all come back before
// any starts again, so that the first of them in order is the first to start.
func mayFreeStart(ops []Op, i int) bool {
	switch ops[i].(type) {
	case Submit, Duplicate, RenewLease:
		return false // what is submitted and may start has started
	case Requeue:
		if i+1 < len(ops) {
			_, next := ops[i+1].(Requeue)
			return !next
		}
	}
	return true
}

func (l *Lot) beginStep(now Instant, requests []LeaseRequest) {
	if now.Wall.Before(l.row.LastAt.Time) {
		now.Wall = l.row.LastAt
	}
	l.now, l.requests, l.rowBefore = now, requests, l.row
	l.Finalize()
}

// finishStep notes what became of the tasks that the step touched, and lets those that it ended no longer be found.
func (l *Lot) finishStep() *Step {
	s := l.step
	l.requests = nil
	for i := range l.undoLog {
		u := &l.undoLog[i]
		e := l.tasks.at(u.ref)
		if u.spec != nil {
			r := appendZero(&s.Inserts)
			r.Spec = *u.spec
			l.fillState(e, &r.State)
			s.Specs = append(s.Specs, u.spec)
		} else {
			c := appendZero(&s.Updates)
			c.TaskID = e.id
			l.fillState(e, &c.State)
		}
		if e.phase == removed {
			l.tasks.removeFromIndex(e)
		}
		e.undoIndex = 0
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
	l.Finalize()
	l.row, l.rowBefore = row, row
	knownTimeouts := make(map[string]time.Duration)
	// All leave before any comes, as in Rollback.
	for i := range changed {
		if old := l.tasks.find(changed[i].TaskID); old != nil {
			if old.phase == running && old.run.lease != "" && old.run.timeoutEnd > 0 {
				knownTimeouts[old.run.lease] = old.run.timeoutEnd
			}
			l.remove(old)
			l.tasks.removeFromIndex(old)
			l.tasks.release(old)
		}
	}
	for i := range changed {
		if r := &changed[i]; !r.Status.Ended() {
			l.restore(r, now, knownTimeouts)
		}
	}
}

// HoldStarts makes the lot park and end tasks but start none, as a node does that is about to stop, or lets it go
// on. It is this node's own affair and not part of the pool's state.
func (l *Lot) HoldStarts(held bool) { l.held = held }

// RecordResume has the next Apply begin with an event that tells a reader of the log that the pool's tasks are not those that
// the log has led to: its queue was lost, or put back to an older state. How is [TasksLost] or [TasksOlder].
func (l *Lot) RecordResume(reason string) { l.resumeReason = reason }

// What became of the tasks of a pool's log.
const (
	TasksLost  = "lost"  // there are none
	TasksOlder = "older" // they are as at an earlier rev
)

// resumeDetail is the detail of the event: from here on the pool is what it says.
func (l *Lot) resumeDetail() []byte {
	var inner, d details
	inner.add("tasks", []byte(strconv.Quote(l.resumeReason)))
	inner.add("maxUnits", []byte(strconv.FormatInt(l.row.MaxUnits, 10)))
	inner.add("maxQueueDepth", []byte(strconv.Itoa(l.row.MaxQueueDepth)))
	inner.add("state", []byte(strconv.Quote(string(l.row.State))))
	d.add("resumed", inner.json())
	return d.json()
}

// LimitStarts lets the next Apply start so many tasks at most, as a node does that tries whether it can start any; negative: any
// number. Like Hold it is this node's own affair, and it says nothing of leases.
func (l *Lot) LimitStarts(starts int) { l.startsLeft = starts }

// Row returns the pool's row as of the last step.
func (l *Lot) Row() ledger.Pool { return l.row }

// Running returns how many tasks hold units.
func (l *Lot) Running() int { return l.running }

// NextTimers returns the instants at which Apply has something to do even without ops: by the wall clock and by the
// monotonic one. Zero values mean never.
func (l *Lot) NextTimers() (wall park.Time, mono time.Duration) {
	if len(l.deadlines.heap) > 0 {
		wall = park.FromMicro(l.deadlines.heap[0].key)
	}
	for _, t := range [...][]timer{l.backoffs.heap, l.leases.heap} {
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
	l.fillState(e, &s)
	return s, l.position(e), true
}

// SubmittedAt returns when a live task was submitted. It tells the task from earlier and later ones of the same id.
func (l *Lot) SubmittedAt(id string) park.Time {
	e := l.tasks.find(id)
	if e == nil {
		return park.Time{}
	}
	return park.FromMicro(e.submitted)
}

// TooLarge returns how many parked tasks cost more units than the pool has, and the most that one of them costs. It takes
// time in proportion to the number of live tasks.
func (l *Lot) TooLarge() (tasks int, largest int64) {
	for e := range l.tasks.all {
		if e.phase != running && e.units > l.row.MaxUnits {
			tasks++
			largest = max(largest, e.units)
		}
	}
	return tasks, largest
}

// RunningTasks returns the ids of the tasks that hold units, in the order in which they were taken into
// their class, so that requeueing them from the last to the first restores that order.
func (l *Lot) RunningTasks() []string {
	var all []*entry
	for e := range l.tasks.all {
		if e.phase == running {
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
	var queued, runs int
	for e := range l.tasks.all {
		if e.phase == running {
			used += e.units
			runs++
		} else {
			queued++
		}
	}
	if used != l.used || queued != l.queued || runs != l.running {
		return fmt.Errorf("pool %s counts %d units, %d parked, %d running, but its tasks add up to %d, %d, %d",
			l.pool, l.used, l.queued, l.running, used, queued, runs)
	}
	return l.CheckTotals()
}

// CheckTotals returns an error where the lot's totals are impossible or disagree with the pool's row. It is cheap.
func (l *Lot) CheckTotals() error {
	if l.used < 0 || l.queued < 0 || l.running < 0 {
		return errors.New("a total is negative")
	}
	if l.used != l.row.Used || l.queued != l.row.Queued {
		return fmt.Errorf("pool %s holds %d units and %d parked tasks, but its row says %d and %d",
			l.pool, l.used, l.queued, l.row.Used, l.row.Queued)
	}
	if l.used > l.row.MaxUnits && l.used > l.rowBefore.Used {
		return fmt.Errorf("the last step of pool %s raised its use to %d of %d units", l.pool, l.used, l.row.MaxUnits)
	}
	return nil
}

// MatchesRow reports whether the tasks add up to what the pool's row says.
func (l *Lot) MatchesRow() bool { return l.used == l.row.Used && l.queued == l.row.Queued }

// IsLive reports whether a task with the id is queued or running.
func (l *Lot) IsLive(id string) bool { return l.tasks.find(id) != nil }
