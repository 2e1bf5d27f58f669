package lot_test

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestAgainstOracle sends random operations to a lot and to the oracle. After each step both agree on every task, a
// replay of the events gives the lot's totals, the stored rows make the same lot again, and a step that is rolled back
// leaves no trace.
func TestAgainstOracle(t *testing.T) {
	for _, leased := range []bool{false, true} {
		t.Run(fmt.Sprintf("leased=%t", leased), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { newStateMachine(t, leased).run() })
		})
	}
}

// stateMachine is a lot and its oracle.
type stateMachine struct {
	*rapid.T
	lot             *lot.Lot
	replica         *lot.Lot // merges what the lot does, as another node would
	oracle          *oracle
	replayed        *replay.Pool
	rows            map[string]ledger.Record // as a store keeps them
	unmerged        map[string]bool          // tasks that the replica has not merged yet
	replicaBackoffs map[string]time.Duration // ends of backoffs on the replica
	now             lot.Instant
	row             ledger.Pool
	lastID          int
	stores          []*modelStore // stores that keep the pool too
	steps           int
	events          []park.Event
	ttlOffset       time.Duration // makes ends of leases differ, so that their order is one
}

func newStateMachine(t *rapid.T, leased bool) *stateMachine {
	units := rapid.Int64Range(0, 8).Draw(t, "units")
	depth := rapid.IntRange(0, 12).Draw(t, "depth")
	row := ledger.Pool{MaxUnits: units, MaxQueueDepth: depth, State: park.Active, ConfiguredUnits: units, ConfiguredDepth: depth}
	d := &stateMachine{
		T: t, oracle: newOracle(units, depth, leased), rows: map[string]ledger.Record{}, unmerged: map[string]bool{}, replicaBackoffs: map[string]time.Duration{}, row: row,
		now:      lot.Instant{Wall: park.At(time.Unix(1_800_000_000, 0)), Mono: time.Hour},
		replayed: replay.New(replay.Limits{MaxUnits: units, MaxQueueDepth: depth}),
	}
	d.lot = lot.New(lot.Config{Pool: "p", Node: "n", Leased: leased, Row: row}, d.now)
	d.replica = lot.New(lot.Config{Pool: "p", Node: "m", Leased: leased, Row: row}, d.now)
	return d
}

func (d *stateMachine) run() {
	d.Repeat(map[string]func(*rapid.T){
		"step":     func(*rapid.T) { d.step() },
		"rollback": func(*rapid.T) { d.rollback() },
		"restart":  func(*rapid.T) { d.restart() },
		"swap":     func(*rapid.T) { d.swapReplica() },
		"hold":     func(*rapid.T) { d.toggleHold() },
		"step 2":   func(*rapid.T) { d.step() }, "step 3": func(*rapid.T) { d.step() }, "step 4": func(*rapid.T) { d.step() },
		"step 5": func(*rapid.T) { d.step() }, "step 6": func(*rapid.T) { d.step() }, "step 7": func(*rapid.T) { d.step() },
	})
}

func (d *stateMachine) step() {
	d.steps++
	d.advanceClock()
	ops, requests := d.ops(), d.leaseRequests()
	for id, t := range d.oracle.tasks {
		d.lot.SetSize(id, t.spec.Size()) // it may have been started anew, and then does not know
	}
	// The lot fills in the spec, so each side gets its own.
	codes := d.oracle.step(d.now, ops, slices.Clone(requests))
	step, results := d.lot.Apply(d.now, ops, requests)
	for i, r := range results {
		code := park.Code("")
		if r.Err != nil {
			code = r.Err.Code
		}
		if code != codes[i] {
			d.Fatalf("op %d %+v: the lot says %q, the oracle %q", i, ops[i], code, codes[i])
		}
	}
	var starts []string
	for _, s := range step.Started {
		starts = append(starts, s.TaskID)
	}
	if !slices.Equal(starts, d.oracle.started) {
		d.Fatalf("the lot starts %v, the oracle %v", starts, d.oracle.started)
	}
	d.record(step)
	d.oracle.reorderRequeued(func(id string) int64 { return d.rows[id].Rank })
	d.checkAgreement()
}

