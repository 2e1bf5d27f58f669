package replay

import (
	"encoding/json"
	"math"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Limits are a pool's capacity, queue depth and state.
type Limits struct {
	MaxUnits      int64
	MaxQueueDepth int
	State         park.PoolState // "" means active
	Unsure        bool           // what no update tells of may have been another
}

// Of returns the current limits of a pool.
func Of(p park.Pool) Limits {
	return Limits{MaxUnits: p.MaxUnits, MaxQueueDepth: p.MaxQueueDepth, State: p.State}
}

// Initial works out the limits before a log from those after it: updates are the log's update events, oldest
// first (others do no harm). A limit that none of them changes was always what it is.
func Initial(now Limits, updates []park.Event) Limits {
	l := now
	var units, depth, state bool
	for i := range updates {
		c := changesOf(&updates[i])
		if c.Resumed != nil {
			return unknownLimits(l, units, depth, state)
		}
		if c.MaxUnits != nil && !units {
			l.MaxUnits, units = c.MaxUnits.From, true
		}
		if c.MaxQueueDepth != nil && !depth {
			l.MaxQueueDepth, depth = c.MaxQueueDepth.From, true
		}
		if c.State != nil && !state {
			l.State, state = c.State.From, true
		}
	}
	return l
}

// unknownLimits returns the limits before a log in which the pool was lost: those that no earlier update states are unknown, and
// nothing is checked against them.
func unknownLimits(l Limits, units, depth, state bool) Limits {
	if !units {
		l.MaxUnits = math.MaxInt64
	}
	if !depth {
		l.MaxQueueDepth = math.MaxInt
	}
	if !state {
		l.State = park.Active
	}
	l.Unsure = true
	return l
}

// What happened to the tasks of the log.
const (
	tasksLost  = "lost"  // there are none
	tasksOlder = "older" // they are as at an earlier rev
)

// resumption tells that the pool's tasks are not those that the log has led to, and what its limits are from then on.
type resumption struct {
	Tasks         string         `json:"tasks"`
	MaxUnits      int64          `json:"maxUnits"`
	MaxQueueDepth int            `json:"maxQueueDepth"`
	State         park.PoolState `json:"state"`
}

// resume forgets all tasks. Where others are there, which ones is not known: the log is partial from here on.
func (p *Pool) resume(e *park.Event) {
	r := changesOf(e).Resumed
	if r == nil {
		return
	}
	clear(p.tasks)
	p.order = parkedOrder{}
	clear(p.arrived)
	clear(p.ended)
	p.state.Used, p.state.Queued, p.state.Running = 0, 0, 0
	p.limits = Limits{MaxUnits: r.MaxUnits, MaxQueueDepth: r.MaxQueueDepth, State: r.State}
	p.partial = p.begun && r.Tasks != tasksLost
	p.sum.Resumed++
}

type change[T any] struct {
	From T `json:"from"`
	To   T `json:"to"`
}

// changes is the detail of an update event.
type changes struct {
	MaxUnits      *change[int64]          `json:"maxUnits"`
	MaxQueueDepth *change[int]            `json:"maxQueueDepth"`
	State         *change[park.PoolState] `json:"state"`
	Cancel        string                  `json:"cancel"`
	Resumed       *resumption             `json:"resumed"`

	unreadable bool
}

// changesOf returns what an update changes. A detail that cannot be read changes nothing.
func changesOf(e *park.Event) changes {
	var c changes
	if e.Action != park.ActUpdate || json.Unmarshal(e.Detail, &c) != nil {
		return changes{unreadable: true}
	}
	return c
}

// update plays a change of the pool, or the request that a running task stops.
func (p *Pool) update(e *park.Event) {
	c := changesOf(e)
	p.checkUpdate(e, &c)
	if c.MaxUnits != nil {
		shift(p, e, "maxUnits", c.MaxUnits, &p.limits.MaxUnits)
		p.order.resize(p.limits.MaxUnits)
	}
	if c.MaxQueueDepth != nil {
		shift(p, e, "maxQueueDepth", c.MaxQueueDepth, &p.limits.MaxQueueDepth)
	}
	if c.State != nil {
		shift(p, e, "state", c.State, &p.limits.State)
	}
	if c.Cancel == "" {
		return
	}
	t := p.tasks[c.Cancel]
	if !p.partial && (t == nil || t.phase != running) {
		p.offend(e, RuleLife, "task %s was asked to stop, but was not running", c.Cancel)
	}
	if t != nil {
		t.Asked = true
	}
}

// checkUpdate checks that an update is the pool's, and tells of something that can be.
func (p *Pool) checkUpdate(e *park.Event, c *changes) {
	if e.TaskID != "" || e.Tenant != "" || e.Units != 0 || e.Attempt != 0 || e.Node != "" {
		p.offend(e, RuleLife, "update of task %q, tenant %q, with %d units, in attempt %d on node %q", e.TaskID, e.Tenant, e.Units, e.Attempt, e.Node)
	}
	switch {
	case c.unreadable:
		p.offend(e, RuleLimits, "an update tells of nothing")
	case c.State != nil && c.State.To != park.Active && c.State.To != park.Paused && c.State.To != park.Draining:
		p.offend(e, RuleLimits, "state changes to %q", c.State.To)
	case c.MaxUnits != nil && c.MaxUnits.To < 0 || c.MaxQueueDepth != nil && c.MaxQueueDepth.To < 0:
		p.offend(e, RuleLimits, "a limit is below 0")
	case c.Resumed != nil && c.Resumed.Tasks != tasksLost && c.Resumed.Tasks != tasksOlder:
		p.offend(e, RuleLimits, "the pool's tasks are said to be %q", c.Resumed.Tasks)
	}
}

func shift[T comparable](p *Pool, e *park.Event, name string, c *change[T], limit *T) {
	if c.From != *limit {
		p.offend(e, RuleLimits, "%s changes from %v, but was %v", name, c.From, *limit)
	}
	if c.From == c.To {
		p.offend(e, RuleLimits, "%s changes from %v to the same", name, c.From)
	}
	*limit = c.To
}
