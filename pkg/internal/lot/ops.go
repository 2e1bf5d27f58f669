package lot

import (
	"strconv"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Op is one operation on a lot.
type Op interface {
	apply(l *Lot) Result
}

// Result answers an op. If Err is set, the op was refused and changed nothing, except that it may have added a reject
// event.
type Result struct {
	Err *park.Error
	// Status, Position and SubmittedAt are those of a submitted or cancelled task.
	Status      park.Status
	Position    int64
	SubmittedAt park.Time
	// LeaseUntil is when a renewed lease ends by the wall clock, for display.
	LeaseUntil park.Time
	LeaseTTL   time.Duration // of a kept lease
	// Stale is set if the op was for a run that is over. It changed nothing.
	Stale bool
}

// Submit submits a task. The lot sets Spec.SubmittedAt. If a live task has the same id and Digest, the answer is that
// task's current state.
type Submit struct {
	Spec *ledger.Spec
	// NewID is set if the id was generated for this submission, so that no ended task can have it.
	NewID bool
	// FallbackID, unless it is "", becomes the task's id if Spec.TaskID belongs to another tenant. The caller that sets it
	// has looked for both ids among the ended tasks: IDTaken says that a task of another tenant has Spec.TaskID, and Ended
	// is the task with FallbackID.
	FallbackID string
	IDTaken    bool
	Ended      *ledger.Record
}

// Finish ends the given run of a task. After a failure that may be retried the task is parked again. The op is stale if
// that run is over, or if it was not started for the given lease ("" for a run without one).
type Finish struct {
	TaskID  string
	Attempt int
	// SubmittedAt is when the task was submitted, or zero if any task with the id is meant. By now another task may have the
	// id, and its attempts have the same numbers.
	SubmittedAt park.Time
	Lease       string
	Outcome     park.Outcome
}

// Requeue takes back a run that was lost through no fault of the task. The task becomes the first of its class.
type Requeue struct {
	TaskID      string
	Attempt     int
	SubmittedAt park.Time // as in [Finish]
	Lease       string    // if it is not "", only a run for this lease is requeued
	Reason      string
}

// Cancel drops a parked or leased task. It marks any other running task, which is dropped when its run has finished.
type Cancel struct{ TaskID string }

// RenewLease renews a lease. TTL 0 keeps its present TTL. It changes nothing that must be made durable.
type RenewLease struct {
	TaskID string
	Lease  string
	TTL    time.Duration
}

// Configure changes the pool's limits or state. FromFile also stores the limits as those of the configuration.
type Configure struct {
	Patch    park.PoolPatch
	FromFile bool
}

func (o Submit) apply(l *Lot) Result {
	s := o.resolveID(l)
	// The caller has looked for the id among the ended tasks, but not among those that end in this very step. The index
	// still finds these.
	if e := l.tasks.find(s.TaskID); e != nil {
		return l.answerDuplicate(e, s)
	}
	if o.Ended != nil {
		return Duplicate{Spec: s, Ended: o.Ended}.apply(l)
	}
	if err := l.checkAdmission(s); err != nil {
		l.addEvent(park.ActReject, s.TaskID, s.Tenant, s.Units, 0, detail("code", string(err.Code)))
		return Result{Err: err}
	}
	s.SubmittedAt = l.now.Wall
	e := l.newEntry(s)
	e.rank, e.size = l.class(s.Priority).nextRank, l.leaseSizeOf(s)
	now := l.canStart(e.priority, e.units, e.size)
	l.addNew(e, s)
	l.addEvent(park.ActSubmit, e.id, s.Tenant, e.units, 0, l.submissionDetail(e, s))
	if now {
		l.start(e)
		return Result{Status: park.Running, SubmittedAt: l.now.Wall}
	}
	l.addEvent(park.ActEnqueue, e.id, s.Tenant, e.units, 0, nil)
	return Result{Status: park.Queued, Position: l.lastPosition(e.priority), SubmittedAt: l.now.Wall}
}

// resolveID returns the submitted task, with the id under which it is stored.
func (o Submit) resolveID(l *Lot) *ledger.Spec {
	if o.FallbackID == "" {
		return o.Spec
	}
	e := l.tasks.find(o.Spec.TaskID)
	mine := e != nil && e.owner.Value().tenant == o.Spec.Tenant
	unused := e == nil && !o.IDTaken && o.Ended == nil && l.tasks.find(o.FallbackID) == nil
	if mine || unused {
		return o.Spec
	}
	s := *o.Spec
	s.TaskID = o.FallbackID
	return &s
}

// answerDuplicate answers a submission whose id belongs to a task in the lot.
func (l *Lot) answerDuplicate(e *entry, s *ledger.Spec) Result {
	if s.Digest != 0 && e.digest == s.Digest {
		return Result{Status: l.status(e), Position: l.position(e), SubmittedAt: park.FromMicro(e.submitted)}
	}
	return Result{Err: l.rejectTaken(s)}
}

// rejectTaken adds a reject event for a submission whose id is taken, and returns the error.
func (l *Lot) rejectTaken(s *ledger.Spec) *park.Error {
	l.addEvent(park.ActReject, "", s.Tenant, s.Units, 0, detail("code", string(park.TaskExists), "taskId", park.ShownTaskID(s.TaskID)))
	return park.Errorf(park.TaskExists, "pool %s has another task with the id %s", l.pool, park.ShownTaskID(s.TaskID))
}

// checkAdmission returns an error if a task cannot be accepted.
func (l *Lot) checkAdmission(s *ledger.Spec) *park.Error {
	switch {
	case l.row.State == park.Draining:
		return park.Errorf(park.PoolDraining, "pool %s is draining and takes no tasks", l.pool)
	case l.row.MaxUnits == 0:
		return park.Errorf(park.CapacityZero, "pool %s has 0 units, so nothing can start in it", l.pool)
	case s.Units > l.row.MaxUnits:
		return park.Errorf(park.CostExceedsPool, "resourceCost.units is %d, but pool %s has %d at most", s.Units, l.pool, l.row.MaxUnits)
	case !s.Deadline.IsZero() && !s.Deadline.After(l.now.Wall.Time):
		return park.Errorf(park.DeadlinePast, "deadline %s has passed: it is %s", s.Deadline, l.now.Wall)
	case l.queued >= l.row.MaxQueueDepth && !l.canStart(s.Priority, s.Units, l.leaseSizeOf(s)):
		return park.Errorf(park.QueueFull, "pool %s has %d parked tasks of at most %d", l.pool, l.queued, l.row.MaxQueueDepth)
	}
	return nil
}

// lastPosition returns the position of the last task of a class.
func (l *Lot) lastPosition(p park.Priority) int64 {
	var n int64
	for i := int(p - lowest); i < len(l.classes); i++ {
		n += int64(l.classes[i].waiting.Len())
	}
	return n
}

func (o Finish) apply(l *Lot) Result {
	e := l.tasks.find(o.TaskID)
	if e == nil || e.phase != running || int(e.attempt) != o.Attempt || e.run.lease != o.Lease || e.isOtherTask(o.SubmittedAt) {
		return Result{Stale: true}
	}
	l.endRun(e, o.Outcome)
	return Result{Status: l.status(e)}
}

func (o Requeue) apply(l *Lot) Result {
	e := l.tasks.find(o.TaskID)
	if e == nil || e.phase != running || int(e.attempt) != o.Attempt || e.isOtherTask(o.SubmittedAt) || o.Lease != "" && e.run.lease != o.Lease {
		return Result{Stale: true}
	}
	if e.run.cancelled {
		l.endTask(e, park.Dropped, park.Outcome{Reason: park.ReasonCancelled})
	} else {
		l.requeue(e, o.Reason, l.class(e.priority).frontRank(), 0, 0)
	}
	return Result{Status: l.status(e)}
}

func (o Cancel) apply(l *Lot) Result {
	e := l.tasks.find(o.TaskID)
	switch {
	case e == nil || e.phase == removed:
		return Result{Stale: true}
	case e.phase == running && !l.leased && e.run.cancelled:
	case e.phase == running && !l.leased:
		l.detach(e)
		r := *e.run
		r.cancelled = true
		e.run = &r
		l.attach(e, running)
		l.addEvent(park.ActUpdate, "", "", 0, 0, detail("cancel", e.id))
	default:
		l.endTask(e, park.Dropped, park.Outcome{Reason: park.ReasonCancelled})
	}
	return Result{Status: l.status(e)}
}

func (o RenewLease) apply(l *Lot) Result {
	e := l.tasks.find(o.TaskID)
	if e == nil || e.phase != running || e.run.lease != o.Lease {
		return Result{Stale: true}
	}
	if o.TTL > 0 {
		e.run.ttl = o.TTL
	}
	e.run.leaseEnd = l.now.Mono + e.run.ttl
	l.leases.remove(e)
	l.leases.add(e, int64(e.run.endsAt()))
	return Result{Status: park.Running, LeaseUntil: park.At(l.now.Wall.Add(e.run.endsAt() - l.now.Mono)), LeaseTTL: e.run.ttl}
}

func (o Configure) apply(l *Lot) Result {
	var d details
	if v := o.Patch.MaxUnits; v != nil && *v != l.row.MaxUnits {
		d.change("maxUnits", strconv.FormatInt(l.row.MaxUnits, 10), strconv.FormatInt(*v, 10))
		l.row.MaxUnits = *v
	}
	if v := o.Patch.MaxQueueDepth; v != nil && *v != l.row.MaxQueueDepth {
		d.change("maxQueueDepth", strconv.Itoa(l.row.MaxQueueDepth), strconv.Itoa(*v))
		l.row.MaxQueueDepth = *v
	}
	if v := o.Patch.State; v != nil && *v != l.row.State {
		d.change("state", strconv.Quote(string(l.row.State)), strconv.Quote(string(*v)))
		l.row.State = *v
	}
	if o.FromFile && (l.row.ConfiguredUnits != l.row.MaxUnits || l.row.ConfiguredDepth != l.row.MaxQueueDepth) {
		d.change("configured", strconv.FormatInt(l.row.ConfiguredUnits, 10), strconv.FormatInt(l.row.MaxUnits, 10))
		l.row.ConfiguredUnits, l.row.ConfiguredDepth = l.row.MaxUnits, l.row.MaxQueueDepth
	}
	if len(d) > 0 {
		l.addEvent(park.ActUpdate, "", "", 0, 0, d.json())
	}
	return Result{}
}

// Duplicate answers a submission whose id belongs to an ended task.
type Duplicate struct {
	Spec  *ledger.Spec
	Ended *ledger.Record
}

func (o Duplicate) apply(l *Lot) Result {
	if o.Spec.Digest != 0 && o.Spec.Digest == o.Ended.Digest {
		return Result{Status: o.Ended.Status, SubmittedAt: o.Ended.SubmittedAt}
	}
	return Result{Err: l.rejectTaken(o.Spec)}
}
