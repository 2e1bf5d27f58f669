// Package replay plays a pool's audit log again and says whether the pool kept its rules.
//
// It shares no code with the scheduler: from the events alone, in the order of (rev, ord), it works out how many
// units are in use and how many tasks are parked after each step, and holds every event against the rules of a
// task's life and of the pool's limits. Each event costs the same however long the log is, and memory grows with
// the live tasks, with 8 bytes for each ended one.
//
// A log that does not begin with the pool's first step (older events were pruned, or the reader asked for the
// last hour) is partial: tasks that it mentions without their submission are taken as they come and counted in
// [Summary.Adopted], and the figures are lower bounds, for what was running or parked before and is never
// mentioned cannot be seen. No rule is then broken for want of knowledge.
package replay

import (
	"hash/maphash"
	"strings"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Pool is a pool as its log tells of it. It is not safe for use by several goroutines.
type Pool struct {
	limits Limits
	state  State
	sum    Summary

	tasks   map[string]*task
	order   parkedOrder
	details detailCache
	names   names
	arrived map[string]struct{} // submitted, and neither parked nor started yet
	ended   map[uint64]struct{} // hashes of the ids of ended tasks
	seed    maphash.Seed

	older    int64 // microseconds: events from before may be of a parkd that told less
	detailed bool  // submissions have to tell what the place of their task hangs on
	begun    bool
	partial  bool
	ord      int
	offence  *Offence // of the event that is being applied
	ends     map[string]End
	onEnd    func(*Life)
	timeline *timeline
}

// State is a pool after an event. After the last event of a rev it is the pool's state at that rev.
type State struct {
	PoolID  string
	Rev     int64
	At      park.Time
	Used    int64 // units of the running tasks
	Queued  int   // parked tasks
	Running int
	Limits  Limits
}

// End is how a task ended.
type End struct {
	Action  park.Action
	At      park.Time
	Rev     int64
	Attempt int
}

// New returns a pool that has not seen any event. The limits are those before the first event, see [Initial].
func New(l Limits) *Pool {
	if l.State == "" {
		l.State = park.Active
	}
	p := &Pool{
		limits: l, seed: maphash.MakeSeed(),
		tasks: map[string]*task{}, arrived: map[string]struct{}{}, ended: map[uint64]struct{}{},
	}
	p.sum.Ends, p.sum.Rejections = map[park.Action]int{}, map[string]int{}
	return p
}

// Older says that events from before a time may be of an older parkd, which did not tell what the place of a task hangs on,
// which runs count against their tasks, nor of rests. Call it before the first event.
func (p *Pool) Older(before park.Time) { p.older = before.Micro() }

// Tells says that no event but those from before [Pool.Older] is of such a parkd. Otherwise that is known from the first
// submission on that tells. Call it before the first event.
func (p *Pool) Tells() { p.detailed = true }

// KeepEnds makes the pool remember how each task ended, for [Pool.Ends]. Call it before the first event.
func (p *Pool) KeepEnds() { p.ends = map[string]End{} }

// Ends returns how each task ended, by its id; nil without [Pool.KeepEnds].
func (p *Pool) Ends() map[string]End { return p.ends }

// Partial reports whether there may be tasks that the log has not told of.
func (p *Pool) Partial() bool { return p.partial }

// Resumed returns how often the pool's tasks were lost or put back.
func (p *Pool) Resumed() int { return p.sum.Resumed }

// State returns the pool as it is after the last event.
func (p *Pool) State() State {
	s := p.state
	s.Limits = p.limits
	return s
}

// Apply plays the next event. Its error is an *[Offence]: the first rule that this event breaks. The event
// counts all the same and the next one may follow, so that one fault does not hide the rest; [Summary.First]
// keeps the first of all.
func (p *Pool) Apply(e park.Event) error {
	p.offence = nil
	if e.Action == park.ActUpdate {
		p.resume(&e)
	}
	p.follow(&e)
	p.sum.Events++
	switch e.Action {
	case park.ActUpdate:
		p.update(&e)
	case park.ActReject:
		p.reject(&e)
	default:
		p.applyTaskEvent(&e)
	}
	p.sample()
	if p.offence != nil {
		return p.offence
	}
	return nil
}

// Finish says that the log is over. Its error is an *[Offence] of the last step, where that left a task that
// was submitted but neither parked nor started.
func (p *Pool) Finish() error {
	p.offence = nil
	p.checkArrived(p.state.Rev)
	p.checkExpired()
	if p.offence != nil {
		return p.offence
	}
	return nil
}

// EndsAt returns an *[Offence] where the pool as it stands now is not what the log has led to. A partial log, which
// leads to no certain state, offends in nothing.
func (p *Pool) EndsAt(now park.Pool) error {
	if !p.begun || p.partial {
		return nil
	}
	last := park.Event{Rev: p.state.Rev}
	p.offence = nil
	s := p.state
	if s.Used != now.UsedUnits || s.Queued != now.QueueDepth || s.Running != now.Running {
		p.offend(&last, RuleEnd, "the log ends with %d units in use, %d parked and %d running, but the pool has %d, %d and %d",
			s.Used, s.Queued, s.Running, now.UsedUnits, now.QueueDepth, now.Running)
		return p.offence
	}
	return nil
}

// Run plays a whole log of one pool and returns it with the first offence, as [Pool.Apply] would, or nil.
func Run(l Limits, events []park.Event) (*Pool, error) {
	p := New(l)
	for _, e := range events {
		_ = p.Apply(e)
	}
	_ = p.Finish()
	if p.sum.First != nil {
		return p, p.sum.First
	}
	return p, nil
}

// follow checks that e is the event that comes next and moves the clock.
func (p *Pool) follow(e *park.Event) {
	ord := p.place(e)
	if !p.begun {
		p.first(e, ord)
		return
	}
	switch {
	case e.PoolID != p.state.PoolID:
		p.offend(e, RulePool, "the event is of pool %q, the log of pool %q", e.PoolID, p.state.PoolID)
	case e.Rev == p.state.Rev && ord != p.ord+1:
		p.offend(e, RuleOrder, "place %d follows place %d", ord, p.ord)
	case e.Rev != p.state.Rev && (e.Rev != p.state.Rev+1 || ord != 0):
		p.offend(e, RuleOrder, "rev %d place %d follows rev %d place %d", e.Rev, ord, p.state.Rev, p.ord)
	case e.At.Before(p.state.At.Time):
		p.offend(e, RuleTime, "%s follows %s", e.At, p.state.At)
	case e.Rev == p.state.Rev && !e.At.Equal(p.state.At.Time):
		p.offend(e, RuleTime, "one step happens at one instant, but %s follows %s", e.At, p.state.At)
	}
	if e.Rev != p.state.Rev {
		p.checkArrived(e.Rev)
		p.checkExpired()
		p.sum.MaxQueued = max(p.sum.MaxQueued, p.state.Queued)
	}
	p.state.Rev, p.state.At, p.ord = e.Rev, e.At, ord
}

func (p *Pool) first(e *park.Event, ord int) {
	p.begun = true
	p.partial = e.Rev != 1 || ord != 0
	p.state.PoolID, p.state.Rev, p.state.At, p.ord = e.PoolID, e.Rev, e.At, ord
	p.sum.Partial, p.sum.FirstRev, p.sum.FirstAt = p.partial, e.Rev, e.At
	if e.Rev < 1 || ord < 0 {
		p.offend(e, RuleOrder, "rev counts from 1 and the place in it from 0, but this is rev %d place %d", e.Rev, ord)
	}
}

// place returns e's place in its step. It is only on the wire as a part of the event's id.
func (p *Pool) place(e *park.Event) int {
	if e.EventID == "" {
		return e.Ord
	}
	pool, rev, ord, err := park.ParseEventID(e.EventID)
	if err != nil || pool != e.PoolID || rev != e.Rev {
		p.offend(e, RuleOrder, "the event's id %q is not of pool %s, rev %d", e.EventID, e.PoolID, e.Rev)
		return e.Ord
	}
	return ord
}

// checkArrived checks that the step before rev left no submission open.
func (p *Pool) checkArrived(rev int64) {
	if len(p.arrived) == 0 {
		return
	}
	first := ""
	for id := range p.arrived {
		if first == "" || id < first {
			first = id
		}
		p.tasks[id].phase = forgotten
	}
	clear(p.arrived)
	at := park.Event{Rev: p.state.Rev, TaskID: first}
	p.offend(&at, RuleLife, "submitted in rev %d and neither parked nor started in it (the log is at rev %d)", p.state.Rev, rev)
}

// checkExpired checks that the step before left nothing parked whose deadline it had reached.
func (p *Pool) checkExpired() {
	if len(p.order.deadline) == 0 {
		return
	}
	if t := p.order.deadline[0]; t.Deadline <= p.state.At.Micro() {
		p.order.leave(t) // told once
		at := park.Event{Rev: p.state.Rev, TaskID: t.TaskID}
		p.offend(&at, RuleDeadline, "still parked at %s, after its deadline %s", p.state.At, park.FromMicro(t.Deadline))
	}
}

// names keeps one copy of what many tasks have in common.
type names map[string]string

func (n *names) of(s string) string {
	if s == "" {
		return ""
	}
	if kept, ok := (*n)[s]; ok {
		return kept
	}
	if *n == nil || len(*n) > maxNames {
		*n = make(names)
	}
	kept := strings.Clone(s)
	(*n)[kept] = kept
	return kept
}

// maxNames bounds how many names are kept for others that may have them too.
const maxNames = 10_000

func (p *Pool) isEnded(id string) bool {
	_, ok := p.ended[maphash.String(p.seed, id)]
	return ok
}

func (p *Pool) setEnded(id string) { p.ended[maphash.String(p.seed, id)] = struct{}{} }
