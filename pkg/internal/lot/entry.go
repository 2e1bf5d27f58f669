package lot

import (
	"cmp"
	"slices"
	"time"
	"unique"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// place says which structure holds an entry.
type place uint8

const (
	gone    place = iota
	waiting       // in its class
	resting       // in a backoff: parked, but not yet in its class
	running
)

// entry is a live task. A million of them may be parked, so what only few need hangs on run and retry.
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
	timer     int32 // index in a timers heap, from 1; 0: in none
	size      int32 // see sizeOf; 0: not known
	touched   int32 // index in the journal, from 1; 0: not touched by the current step
	strikes   int16
	priority  park.Priority
	where     place
}

// owner is what many tasks have in common.
type owner struct{ tenant, mailbox string }

// retry is what is kept of a task that may run more than once, or rests before it does.
type retry struct {
	park.Retry
	notBefore int64         // microseconds
	due       time.Duration // monotonic: the end of the backoff
}

// run is a run under way, or the last one of a task that the current step has ended.
type run struct {
	node      string
	lease     string
	ttl       time.Duration
	due       time.Duration // monotonic: the lease is lost then
	limit     time.Duration // monotonic: the time limit of a leased task; 0: none
	started   park.Time
	cancelled bool
}

// ownerOf returns the one copy of a task's owner. Tasks that follow each other often have the same.
func (l *Lot) ownerOf(s *ledger.Spec) unique.Handle[owner] {
	if o := (owner{s.Tenant, s.MailboxKey}); l.owner.Value() != o {
		l.owner = unique.Make(o)
	}
	return l.owner
}

// admit gives a task its entry, which is in no structure yet.
func (l *Lot) admit(s *ledger.Spec) *entry {
	e := l.tasks.place()
	e.id, e.owner = s.TaskID, l.ownerOf(s)
	e.units, e.deadline, e.submitted, e.digest = s.Units, s.Deadline.Micro(), s.SubmittedAt.Micro(), s.Digest
	e.timeout, e.priority, e.where = int32(s.Timeout/time.Second), s.Priority, waiting
	if s.Retry != (park.Retry{}) {
		e.retry = &retry{Retry: s.Retry}
	}
	l.tasks.enter(e)
	return e
}

// restore adds a task as a store has it. known holds the time limits of leased runs that this lot knew already, by lease.
func (l *Lot) restore(r *ledger.Record, now Instant, known map[string]time.Duration) {
	e := l.admit(&r.Spec)
	e.rank, e.attempt, e.strikes = r.Rank, int32(r.Attempt), int16(r.Failures)
	if !r.NotBefore.IsZero() {
		e.retry = &retry{Retry: r.Spec.Retry, notBefore: r.NotBefore.Micro()}
	}
	if r.Status == park.Running {
		e.where = running
		e.run = &run{node: r.Node, lease: r.Lease, ttl: r.LeaseTTL, started: r.StartedAt, cancelled: r.Cancelled}
		e.run.due = now.Mono + r.LeaseTTL
		if r.Timeout > 0 {
			e.run.limit = l.limitOf(r, now, known)
		}
	} else if e.retry != nil {
		if left := l.restOf(r, now); left > 0 {
			e.where = resting
			e.retry.due = now.Mono + left
		}
	}
	l.add(e)
}

// limitOf returns when a leased run ends into its time limit. The wall clock of this node may have been set, and so says
// nothing of it: a run that was known keeps its limit, and of another one as much is over as the pool's time tells.
func (l *Lot) limitOf(r *ledger.Record, now Instant, known map[string]time.Duration) time.Duration {
	if limit, ok := known[r.Lease]; ok {
		return limit
	}
	over := max(l.row.LastAt.Sub(r.StartedAt.Time), 0)
	return now.Mono + max(r.Timeout-over, 0)
}

