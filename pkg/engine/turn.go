package engine

// One turn of a pool: a batch of requests becomes a step, which is stored, and then they are answered.

import (
	"errors"
	"fmt"
	"slices"

	"github.com/parkd-dev/parkd/pkg/internal/health"
	"github.com/parkd-dev/parkd/pkg/lot"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// turn carries out a batch of requests: in one step if the store allows it.
func (p *pool) turn(batch []*request) {
	batch = claim(batch)
	p.parted, p.failed, p.again = false, false, false
	if !p.adopted {
		batch = append([]*request{{late: p.adoption}}, batch...)
	}
	if len(p.owed) > 0 {
		batch = p.withOwed(batch)
	}
	batch = p.bring(batch)
	p.brakeFor(batch)
	p.seat(batch)
	err := p.refresh(batch)
	if err == nil {
		batch, err = p.carry(batch)
	}
	if err != nil {
		p.fail(batch, err)
	}
	if p.parted && !p.failed {
		p.recovered()
	}
	for _, r := range batch {
		if r.look != nil {
			r.look()
			r.reply <- reply{}
		}
	}
}

// claim returns the requests of a batch that are to be carried out: of the others it was said that they never will be.
func claim(batch []*request) []*request {
	batch = slices.DeleteFunc(batch, func(r *request) bool { return !r.take() })
	for _, r := range batch {
		if r.owed != nil {
			r.owed.over = true
		}
	}
	return batch
}

// carry decides and commits the batch as often as other nodes come first. What the store refuses for what is in it is done
// piece by piece. It returns what is left of the batch: others may have done some of it.
func (p *pool) carry(batch []*request) (left []*request, err error) {
	for err == nil {
		err = p.try(batch)
		if c, ok := errors.AsType[*store.Conflict](err); ok {
			p.eng.meter.Retried(p.QueueBackend, RetryConflict)
			p.again = true
			if err = p.merge(c); err == nil && c.Ahead > 0 {
				batch = p.bring(claim(p.takeTurn(batch)))
				p.brakeFor(batch)
				err = p.catchUp()
			}
			continue
		}
		break
	}
	if errors.Is(err, store.ErrRefused) {
		p.parted = true
		return batch, p.apart(batch, err)
	}
	return batch, err
}

// try decides and commits the batch once, and answers it.
func (p *pool) try(batch []*request) error {
	ops, err := p.collect(batch)
	if err != nil {
		return err
	}
	now := p.eng.env.Instant()
	if p.node != nil {
		if err := p.keepElsewhere(p.ctx, now); err != nil {
			return err
		}
	}
	if err := p.learnSizes(); err != nil {
		return err
	}
	p.lot.Hold(p.held())
	p.resumes()
	p.lot.Limit(p.quota(now.Mono))
	step, results := p.lot.Apply(now, ops, p.demand())
	if !p.looked && p.turnedAway(ops, results) {
		p.lot.Rollback()
		p.wary = waryFor
		return p.try(batch)
	}
	if len(step.Events) > 0 {
		if err := p.sane(); err != nil {
			p.lot.Rollback()
			return p.halt(err)
		}
		p.fetch(step)
		if err := p.commit(step, len(ops)); err != nil {
			p.lot.Rollback()
			if errors.Is(err, store.ErrTaken) && !p.looked {
				p.wary = waryFor
				return p.try(batch)
			}
			return err
		}
		p.brake.left -= len(step.Started)
		p.apply(step)
	} else if err := p.secure(ops); err != nil {
		p.lot.Rollback()
		return err
	}
	p.settled()
	p.refusal = 0
	if !p.parted { // or else another part may be refused
		p.recovered()
	}
	p.answer(batch, results)
	p.announce(step)
	p.lot.Settle()
	return nil
}

// recovered notes that the store does all that it is asked.
func (p *pool) recovered() {
	if p.trouble.Swap(nil) != nil {
		p.eng.log.Info("the store is back", "pool", p.ID)
	}
	p.toldOf = false
}

// settled notes that the pool is under this engine, and says once what its operator may not expect of it.
func (p *pool) settled() {
	if p.adopted {
		return
	}
	p.adopted = true
	if large := p.tooLarge(); large != "" {
		p.eng.log.Warn("parked tasks are larger than their pool", "pool", p.ID, "detail", large)
	}
}

// secure sees that what is answered without a step of its own, by what other nodes have done, is as durable as a step.
func (p *pool) secure(ops []lot.Op) error {
	if !p.unsure || len(ops) == 0 {
		return nil
	}
	if err := p.node.store.Secure(p.ctx); err != nil {
		return fmt.Errorf("%w: %w", store.ErrInDoubt, err) // of a task that is there nobody may say that it was not accepted
	}
	p.unsure = false
	return nil
}

// sane looks for broken invariants: cheaply at each step, thoroughly from time to time.
func (p *pool) sane() error {
	p.steps++
	if row := p.lot.Row(); p.steps > 256 && p.steps > row.Queued/4 {
		p.steps = 0
		return p.lot.Check()
	}
	return p.lot.Sane()
}

// halt stops the pool for good: its own numbers contradict each other, and to go on would be to guess.
func (p *pool) halt(err error) error {
	p.eng.log.Error("pool halted", "pool", p.ID, "error", err)
	p.halted = park.Errorf(park.PoolHalted, "pool %s has halted: %v", p.ID, err)
	p.show()
	return p.halted
}

// refresh makes sure that the lot is what the store holds.
func (p *pool) refresh(batch []*request) error {
	fresh := p.behind
	for _, r := range batch {
		p.stale = p.stale || r.reload
		fresh = fresh || r.fresh
	}
	if fresh {
		p.called.Store(false) // whichever way it is answered below: else nothing would be heard of any more
	}
	if p.halted != nil {
		return p.halted
	}
	if !p.stale {
		if fresh && p.node != nil {
			return p.catchUp()
		}
		return nil
	}
	if err := p.load(p.ctx); err != nil {
		return err
	}
	p.stale = false
	p.specs.clear()
	p.tell(&store.Conflict{Reload: true})
	p.reconcile()
	return p.halted
}

// merge takes over what another node did.
func (p *pool) merge(c *store.Conflict) error {
	if c.Reload {
		p.stale = true
		return p.refresh(nil)
	}
	p.lot.Merge(c.Row, c.Changed, p.eng.env.Instant())
	if !p.lot.Agrees() {
		// A task that ended and was pruned since is in no store any more, and so nobody tells of its end.
		p.stale = true
		return p.refresh(nil)
	}
	for i := range c.Changed {
		p.specs.changed(&c.Changed[i])
	}
	p.unsure = true
	p.tell(c)
	p.compare()
	p.reconcile()
	p.show()
	return nil
}

// fail answers a batch whose step did not come about. Outcomes of runs are kept to be stored later.
func (p *pool) fail(batch []*request, err error) {
	told, foreign := p.told(err)
	if foreign {
		p.troubled(err)
		if p.eng.ctx.Err() == nil {
			p.eng.meter.Retried(p.QueueBackend, RetryRefused)
			p.eng.health.Failed(p.QueueBackend, health.Step)
		}
		err = told
	}
	p.trouble.Store(&err)
	p.failed = true
	for _, r := range batch {
		switch {
		case r.owed != nil:
			p.owed = append(p.owed, r)
		case r.look == nil && r.reply != nil:
			r.reply <- reply{err: err}
		}
	}
}

// told returns what callers are told of a step that did not come about, and whether that is of the store's making.
func (p *pool) told(err error) (_ error, foreign bool) {
	if _, ok := errors.AsType[*park.Error](err); ok && !errors.Is(err, store.ErrInDoubt) {
		return err, false
	}
	return p.away(err), true
}

// troubled tells once of a step that did not come about, and sees to when it is tried again.
func (p *pool) troubled(err error) {
	if errors.Is(err, store.ErrRefused) {
		p.refused(err)
		return
	}
	if p.trouble.Load() == nil {
		p.eng.log.Error("step not stored: trying again until the store is back", "pool", p.ID, "error", err)
	}
	p.stale, p.refusal = true, 0
}

// away is what callers are told of an error of the store. That it is away says that nothing was accepted, which is not
// said of a step in doubt.
func (p *pool) away(err error) error {
	if errors.Is(err, store.ErrInDoubt) {
		return errUnknown("pool " + p.ID)
	}
	away := errAway(p.ID)
	if errors.Is(err, store.ErrRefused) {
		away.Detail += fmt.Sprintf(": it refuses it for good: %v", cause(err))
	}
	return away
}

// answer tells each request of a batch how its operations went.
func (p *pool) answer(batch []*request, results []lot.Result) {
	for i := range results {
		err := results[i].Err
		if err == nil {
			continue
		}
		p.eng.meter.Rejected(p.ID, err.Code)
		if err.Code == park.QueueFull {
			err.RetryAfter = p.retryAfter()
		}
	}
	for _, r := range batch {
		n := len(r.ops)
		if r.owed != nil {
			p.forget(r.owed)
		}
		if r.reply != nil && r.look == nil {
			r.reply <- reply{results: append(r.results[:0], results[:n]...)}
		}
		results = results[n:]
	}
}
