package lot

import (
	"strconv"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Op is one thing to do.
type Op interface {
	apply(l *Lot) Result
}

// Result answers an op. Err says that it was refused, and that nothing came of it but perhaps a reject event.
type Result struct {
	Err *park.Error
	// Status, Position and SubmittedAt are those of a submitted or cancelled task.
	Status      park.Status
	Position    int64
	SubmittedAt park.Time
	// Until is the wall-clock time to which a kept lease lives, for people.
	LeaseUntil park.Time
	LeaseTTL   time.Duration // of a kept lease
	// Stale says that the op was about a run that is over: it changed nothing.
	Stale bool
}

// Submit offers a task. Spec.SubmittedAt is set by the lot. A live task of the same id and Digest makes the
// answer that task's present state.
type Submit struct {
	Spec *ledger.Spec
	// NewID says that the id was made for this submission, so that it cannot be one of an ended task come again.
	NewID bool
	// OwnID, unless it is "", is the id that the task is kept under if Spec.TaskID is another tenant's. Whoever sets it has
	// looked for both ids among the ended tasks: Foreign says that one of another tenant has Spec.TaskID, and Ended is the
	// one that has OwnID.
	FallbackID string
	IDTaken    bool
	Ended      *ledger.Record
}

// Finish ends the given run of a task, or begins its next one after a failure that may be retried.
// It is stale where that run is over, or was not started for the given lease ("" for a run without one).
type Finish struct {
	TaskID  string
	Attempt int
	// Submitted is when the task was submitted, unless it is zero: the id may be another task's by now, whose attempts
	// have the same numbers.
	SubmittedAt park.Time
	Lease       string
	Outcome     park.Outcome
}

// Requeue takes a run back that was lost through no fault of the task: it becomes the first of its class.
type Requeue struct {
	TaskID      string
	Attempt     int
	SubmittedAt park.Time // as in [Finish]
	Lease       string    // where it is not "", only a run for this lease is meant
	Reason      string
}

// Cancel drops a parked or leased task, and marks a running one: it is dropped when its run has finished.
type Cancel struct{ TaskID string }

// RenewLease prolongs a lease. TTL 0 keeps the one it has. It changes nothing that has to be made durable.
type RenewLease struct {
	TaskID string
	Lease  string
	TTL    time.Duration
}

// Configure changes the pool's limits or state. FromFile notes the limits as those of the configuration.
type Configure struct {
	Patch    park.PoolPatch
	FromFile bool
}

func (o Submit) apply(l *Lot) Result {
	s := o.resolveID(l)
	// Who offers tasks looks for their ids among the ended ones, and cannot have seen what ends only now: that is found
	// here too.
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

// resolveID returns the task that is offered, with the id that it is kept under.
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

// answerDuplicate answers a submission whose id is that of a task.
func (l *Lot) answerDuplicate(e *entry, s *ledger.Spec) Result {
	if s.Digest != 0 && e.digest == s.Digest {
		return Result{Status: l.status(e), Position: l.position(e), SubmittedAt: park.FromMicro(e.submitted)}
	}
	return Result{Err: l.rejectTaken(s)}
}

// rejectTaken notes that a submission was refused because its id is taken, and returns the error.
func (l *Lot) rejectTaken(s *ledger.Spec) *park.Error {
	l.addEvent(park.ActReject, "", s.Tenant, s.Units, 0, detail("code", string(park.TaskExists), "taskId", park.ShownTaskID(s.TaskID)))
	return park.Errorf(park.TaskExists, "pool %s has another task with the id %s", l.pool, park.ShownTaskID(s.TaskID))
}

// checkAdmission says why a task cannot be taken.
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

// Duplicate answers a submission whose id is that of an ended task.
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
