// Package lot is the scheduler of one pool: a pure state machine.
//
// Operations go in, and a [Step] comes out: which tasks are parked, started and ended, with the messages and events
// about it. The package starts no goroutine, reads no clock, does no I/O and draws no random number. So the same
// operations at the same instants give the same steps, on every node and in every replay.
//
// A task's units are released and given to the next parked task within one step. Free capacity is never left
// unassigned between steps, so no wake-up can be lost and no later arrival can overtake. Only policy.go decides which
// parked task is next.
//
// The caller makes a step durable before it publishes it. If that fails, [Lot.Rollback] takes the step back.
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

// Instant is one reading of both clocks. Deadlines go by the wall clock, which may be set. Leases and backoffs go by the
// monotonic clock, whose zero is arbitrary: two processes must not compare their readings.
type Instant struct {
	Wall park.Time
	Mono time.Duration
}

// Config is what a lot is made from.
type Config struct {
	Pool string
	Node string // the node that starts the tasks
	// Leased is set if tasks start only for a [Demand].
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
	resumeReason string // see RecordResume
	startsLeft   int    // how many tasks may still start; negative: no limit

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
	spareRuns []*run // of ended tasks, for reuse

	lastOwner  unique.Handle[owner] // of the last submission
	lastDetail cachedDetail         // of the last submission whose detail can be reused
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

// Restore adds a live task to a new lot, before [Lot.Merge] sets its row. The task must not be one for which [NeedsRow]
// is true.
func (l *Lot) Restore(r *ledger.Record, now Instant) { l.restore(r, now, nil) }

// NeedsRow reports whether a lot must have its row before this live task can be added. That is so if the rest of the
// task's backoff or of its time limit depends on the pool's time.
func NeedsRow(r *ledger.Record) bool { return !r.NotBefore.IsZero() || r.Lease != "" && r.Timeout > 0 }

// Apply carries out ops, one after the other, at one instant. It returns the step and one result for each op.
// Before the ops it handles the timers that are due: expired tasks, ended backoffs, lost leases. A pool with leased
// tasks starts them for requests, in order, and counts down their Max.
//
// Changes of the pool come before all other ops. So a step never raises the pool's use above the capacity that the pool
// has after the step, and a store can check that.
//
// Apply changes the lot at once. Rollback takes the step back. Finalize or the next Apply makes it final, and reuses its
// slices and the results.
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

// mayFreeStart reports whether op i may let a parked task start. Consecutive requeues are all put back before any task
// starts, so that the first of them in order starts first.
func mayFreeStart(ops []Op, i int) bool {
	switch ops[i].(type) {
	case Submit, Duplicate, RenewLease:
		return false // a submitted task that can start has started already
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

// finishStep writes the tasks that the step touched into it, and removes the ended ones from the index.
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

// Merge brings the lot to a later rev, which another node has committed. row is the pool at that rev, and changed holds
// every task that was touched since the lot's rev.
func (l *Lot) Merge(row ledger.Pool, changed []ledger.Record, now Instant) {
	l.Finalize()
	l.row, l.rowBefore = row, row
	knownTimeouts := make(map[string]time.Duration)
	// All tasks are removed before any is added, as in Rollback.
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

// HoldStarts makes the lot start no task while held is true, as on a node that is about to stop. It still parks and ends
// tasks. This concerns only this node and is no part of the pool's state.
func (l *Lot) HoldStarts(held bool) { l.held = held }

// RecordResume makes the next Apply begin with an event for readers of the log: the pool's tasks are not those that the
// log leads to, because the queue was lost or restored to an older state. reason is [TasksLost] or [TasksOlder].
func (l *Lot) RecordResume(reason string) { l.resumeReason = reason }

// The reasons of [Lot.RecordResume].
const (
	TasksLost  = "lost"  // the pool has no tasks
	TasksOlder = "older" // the tasks are those of an earlier rev
)

// resumeDetail returns the detail of the event: the state of the pool from here on.
func (l *Lot) resumeDetail() []byte {
	var inner, d details
	inner.add("tasks", []byte(strconv.Quote(l.resumeReason)))
	inner.add("maxUnits", []byte(strconv.FormatInt(l.row.MaxUnits, 10)))
	inner.add("maxQueueDepth", []byte(strconv.Itoa(l.row.MaxQueueDepth)))
	inner.add("state", []byte(strconv.Quote(string(l.row.State))))
	d.add("resumed", inner.json())
	return d.json()
}

// LimitStarts lets the next Apply start at most this many tasks; negative: no limit. A node uses it to try whether it can
// start any task. Like HoldStarts it concerns only this node. It does not limit leases.
func (l *Lot) LimitStarts(starts int) { l.startsLeft = starts }

// Row returns the pool's row as of the last step.
func (l *Lot) Row() ledger.Pool { return l.row }

// Running returns how many tasks hold units.
func (l *Lot) Running() int { return l.running }

// NextTimers returns the next times at which Apply has something to do even without ops, one by each clock. A zero value
// means never.
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

// SubmittedAt returns when a live task was submitted. This distinguishes it from earlier and later tasks of the same id.
func (l *Lot) SubmittedAt(id string) park.Time {
	e := l.tasks.find(id)
	if e == nil {
		return park.Time{}
	}
	return park.FromMicro(e.submitted)
}

// TooLarge returns how many parked tasks cost more units than the pool has, and the largest cost among them. Its time is
// proportional to the number of live tasks.
func (l *Lot) TooLarge() (tasks int, largest int64) {
	for e := range l.tasks.all {
		if e.phase != running && e.units > l.row.MaxUnits {
			tasks++
			largest = max(largest, e.units)
		}
	}
	return tasks, largest
}

// RunningTasks returns the ids of the tasks that hold units, in the order of their classes and ranks. Requeueing them
// from the last to the first restores that order.
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

// Check recounts the lot from its tasks, and returns an error if the totals differ or are impossible. Its time is
// proportional to the number of live tasks.
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

// CheckTotals returns an error if the lot's totals are impossible or differ from the pool's row. It takes constant time.
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

// MatchesRow reports whether the tasks add up to the totals in the pool's row.
func (l *Lot) MatchesRow() bool { return l.used == l.row.Used && l.queued == l.row.Queued }

// IsLive reports whether a task with the id is queued or running.
func (l *Lot) IsLive(id string) bool { return l.tasks.find(id) != nil }
