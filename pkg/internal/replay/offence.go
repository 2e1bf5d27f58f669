package replay

import (
	"fmt"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Rule names what an event broke.
type Rule string

// The rules.
const (
	RulePool     Rule = "pool"     // one log is of one pool
	RuleOrder    Rule = "order"    // revs rise by one, places in a rev count from 0
	RuleTime     Rule = "time"     // a pool's time does not run backwards and stands still within a step
	RuleLife     Rule = "life"     // a task's events come in a legal order
	RuleEnded    Rule = "ended"    // nothing happens to a task after its end, and ids are not used again
	RuleAttempt  Rule = "attempt"  // each start is the next attempt, and what ends a run names that run
	RuleUnits    Rule = "units"    // a task costs what it was submitted with
	RuleCapacity Rule = "capacity" // no start takes the units in use above the pool's capacity
	RuleDepth    Rule = "depth"    // no fresh submission is parked beyond the pool's queue depth
	RuleState    Rule = "state"    // a paused pool starts nothing, a draining one accepts nothing
	RuleEnd      Rule = "end"      // the log ends where the pool stands
	RuleTenant   Rule = "tenant"   // a task stays with its tenant
	RuleDeadline Rule = "deadline" // a task starts before its deadline or expires at it, with the first step from then on
	RuleTurn     Rule = "turn"     // tasks start in their order
	RuleRetry    Rule = "retry"    // a run is repeated if it was lost or may be, and after its rest
	RuleRefusal  Rule = "refusal"  // a submission is refused only for what was so
	RuleLimits   Rule = "limits"   // a change of a limit starts from the limit's value and leads to another
)

// OfLimits reports whether a rule holds events against a pool's limits.
func (r Rule) OfLimits() bool {
	return r == RuleCapacity || r == RuleDepth || r == RuleState || r == RuleLimits || r == RuleTurn || r == RuleRefusal
}

// Offence is a broken rule: the error of [Pool.Apply].
type Offence struct {
	PoolID string
	Rev    int64
	Ord    int
	TaskID string // "" where the event has none
	Rule   Rule
	Detail string // a sentence for people
}

// Error implements error.
func (o *Offence) Error() string {
	at := fmt.Sprintf("pool %s, rev %d", o.PoolID, o.Rev)
	if o.TaskID != "" {
		at += ", task " + o.TaskID
	}
	return fmt.Sprintf("%s: rule %s: %s", at, o.Rule, o.Detail)
}

// offend notes that e breaks a rule. Only the first of an event is told.
func (p *Pool) offend(e *park.Event, r Rule, format string, args ...any) {
	p.sum.Offences++
	if p.offence != nil {
		return
	}
	p.offence = &Offence{
		PoolID: p.state.PoolID, Rev: e.Rev, Ord: p.ord, TaskID: e.TaskID,
		Rule: r, Detail: fmt.Sprintf(format, args...),
	}
	if p.sum.First == nil {
		p.sum.First = p.offence
	}
}