// restOf returns what is left of a task's rest. Whoever noted its end may have had another clock, so it is at most the
// task's own backoff, or what the pool's time, which that clock has moved too, leaves of a rest that an outcome asked for.
func (l *Lot) restOf(r *ledger.Record, now Instant) time.Duration {
	asked := min(r.NotBefore.Sub(l.row.LastAt.Time), maxBackoff)
	return min(r.NotBefore.Sub(now.Wall.Time), max(grown(time.Duration(r.Spec.Retry.Backoff), r.Failures), asked))
}

// isAnother reports whether e is not the task that was submitted at t, where t is known.
func (e *entry) isAnother(t park.Time) bool { return !t.IsZero() && t.Micro() != e.submitted }

func (e *entry) notBefore() int64 {
	if e.retry == nil {
		return 0
	}
	return e.retry.notBefore
}

// status returns e's status. An ended one is known until the step is over.
func (l *Lot) status(e *entry) park.Status {
	switch e.where {
	case running:
		return park.Running
	case gone:
		return l.journal[e.touched-1].outcome.Status
	default:
		return park.Queued
	}
}

// describe sets s, which is zero, to the state of e.
func (l *Lot) describe(e *entry, s *ledger.State) {
	s.Status, s.Rank, s.Attempt, s.Failures = park.Queued, e.rank, int(e.attempt), int(e.strikes)
	s.NotBefore = park.FromMicro(e.notBefore())
	if r := e.run; r != nil {
		s.Status = park.Running
		s.Cancelled, s.Node, s.Lease, s.LeaseTTL, s.StartedAt = r.cancelled, r.node, r.lease, r.ttl, r.started
	}
	if e.where == gone {
		o := &l.journal[e.touched-1].outcome
		s.Status, s.EndedAt, s.Reason, s.Message, s.Result = o.Status, l.now.Wall, o.Reason, o.Message, o.Result
	}
}

// lift takes e out of the structure that it is in, so that it can be changed and then put where it belongs. The change
// must replace e.run and e.retry, not write into what they point to: Rollback brings the old ones back.
func (l *Lot) lift(e *entry) {
	l.touch(e)
	l.remove(e)
}

// put adds e, which was lifted, in its new place.
func (l *Lot) put(e *entry, to place) {
	e.where = to
	l.add(e)
}

// add puts e into the structure that e.where names, and counts it.
func (l *Lot) add(e *entry) {
	if e.where == gone {
		return
	}
	c := l.class(e.priority)
	switch e.where {
	case running:
		l.used += e.units
		l.running++
		if l.leased {
			l.leases.add(e, int64(e.run.next()))
		}
		return
	case waiting:
		c.insert(e)
	case resting:
		c.rest(e.rank)
		l.rests.add(e, int64(e.retry.due))
	case gone:
	}
	c.next = max(c.next, e.rank+1)
	l.queued++
	// A task that has run before keeps no deadline: it did start in time.
	if e.where == waiting && e.attempt == 0 && e.deadline != 0 {
		l.parked.add(e, e.deadline)
	}
}

// remove is the reverse of add. The entry is found by its id all the same. One that is gone already stays so.
func (l *Lot) remove(e *entry) {
	switch e.where {
	case gone:
		return
	case running:
		l.used -= e.units
		l.running--
		l.leases.remove(e)
	case waiting:
		l.class(e.priority).remove(e)
		l.parked.remove(e)
		l.queued--
	case resting:
		delete(l.class(e.priority).resting, e.rank)
		l.rests.remove(e)
		l.queued--
	}
	e.where = gone
}

// next returns when a leased run ends by itself.
func (r *run) next() time.Duration {
	if r.limit > 0 && r.limit < r.due {
		return r.limit
	}
	return r.due
}

func (l *Lot) class(p park.Priority) *class { return &l.classes[p-park.Low] }

func sortEntries(all []*entry) {
	slices.SortFunc(all, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.rank, b.rank),
			cmp.Compare(a.submitted, b.submitted), cmp.Compare(a.id, b.id))
	})
}
