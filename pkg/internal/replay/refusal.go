package replay

import (
	"encoding/json"

	"github.com/parkd-dev/parkd/pkg/park"
)

// refusal is the detail of a reject event.
type refusal struct {
	Code   park.Code `json:"code"`
	TaskID string    `json:"taskId"` // of the task that has the id already
}

// reject plays a refusal, which is of no task that lives.
func (p *Pool) reject(e *park.Event) {
	var d refusal
	if json.Unmarshal(e.Detail, &d) != nil || d.Code == "" {
		d = refusal{Code: "unknown"}
	}
	p.sum.Rejected++
	p.sum.Rejections[string(d.Code)]++
	if t := p.tasks[e.TaskID]; t != nil {
		p.offend(e, RuleLife, "rejected while it is %s", t.phase)
	}
	if e.Attempt != 0 || e.Node != "" {
		p.offend(e, RuleAttempt, "rejected in attempt %d on node %q", e.Attempt, e.Node)
	}
	if !p.limits.Unsure && !p.isJust(e, &d) {
		p.offend(e, RuleRefusal, "rejected with %s, with %d units in a pool of %d that is %s, and %d tasks parked of at most %d",
			d.Code, e.Units, p.limits.MaxUnits, p.limits.State, p.state.Queued, p.limits.MaxQueueDepth)
	}
}

// isJust reports whether a submission may be refused as it was, as far as the log tells.
func (p *Pool) isJust(e *park.Event, d *refusal) bool {
	switch d.Code {
	case park.PoolDraining:
		return p.limits.State == park.Draining
	case park.CapacityZero:
		return p.limits.MaxUnits == 0
	case park.CostExceedsPool:
		return e.Units > p.limits.MaxUnits
	case park.QueueFull:
		return p.partial || p.state.Queued >= p.limits.MaxQueueDepth
	case park.TaskExists:
		return p.partial || p.isKnown(d.TaskID) || p.isKnown(park.TenantTaskID(d.TaskID, e.Tenant))
	case park.DeadlinePast:
		return true // which it was the log does not say
	default:
		return false
	}
}

// isKnown reports whether there is or was a task with the id.
func (p *Pool) isKnown(id string) bool { return p.tasks[id] != nil || p.isEnded(id) }
