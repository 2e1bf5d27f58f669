package engine

import (
	"errors"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/lot"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// doubtPatience is how long those wait who asked for a step of which it is not known whether it was committed.
const doubtPatience = 10 * time.Second

// settle sends a step again of which it is not known whether it was committed, until the store says so. Until then
// nothing else is decided, and who comes meanwhile is told that the store is away. Those who asked for the step wait,
// for to tell them that nothing was accepted might not be true. Those who have waited for long are told that it is not
// known; or, where that can be made true whatever comes, that nothing was accepted: see withdraw.
func (p *pool) settle(st *store.Step, batch []*request, began time.Duration, err error) error {
	p.eng.log.Error("step in doubt: asking until the store answers", "pool", p.ID, "rev", st.Row.Rev, "error", err)
	away := p.away(nil)
	p.trouble.Store(&away)
	timer := time.NewTimer(maxTimer)
	defer timer.Stop()
	for errors.Is(err, store.ErrInDoubt) {
		if p.eng.clock.mono()-began >= doubtPatience {
			p.dismiss(batch, err)
		}
		due := p.eng.clock.mono() + troubleRest
		for d := troubleRest; d > 0; d = due - p.eng.clock.mono() {
			r, ok := p.first(timer, d)
			if !ok {
				return err
			}
			if r != nil {
				p.turnAway(r, away)
			}
		}
		err = p.queue.Commit(p.eng.ctx, st)
	}
	return err
}

// turnAway answers a request that comes while a step is in doubt. What must not be lost is kept for later.
func (p *pool) turnAway(r *request, away error) {
	switch {
	case r.owed != nil:
		r.owed.over = true
		p.owed = append(p.owed, r)
	case r.leaves != nil: // the step may hold leases for it
		p.owed = append(p.owed, r)
	case r.look != nil:
		r.look()
		r.reply <- reply{}
	default:
		p.stale = p.stale || r.reload
		if r.fresh {
			p.called.Store(false)
		}
		r.reply <- reply{err: away}
	}
}

// dismiss answers those who have waited for too long. Outcomes of runs go on waiting.
func (p *pool) dismiss(batch []*request, err error) {
	for _, r := range batch {
		if r.reply != nil && r.owed == nil && r.look == nil && !r.told {
			told := err
			if r.told = true; nameless(r.ops) {
				told = nil
			}
			r.reply <- reply{err: p.away(told)}
		}
	}
}

// nameless reports whether all of a request is submissions whose ids their clients do not know.
func nameless(ops []lot.Op) bool {
	for _, op := range ops {
		if s, ok := op.(lot.Submit); !ok || s.Spec.Digest != 0 {
			return false
		}
	}
	return len(ops) > 0
}

// drop takes back what dismissed requests asked for: their step did not come about.
func drop(batch []*request) {
	for _, r := range batch {
		if r.told {
			r.ops, r.late = nil, nil
		}
	}
}

// withdraw sees that nothing comes of the tasks of dismissed submissions that were stored after all, of which was said
// that they were not accepted: they would be offered again, as others.
func (p *pool) withdraw(s *lot.Step, batch []*request) {
	var ids []string
	for _, r := range batch {
		for i := range r.ops {
			if r.told && nameless(r.ops) {
				ids = append(ids, r.ops[i].(lot.Submit).Spec.TaskID)
			}
		}
	}
	if len(ids) == 0 {
		return
	}
	s.Started = slices.DeleteFunc(s.Started, func(t lot.Started) bool { return slices.Contains(ids, t.TaskID) })
	var ops []lot.Op
	for _, id := range ids {
		// A run that was not begun has ended as soon as it is cancelled.
		ops = append(ops, lot.Cancel{TaskID: id}, lot.Finish{TaskID: id, Attempt: 1, Outcome: park.Failure(park.ReasonCancelled, "")})
	}
	p.owed = append(p.owed, &request{ops: ops, owed: &run{}})
}
