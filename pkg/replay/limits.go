package replay

import (
	"encoding/json"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Limits is what a pool may hold, and what it may do.
type Limits struct {
	MaxUnits      int64
	MaxQueueDepth int
	State         park.PoolState // "" means active
}

// Of returns the limits of a pool as it is now.
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
}

// changesOf returns what an update changes. A detail that cannot be read changes nothing.
func changesOf(e *park.Event) changes {
	var c changes
	if e.Action != park.ActUpdate || json.Unmarshal(e.Detail, &c) != nil {
		return changes{}
	}
	return c
}

// update plays a change of the pool, or the request that a running task stops.
func (p *Pool) update(e *park.Event) {
	c := changesOf(e)
	if c.MaxUnits != nil {
		shift(p, e, "maxUnits", c.MaxUnits, &p.limits.MaxUnits)
	}
	if c.MaxQueueDepth != nil {
		shift(p, e, "maxQueueDepth", c.MaxQueueDepth, &p.limits.MaxQueueDepth)
	}
	if c.State != nil {
		shift(p, e, "state", c.State, &p.limits.State)
	}
	if t, known := p.tasks[c.Cancel]; c.Cancel != "" && !p.partial && (!known || t.phase != running) {
		p.offend(e, RuleLife, "task %s was asked to stop, but was not running", c.Cancel)
	}
}

func shift[T comparable](p *Pool, e *park.Event, name string, c *change[T], limit *T) {
	if c.From != *limit {
		p.offend(e, RuleLimits, "%s changes from %v, but was %v", name, c.From, *limit)
	}
	*limit = c.To
}

// rejection returns the code of a refusal.
func rejection(detail json.RawMessage) string {
	var d struct {
		Code string `json:"code"`
	}
	if json.Unmarshal(detail, &d) != nil || d.Code == "" {
		return "unknown"
	}
	return d.Code
}