// advanceClock lets time pass. Sometimes the wall clock goes backwards.
func (d *stateMachine) advanceClock() {
	elapsed := time.Duration(rapid.IntRange(0, 3000).Draw(d.T, "ms")) * time.Millisecond
	d.now.Mono += elapsed
	// One lease is lost at a time: the scenarios cover the order in which several are requeued.
	var leaseEnds []time.Duration
	for _, t := range d.oracle.tasks {
		if t.status == park.Running {
			leaseEnds = append(leaseEnds, t.leaseEnd)
		}
	}
	if slices.Sort(leaseEnds); d.oracle.leased && len(leaseEnds) > 1 {
		d.now.Mono = min(d.now.Mono, leaseEnds[1]-1)
	}
	if wall := d.now.Wall.Add(elapsed); rapid.IntRange(0, 20).Draw(d.T, "clock") > 0 {
		d.now.Wall = park.At(wall)
	}
}

func (d *stateMachine) leaseRequests() []lot.LeaseRequest {
	if !d.oracle.leased {
		return nil
	}
	out := make([]lot.LeaseRequest, rapid.IntRange(0, 2).Draw(d.T, "workers"))
	for i := range out {
		out[i] = lot.LeaseRequest{Worker: "w", Secret: "s", Max: rapid.IntRange(0, 3).Draw(d.T, "max"), MaxBytes: rapid.IntRange(0, 3).Draw(d.T, "kilobytes") * 1000, TTL: d.ttl()}
	}
	return out
}

// ttl returns a TTL that differs from all earlier ones by less than the clock's step, so that no two leases end at the
// same time.
func (d *stateMachine) ttl() time.Duration {
	d.ttlOffset++
	return time.Duration(rapid.IntRange(1, 5).Draw(d.T, "ttl"))*time.Second + d.ttlOffset
}

func (d *stateMachine) ops() []lot.Op {
	ops := make([]lot.Op, rapid.IntRange(0, 4).Draw(d.T, "ops"))
	for i := range ops {
		ops[i] = d.op()
	}
	// The lot handles consecutive requeues together, which the oracle does not.
	return slices.CompactFunc(ops, func(a, b lot.Op) bool {
		_, x := a.(lot.Requeue)
		_, y := b.(lot.Requeue)
		return x && y
	})
}

func (d *stateMachine) op() lot.Op {
	switch rapid.IntRange(0, 11).Draw(d.T, "op") {
	case 0, 1, 2, 3:
		return d.submit()
	case 4, 5, 6:
		t := d.pickTask(park.Running)
		o := park.Outcome{Status: park.Completed}
		if rapid.Bool().Draw(d.T, "fail") {
			o = park.Failure("broken", "")
			o.RetryAfter = rapid.SampledFrom([]time.Duration{0, 0, time.Second, time.Minute}).Draw(d.T, "asked")
		}
		f := lot.Finish{TaskID: t.spec.TaskID, Attempt: d.attempt(t), Outcome: o}
		if d.oracle.leased {
			f.Lease = lot.LeaseID("p", f.Attempt, "s", f.TaskID)
		}
		return f
	case 7:
		t := d.pickTask(park.Running)
		return lot.Requeue{TaskID: t.spec.TaskID, Attempt: d.attempt(t), Reason: park.ReasonNodeLost}
	case 8:
		return lot.Cancel{TaskID: d.pickTask("").spec.TaskID}
	case 9:
		t := d.pickTask(park.Running)
		if !d.oracle.leased {
			return lot.Cancel{TaskID: t.spec.TaskID}
		}
		return lot.RenewLease{TaskID: t.spec.TaskID, Lease: lot.LeaseID("p", d.attempt(t), "s", t.spec.TaskID), TTL: d.ttl()}
	case 10:
		units := rapid.Int64Range(0, 8).Draw(d.T, "units")
		return lot.Configure{Patch: park.PoolPatch{MaxUnits: &units}}
	default:
		depth, state := rapid.IntRange(0, 12).Draw(d.T, "depth"), rapid.SampledFrom(park.PoolStates()).Draw(d.T, "state")
		return lot.Configure{Patch: park.PoolPatch{MaxQueueDepth: &depth, State: &state}}
	}
}

// attempt returns mostly the task's current attempt, and sometimes an older one.
func (d *stateMachine) attempt(t *oracleTask) int {
	return max(0, t.attempt-max(0, rapid.IntRange(-5, 1).Draw(d.T, "stale")))
}

