package lot

import (
	"cmp"
	"slices"
	"time"
	"unique"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// phase says where an entry is, and so which structure holds it.
type phase uint8

const (
	removed    phase = iota
	waiting          // in its class
	backingOff       // in a backoff: parked, but not yet in its class
	running
)

// entry is a live task. A million of them may be parked, so data that few tasks need is in run and retry.
type entry struct {
	id        string
	owner     unique.Handle[owner]
	units     int64
	rank      int64
	deadline  int64 // microseconds; 0: none
	submitted int64 // microseconds
	digest    uint64
	retry     *retry
	run       *run
	ref       ref   // of the entry itself
	timeout   int32 // seconds; 0: none
	attempt   int32
	timer     int32 // index in a heap of timers, from 1; 0: in none
	size      int32 // see leaseSize; 0: unknown
	undoIndex int32 // index in the undo log, from 1; 0: not touched by the current step
	failures  int16 // runs that count against Retry.MaxAttempts
	priority  park.Priority
	phase     phase
}

// owner holds the names that many tasks have in common.
type owner struct{ tenant, mailbox string }

// retry holds the retry policy of a task, and its current backoff.
type retry struct {
	park.Retry
	notBefore  int64         // microseconds; 0: no backoff
	backoffEnd time.Duration // monotonic
}

// run is an active run, or the last run of a task that the current step has ended.
type run struct {
	node       string
	lease      string
	ttl        time.Duration
	leaseEnd   time.Duration // monotonic: when the lease is lost
	timeoutEnd time.Duration // monotonic: the end of a leased run's time limit; 0: none
	started    park.Time
	cancelled  bool
}

// internOwner returns the shared copy of a task's owner. Consecutive tasks often have the same owner.
func (l *Lot) internOwner(s *ledger.Spec) unique.Handle[owner] {
	if o := (owner{s.Tenant, s.MailboxKey}); l.lastOwner.Value() != o {
		l.lastOwner = unique.Make(o)
	}
	return l.lastOwner
}

// newEntry returns an entry for a task. Only the index holds it yet.
func (l *Lot) newEntry(s *ledger.Spec) *entry {
	e := l.tasks.allocate()
	e.id, e.owner = s.TaskID, l.internOwner(s)
	e.units, e.deadline, e.submitted, e.digest = s.Units, s.Deadline.Micro(), s.SubmittedAt.Micro(), s.Digest
	e.timeout, e.priority, e.phase = int32(s.Timeout/time.Second), s.Priority, waiting
	if s.Retry != (park.Retry{}) {
		e.retry = &retry{Retry: s.Retry}
	}
	l.tasks.addToIndex(e)
	return e
}

// restore adds a task as a store holds it. knownTimeouts holds the ends of the time limits of leased runs that this lot
// already had, by lease.
func (l *Lot) restore(r *ledger.Record, now Instant, knownTimeouts map[string]time.Duration) {
	e := l.newEntry(&r.Spec)
	e.rank, e.attempt, e.failures = r.Rank, int32(r.Attempt), int16(r.Failures)
	if !r.NotBefore.IsZero() {
		e.retry = &retry{Retry: r.Spec.Retry, notBefore: r.NotBefore.Micro()}
	}
	if r.Status == park.Running {
		e.phase = running
		e.run = &run{node: r.Node, lease: r.Lease, ttl: r.LeaseTTL, started: r.StartedAt, cancelled: r.Cancelled}
		e.run.leaseEnd = now.Mono + r.LeaseTTL
		if r.Timeout > 0 {
			e.run.timeoutEnd = l.timeoutEnd(r, now, knownTimeouts)
		}
	} else if e.retry != nil {
		if left := l.backoffLeft(r, now); left > 0 {
			e.phase = backingOff
			e.retry.backoffEnd = now.Mono + left
		}
	}
	l.add(e)
}

// timeoutEnd returns when a leased run reaches its time limit. The wall clock of this node may have been set, so it does
// not count. A run that was known keeps its limit. For any other run, the pool's time tells how long it has run.
func (l *Lot) timeoutEnd(r *ledger.Record, now Instant, knownTimeouts map[string]time.Duration) time.Duration {
	if limit, ok := knownTimeouts[r.Lease]; ok {
		return limit
	}
	elapsed := max(l.row.LastAt.Sub(r.StartedAt.Time), 0)
	return now.Mono + max(r.Timeout-elapsed, 0)
}

// backoffLeft returns how long a task still backs off. The node that wrote the end of the backoff may have had another
// clock. So the result is at most the task's own backoff or, if an outcome requested a longer one, what is left of it by
// the pool's time, which that same clock has advanced.
func (l *Lot) backoffLeft(r *ledger.Record, now Instant) time.Duration {
	requested := min(r.NotBefore.Sub(l.row.LastAt.Time), maxBackoff)
	return min(r.NotBefore.Sub(now.Wall.Time), max(backoffAfter(time.Duration(r.Spec.Retry.Backoff), r.Failures), requested))
}

// isOtherTask reports whether e is not the task that was submitted at t. If t is zero, the answer is no.
func (e *entry) isOtherTask(t park.Time) bool { return !t.IsZero() && t.Micro() != e.submitted }

func (e *entry) notBefore() int64 {
	if e.retry == nil {
		return 0
	}
	return e.retry.notBefore
}

// status returns e's status. The status of an ended task is known until the step is over.
func (l *Lot) status(e *entry) park.Status {
	switch e.phase {
	case running:
		return park.Running
	case removed:
		return l.undoLog[e.undoIndex-1].outcome.Status
	default:
		return park.Queued
	}
}

// fillState sets s, which is zero, to the state of e.
func (l *Lot) fillState(e *entry, s *ledger.State) {
	s.Status, s.Rank, s.Attempt, s.Failures = park.Queued, e.rank, int(e.attempt), int(e.failures)
	s.NotBefore = park.FromMicro(e.notBefore())
	if r := e.run; r != nil {
		s.Status = park.Running
		s.Cancelled, s.Node, s.Lease, s.LeaseTTL, s.StartedAt = r.cancelled, r.node, r.lease, r.ttl, r.started
	}
	if e.phase == removed {
		o := &l.undoLog[e.undoIndex-1].outcome
		s.Status, s.EndedAt, s.Reason, s.Message, s.Result = o.Status, l.now.Wall, o.Reason, o.Message, o.Result
	}
}

// detach removes e from the structure that holds it, so that e can be changed and then attached again. The change must
// replace e.run and e.retry instead of writing to what they point to: Rollback restores the old ones.
func (l *Lot) detach(e *entry) {
	l.recordUndo(e)
	l.remove(e)
}

// attach adds e, which was detached, in its new phase.
func (l *Lot) attach(e *entry, phase phase) {
	e.phase = phase
	l.add(e)
}

// add puts e into the structure for e.phase, and counts it.
func (l *Lot) add(e *entry) {
	if e.phase == removed {
		return
	}
	c := l.class(e.priority)
	switch e.phase {
	case running:
		l.used += e.units
		l.running++
		if l.leased {
			l.leases.add(e, int64(e.run.endsAt()))
		}
		return
	case waiting:
		c.insert(e)
	case backingOff:
		c.reserve(e.rank)
		l.backoffs.add(e, int64(e.retry.backoffEnd))
	case removed:
	}
	c.nextRank = max(c.nextRank, e.rank+1)
	l.queued++
	// A task that has run before has no deadline any more: it did start in time.
	if e.phase == waiting && e.attempt == 0 && e.deadline != 0 {
		l.deadlines.add(e, e.deadline)
	}
}

// remove is the reverse of add. The index keeps the entry. It does nothing if e is removed already.
func (l *Lot) remove(e *entry) {
	switch e.phase {
	case removed:
		return
	case running:
		l.used -= e.units
		l.running--
		l.leases.remove(e)
	case waiting:
		l.class(e.priority).remove(e)
		l.deadlines.remove(e)
		l.queued--
	case backingOff:
		delete(l.class(e.priority).reserved, e.rank)
		l.backoffs.remove(e)
		l.queued--
	}
	e.phase = removed
}

// endsAt returns when the lot ends a leased run: at the end of its lease or of its time limit.
func (r *run) endsAt() time.Duration {
	if r.timeoutEnd > 0 && r.timeoutEnd < r.leaseEnd {
		return r.timeoutEnd
	}
	return r.leaseEnd
}

func (l *Lot) class(p park.Priority) *class { return &l.classes[p-park.Low] }

func sortEntries(all []*entry) {
	slices.SortFunc(all, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.rank, b.rank),
			cmp.Compare(a.submitted, b.submitted), cmp.Compare(a.id, b.id))
	})
}
