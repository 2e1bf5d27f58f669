package lot

import (
	"cmp"
	"slices"
	"time"
	"unique"

	"github.com/parkd-dev/parkd/pkg/mutant"
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
	tenant    unique.Handle[string]
	mailbox   unique.Handle[string]
	units     int64
	rank      int64
	deadline  int64 // microseconds; 0: none
	submitted int64 // microseconds
	digest    uint64
	retry     *retry
	run       *run
	timeout   int32 // seconds; 0: none
	attempt   int32
	timer     int32 // index in a timers heap, from 1; 0: in none
	touched   int32 // index in the journal, from 1; 0: not touched by the current step
	strikes   int16
	priority  park.Priority
	where     place
}

// retry is what is kept of a task that may run more than once, or rests before it does.
type retry struct {
	park.Retry
	notBefore int64         // microseconds
	due       time.Duration // monotonic: the end of the backoff
}

// run is a run under way, or the end of a task.
type run struct {
	node      string
	lease     string
	ttl       time.Duration
	due       time.Duration // monotonic: the lease is lost then
	limit     time.Duration // monotonic: the time limit of a leased task; 0: none
	started   park.Time
	cancelled bool

	status  park.Status // of an ended task
	ended   park.Time
	reason  string
	message string
	result  []byte
}

// undo is how an entry was before the current step touched it. spec is set for an entry the step created.
type undo struct {
	entry  *entry
	before entry
	spec   *park.Spec
}

func newEntry(r *park.Record, now Instant) *entry {
	e := &entry{
		id: r.TaskID, tenant: unique.Make(r.Tenant), mailbox: unique.Make(r.MailboxKey), units: r.Units,
		rank: r.Rank, deadline: r.Deadline.Micro(), submitted: r.SubmittedAt.Micro(), digest: r.Digest,
		timeout: int32(r.Timeout / time.Second), attempt: int32(r.Attempt), strikes: int16(r.Strikes),
		priority: r.Priority, where: waiting,
	}
	if r.Spec.Retry != (park.Retry{}) || !r.NotBefore.IsZero() {
		e.retry = &retry{Retry: r.Spec.Retry, notBefore: r.NotBefore.Micro()}
	}
	if r.Status == park.Running {
		e.where = running
		e.run = &run{node: r.Node, lease: r.Lease, ttl: r.LeaseTTL, started: r.StartedAt, cancelled: r.Cancelled}
		e.run.due = now.Mono + r.LeaseTTL
		if left := r.Timeout - now.Wall.Sub(r.StartedAt.Time); r.Timeout > 0 {
			e.run.limit = now.Mono + max(left, 0)
		}
	} else if e.retry != nil {
		// Whoever noted the end of the backoff may have had another clock, so the rest is at most what it is from now on.
		left := min(r.NotBefore.Sub(now.Wall.Time), grown(time.Duration(e.retry.Backoff), r.Strikes))
		if mutant.BackoffByWall {
			left = r.NotBefore.Sub(now.Wall.Time)
		}
		if left > 0 {
			e.where = resting
			e.retry.due = now.Mono + left
		}
	}
	return e
}

func (e *entry) notBefore() int64 {
	if e.retry == nil {
		return 0
	}
	return e.retry.notBefore
}

func (e *entry) state() park.State {
	s := park.State{
		Status: park.Queued, Rank: e.rank, Attempt: int(e.attempt), Strikes: int(e.strikes),
		NotBefore: park.FromMicro(e.notBefore()),
	}
	if r := e.run; r != nil {
		s.Status = park.Running
		if e.where == gone {
			s.Status = r.status
		}
		s.Cancelled, s.Node, s.Lease, s.LeaseTTL = r.cancelled, r.node, r.lease, r.ttl
		s.StartedAt, s.EndedAt = r.started, r.ended
		s.Reason, s.Message, s.Result = r.reason, r.message, r.result
	}
	return s
}

// touch notes how e is before the current step changes it.
func (l *Lot) touch(e *entry) {
	if e.touched == 0 {
		l.journal = append(l.journal, undo{entry: e, before: *e})
		e.touched = int32(len(l.journal))
	}
}

// create adds the entry of a new task in its first place.
func (l *Lot) create(e *entry, spec *park.Spec) {
	l.journal = append(l.journal, undo{entry: e, spec: spec})
	e.touched = int32(len(l.journal))
	l.add(e)
}

// move changes e and puts it where it then belongs. The change must replace e.run and e.retry, not write
// into what they point to: Rollback brings the old ones back.
func (l *Lot) move(e *entry, to place, change func()) {
	l.touch(e)
	l.remove(e)
	change()
	e.where = to
	l.add(e)
}

// add puts e into the structure that e.where names, and counts it.
func (l *Lot) add(e *entry) {
	if e.where == gone {
		return
	}
	l.tasks[e.id] = e
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

// remove is the reverse of add. An entry that is gone already stays so.
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
	delete(l.tasks, e.id)
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