// pickTask returns a live task, of the given status if there is one.
func (d *stateMachine) pickTask(s park.Status) *oracleTask {
	var candidates []*oracleTask
	for _, id := range slices.Sorted(maps.Keys(d.oracle.tasks)) {
		if t := d.oracle.tasks[id]; !t.status.Ended() && (s == "" || t.status == s) {
			candidates = append(candidates, t)
		}
	}
	if len(candidates) == 0 {
		return &oracleTask{spec: ledger.Spec{TaskID: "nobody"}}
	}
	return candidates[rapid.IntRange(0, len(candidates)-1).Draw(d.T, "task")]
}

func (d *stateMachine) submit() lot.Op {
	s := &ledger.Spec{
		PoolID: "p", Tenant: "t", MailboxKey: "m", Priority: rapid.SampledFrom(park.Priorities()).Draw(d.T, "priority"),
		Units: rapid.Int64Range(1, 6).Draw(d.T, "cost"),
	}
	if d.oracle.leased {
		s.Payload = bytes.Repeat([]byte{'7'}, rapid.IntRange(0, 1500).Draw(d.T, "bytes"))
	}
	if t := d.pickTask(""); rapid.IntRange(0, 9).Draw(d.T, "again") == 0 && t.spec.Digest != 0 {
		again := t.spec
		again.Digest += uint64(rapid.IntRange(0, 1).Draw(d.T, "other"))
		return lot.Submit{Spec: &again}
	}
	d.lastID++
	s.TaskID, s.Digest = fmt.Sprintf("t%d", d.lastID), uint64(2*d.lastID)
	if rapid.Bool().Draw(d.T, "dated") {
		s.Deadline = park.At(d.now.Wall.Add(time.Duration(rapid.IntRange(-1, 4000).Draw(d.T, "deadline")) * time.Millisecond))
	}
	if rapid.Bool().Draw(d.T, "retried") {
		s.Retry = park.Retry{MaxAttempts: rapid.IntRange(0, 3).Draw(d.T, "attempts"), Backoff: park.Duration(rapid.IntRange(0, 3000).Draw(d.T, "backoff")) * park.Duration(time.Millisecond)}
	}
	return lot.Submit{Spec: s}
}

// record does with a step what a store, other nodes and an auditor do.
func (d *stateMachine) record(step *lot.Step) {
	if len(step.Events) > 0 && step.Row.Rev != d.row.Rev+1 {
		d.Fatalf("rev %d follows %d", step.Row.Rev, d.row.Rev)
	}
	d.row = step.Row
	for i, r := range step.Inserts {
		if _, there := d.rows[r.TaskID]; there || !reflect.DeepEqual(r.Spec, *step.Specs[i]) {
			d.Fatalf("inserted %+v of %+v; it was there: %t", r, step.Specs[i], there)
		}
		d.rows[r.TaskID], d.unmerged[r.TaskID] = r, true
	}
	for _, u := range step.Updates {
		r := d.rows[u.TaskID]
		r.State = u.State
		d.rows[u.TaskID], d.unmerged[u.TaskID] = r, true
	}
	if rapid.IntRange(0, 2).Draw(d.T, "merge") > 0 {
		d.merge()
	}
	d.events = append(d.events, step.Events...)
	for _, k := range d.stores {
		k.commit(d, step)
	}
	for _, e := range step.Events {
		if err := d.replayed.Apply(e); err != nil {
			d.Fatalf("replay of %+v: %v", e, err)
		}
	}
	for _, m := range step.Messages {
		if s := d.rows[m.TaskID].Status; s != m.Status {
			d.Fatalf("task %s is %s and its message says %s", m.TaskID, s, m.Status)
		}
	}
	if s := d.replayed.State(); len(step.Events) > 0 && (s.Used != step.Row.Used || s.Queued != step.Row.Queued) {
		d.Fatalf("replayed to %d units, %d parked; the lot has %d, %d", s.Used, s.Queued, step.Row.Used, step.Row.Queued)
	}
}

// merge merges into the replica all that happened since its last merge, in random order.
func (d *stateMachine) merge() {
	ids := slices.Sorted(maps.Keys(d.unmerged))
	if len(ids) > 1 {
		ids = rapid.Permutation(ids).Draw(d.T, "heard")
	}
	changed := make([]ledger.Record, len(ids))
	for i, id := range ids {
		changed[i] = d.rows[id]
		d.replicaBackoffs[id] = d.oracle.tasks[id].backoffUntil(d.now, d.row.LastAt)
	}
	clear(d.unmerged)
	d.replica.Merge(d.row, changed, d.now)
}

