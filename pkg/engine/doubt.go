package engine

import (
	"errors"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/health"
	"github.com/parkd-dev/parkd/pkg/store"
)

// defaultPatience is how long a call waits for the store to say what became of it.
const defaultPatience = 10 * time.Second

// settle sends a step again of which it is not known whether it was committed, until the store says so. Until then
// nothing else is decided, and who comes meanwhile is told that the store is away. Those who asked for the step wait,
// for to tell them that nothing was accepted might not be true; once their patience is over they are told that it is not
// known, see [pool.receive]. What they asked for stays in the step.
func (p *pool) settle(st *store.Step, err error) error {
	p.eng.log.Error("step in doubt: asking until the store answers", "pool", p.ID, "rev", st.Row.Rev, "error", err)
	away := p.away(nil)
	p.trouble.Store(&away)
	timer := time.NewTimer(maxTimer)
	defer timer.Stop()
	for errors.Is(err, store.ErrInDoubt) {
		due := p.eng.env.Mono() + troubleRest
		for d := troubleRest; d > 0; d = due - p.eng.env.Mono() {
			r, ok := p.first(timer, d)
			if !ok {
				return err
			}
			if r != nil {
				p.turnAway(r, away)
			}
		}
		p.eng.meter.Retried(p.QueueBackend, RetryInDoubt)
		p.eng.health.Failed(p.QueueBackend, health.Step)
		err = p.queue.Commit(p.ctx, st)
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