// checkAgreement checks that lot, replica, rows and oracle agree.
func (d *stateMachine) checkAgreement() {
	current := len(d.unmerged) == 0
	for _, l := range []*lot.Lot{d.lot, d.replica} {
		check := l.CheckAll
		if len(d.stores) > 0 || d.steps%4 != 0 {
			check = l.Check // many of these histories are about the stores, and a look at everything is dear
		}
		if err := check(); err != nil {
			d.Fatal(err)
		}
	}
	if d.row.Used != d.oracle.used() || d.row.Queued != d.oracle.queued() {
		d.Fatalf("the lot has %d units, %d parked; the oracle %d, %d", d.row.Used, d.row.Queued, d.oracle.used(), d.oracle.queued())
	}
	for id, want := range d.oracle.tasks {
		got := d.rows[id]
		if got.Status != want.status || got.Attempt != want.attempt || got.Failures != want.failures {
			d.Fatalf("task %s is %s, run %d, failures %d; the oracle says %s, %d, %d",
				id, got.Status, got.Attempt, got.Failures, want.status, want.attempt, want.failures)
		}
		state, _, live := d.lot.State(id)
		other, _, _ := d.replica.State(id)
		// Renewals of leases are not made durable.
		got.LeaseTTL, other.LeaseTTL = state.LeaseTTL, state.LeaseTTL
		if live == want.status.Ended() || live && !reflect.DeepEqual(state, got.State) {
			d.Fatalf("task %s: live %t, %+v; its row %+v", id, live, state, got.State)
		}
		if current && !reflect.DeepEqual(state, other) {
			d.Fatalf("task %s: %+v; merged %+v", id, state, other)
		}
	}
}

// rollback rolls a step back that the oracle never sees.
func (d *stateMachine) rollback() {
	before := d.snapshot()
	d.advanceClock()
	// A renewed lease stays renewed, because a renewal is not part of a step.
	ops := slices.DeleteFunc(d.ops(), func(o lot.Op) bool {
		_, keep := o.(lot.RenewLease)
		return keep
	})
	d.lot.Apply(d.now, ops, d.leaseRequests())
	d.lot.Rollback()
	if after := d.snapshot(); !reflect.DeepEqual(before, after) {
		d.Fatalf("rolled back: %+v\nbefore: %+v", after, before)
	}
}

func (d *stateMachine) snapshot() map[string]any {
	p := map[string]any{"row": d.lot.Row(), "running": d.lot.RunningTasks()}
	for id := range d.rows {
		// Positions are left out: the end of a backoff is not part of a step.
		if s, _, ok := d.lot.State(id); ok {
			p[id] = s
		}
	}
	return p
}

func (d *stateMachine) liveTasks() (all []ledger.Record) {
	for _, id := range slices.Sorted(maps.Keys(d.rows)) {
		if r := d.rows[id]; !r.Status.Ended() {
			all = append(all, r)
		}
	}
	return all
}

// restart continues with a lot that is loaded from the rows. The leases start again, because the new process knows
// nothing about the old one's clock.
func (d *stateMachine) restart() {
	d.lot = lot.New(lot.Config{Pool: "p", Node: "n", Leased: d.oracle.leased, Row: d.row, Tasks: d.liveTasks()}, d.now)
	d.lot.HoldStarts(d.oracle.held)
	for id, t := range d.oracle.tasks {
		t.ttl = d.rows[id].LeaseTTL
		t.leaseEnd = d.now.Mono + t.ttl
	}
	d.oracle.reload(d.now, d.row.LastAt)
	for _, k := range d.stores {
		k.restart(d)
	}
	d.checkAgreement()
}

// swapReplica continues with the lot that has merged all steps.
func (d *stateMachine) swapReplica() {
	if d.oracle.leased {
		return // its leases began when it merged them, which the oracle does not follow
	}
	d.merge()
	d.lot, d.replica = d.replica, d.lot
	for id, t := range d.oracle.tasks {
		t.readyAt, d.replicaBackoffs[id] = d.replicaBackoffs[id], t.readyAt
	}
	d.lot.HoldStarts(d.oracle.held)
}

func (d *stateMachine) toggleHold() {
	d.oracle.held = !d.oracle.held
	d.lot.HoldStarts(d.oracle.held)
}
