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
func (l *loop) turn(batch []message) {
	batch = claim(batch)
	l.parted, l.failed, l.again = false, false, false
	if !l.adopted {
		batch = append([]message{&derived{make: (*loop).adoption}}, batch...)
	}
	if len(l.owed) > 0 {
		batch = l.withOwed(batch)
	}
	batch = l.bring(batch)
	l.brakeFor(batch)
	l.seat(batch)
	err := l.refresh(batch)
	if err == nil {
		batch, err = l.carry(batch)
	}
	if err != nil {
		l.fail(batch, err)
	}
	if l.parted && !l.failed {
		l.recovered()
	}
	for _, m := range batch {
		l.answerLook(m)
	}
}

// claim returns the messages of a batch that are to be carried out: the senders of the others were told that they never
// will be.
func claim(batch []message) []message {
	batch = slices.DeleteFunc(batch, func(m message) bool { return !m.base().take() })
	for _, m := range batch {
		if r, ok := m.(*report); ok {
			r.run.over = true
		}
	}
	return batch
}

// errLookUp says that the step has to be decided once more, after a look at the ids of its submissions.
var errLookUp = errors.New("the ids of submissions have to be looked up")

// carry decides and commits the batch as often as it takes: until no other node's step comes first. If the store refuses
// the step for what is in it, it is done in parts. It returns what is left of the batch: others may have done some of it.
func (l *loop) carry(batch []message) (left []message, err error) {
	for {
		err = l.attempt(batch)
		conflict, behind := errors.AsType[*store.Conflict](err)
		switch {
		case errors.Is(err, errLookUp):
			l.wary = waryFor
		case behind:
			if batch, err = l.giveWay(batch, conflict); err != nil {
				return batch, err
			}
		case errors.Is(err, store.ErrRefused):
			l.parted = true
			return batch, l.apart(batch, err)
		default:
			return batch, err
		}
	}
}

// giveWay takes over the step of another node that came first, and waits until the nodes have had their turns that wait
// for them longer.
func (l *loop) giveWay(batch []message, c *store.Conflict) ([]message, error) {
	l.eng.meter.Retried(l.QueueBackend, RetryConflict)
	l.again = true
	if err := l.merge(c); err != nil || c.Ahead == 0 {
		return batch, err
	}
	batch = l.bring(claim(l.takeTurn(batch)))
	l.brakeFor(batch)
	return batch, l.catchUp()
}

// attempt decides a step for the batch, commits it, carries it out and answers the batch.
func (l *loop) attempt(batch []message) error {
	ops, err := l.collect(batch)
	if err != nil {
		return err
	}
	step, results, err := l.decide(ops)
	if err != nil {
		return err
	}
	if err := l.keep(step, ops); err != nil {
		l.lot.Rollback()
		if errors.Is(err, store.ErrTaken) && !l.looked {
			return errLookUp
		}
		return err
	}
	l.settled()
	l.refusal = 0
	if !l.parted { // or else another part may be refused
		l.recovered()
	}
	l.answer(batch, results)
	l.announce(step)
	l.lot.Settle()
	return nil
}

// decide has the lot decide a step. What the lot cannot know alone it is told first.
func (l *loop) decide(ops []lot.Op) (*lot.Step, []lot.Result, error) {
	now := l.eng.env.Instant()
	if l.node != nil {
		if err := l.keepElsewhere(l.ctx, now); err != nil {
			return nil, nil, err
		}
	}
	if err := l.learnSizes(); err != nil {
		return nil, nil, err
	}
	l.lot.Hold(l.held())
	l.resumes()
	l.lot.Limit(l.quota(now.Mono))
	step, results := l.lot.Apply(now, ops, l.demand())
	if !l.looked && l.turnedAway(ops, results) {
		l.lot.Rollback()
		return nil, nil, errLookUp
	}
	if len(step.Events) > 0 {
		if err := l.sane(); err != nil {
			l.lot.Rollback()
			return nil, nil, l.halt(err)
		}
	}
	return step, results, nil
}

// keep makes a step durable, and does what it asks of this node. A step without events only has to be as durable as what
// it was decided on.
func (l *loop) keep(step *lot.Step, ops []lot.Op) error {
	if len(step.Events) == 0 {
		return l.secure(ops)
	}
	l.fetch(step)
	if err := l.commit(step, len(ops)); err != nil {
		return err
	}
	l.brake.left -= len(step.Started)
	l.apply(step)
	return nil
}

// recovered notes that the store does all that it is asked.
func (l *loop) recovered() {
	if l.trouble.Swap(nil) != nil {
		l.eng.log.Info("the store is back", "pool", l.ID)
	}
	l.toldOf = false
}

// settled notes that the pool is under this engine, and says once what its operator may not expect of it.
func (l *loop) settled() {
	if l.adopted {
		return
	}
	l.adopted = true
	if large := l.tooLarge(); large != "" {
		l.eng.log.Warn("parked tasks are larger than their pool", "pool", l.ID, "detail", large)
	}
}

// secure sees that what is answered without a step of its own, by what other nodes have done, is as durable as a step.
func (l *loop) secure(ops []lot.Op) error {
	if !l.unsure || len(ops) == 0 {
		return nil
	}
	if err := l.node.Store.Secure(l.ctx); err != nil {
		return fmt.Errorf("%w: %w", store.ErrInDoubt, err) // of a task that is there nobody may say that it was not accepted
	}
	l.unsure = false
	return nil
}

// sane looks for broken invariants: cheaply at each step, thoroughly from time to time.
func (l *loop) sane() error {
	l.steps++
	if row := l.lot.Row(); l.steps > 256 && l.steps > row.Queued/4 {
		l.steps = 0
		return l.lot.Check()
	}
	return l.lot.Sane()
}

// halt stops the pool for good: its own numbers contradict each other, and to go on would be to guess.
func (l *loop) halt(err error) error {
	l.eng.log.Error("pool halted", "pool", l.ID, "error", err)
	l.halted = park.Errorf(park.PoolHalted, "pool %s has halted: %v", l.ID, err)
	l.show()
	return l.halted
}

// refresh makes sure that the lot is what the store holds.
func (l *loop) refresh(batch []message) error {
	fresh := l.behind
	for _, m := range batch {
		switch m := m.(type) {
		case *operations:
			fresh = fresh || m.fresh
		case *followUp:
			fresh, l.stale = true, l.stale || m.reload
		}
	}
	if fresh {
		l.following.Store(false) // whichever way it is answered below: else nothing would be heard of any more
	}
	if l.halted != nil {
		return l.halted
	}
	if !l.stale {
		if fresh && l.node != nil {
			return l.catchUp()
		}
		return nil
	}
	if err := l.load(l.ctx); err != nil {
		return err
	}
	l.stale = false
	l.specs.clear()
	l.tell(&store.Conflict{Reload: true})
	l.reconcile()
	return l.halted
}

// merge takes over what another node did.
func (l *loop) merge(c *store.Conflict) error {
	if c.Reload {
		l.stale = true
		return l.refresh(nil)
	}
	l.lot.Merge(c.Row, c.Changed, l.eng.env.Instant())
	if !l.lot.Agrees() {
		// A task that ended and was pruned since is in no store any more, and so nobody tells of its end.
		l.stale = true
		return l.refresh(nil)
	}
	for i := range c.Changed {
		l.specs.changed(&c.Changed[i])
	}
	l.unsure = true
	l.tell(c)
	l.compare()
	l.reconcile()
	l.show()
	return nil
}

// fail answers a batch whose step did not come about. Outcomes of runs are kept to be stored later.
func (l *loop) fail(batch []message, err error) {
	told, foreign := l.told(err)
	if foreign {
		l.troubled(err)
		if l.eng.ctx.Err() == nil {
			l.eng.meter.Retried(l.QueueBackend, RetryRefused)
			l.eng.health.Failed(l.QueueBackend, health.Step)
		}
		err = told
	}
	l.trouble.Store(&err)
	l.failed = true
	for _, m := range batch {
		if r, ok := m.(*report); ok {
			l.owed = append(l.owed, r)
		} else if c := m.base().reply; c != nil && !looks(m) {
			c <- reply{err: err}
		}
	}
}

// told returns what callers are told of a step that did not come about, and whether that is of the store's making.
func (l *loop) told(err error) (_ error, foreign bool) {
	if _, ok := errors.AsType[*park.Error](err); ok && !errors.Is(err, store.ErrInDoubt) {
		return err, false
	}
	return l.away(err), true
}

// troubled tells once of a step that did not come about, and sees to when it is tried again.
func (l *loop) troubled(err error) {
	if errors.Is(err, store.ErrRefused) {
		l.refused(err)
		return
	}
	if l.trouble.Load() == nil {
		l.eng.log.Error("step not stored: trying again until the store is back", "pool", l.ID, "error", err)
	}
	l.stale, l.refusal = true, 0
}

// away is what callers are told of an error of the store. That it is away says that nothing was accepted, which is not
// said of a step in doubt.
func (l *loop) away(err error) error {
	if errors.Is(err, store.ErrInDoubt) {
		return errUnknown("pool " + l.ID)
	}
	away := errAway(l.ID)
	if errors.Is(err, store.ErrRefused) {
		away.Detail += fmt.Sprintf(": it refuses it for good: %v", cause(err))
	}
	return away
}

// answer tells each request of a batch how its operations went.
func (l *loop) answer(batch []message, results []lot.Result) {
	for i := range results {
		err := results[i].Err
		if err == nil {
			continue
		}
		l.eng.meter.Rejected(l.ID, err.Code)
		if err.Code == park.QueueFull {
			err.RetryAfter = l.retryAfter()
		}
	}
	for _, m := range batch {
		r := m.base()
		n := len(r.ops)
		if ended, ok := m.(*report); ok {
			l.forget(ended.run)
		}
		if r.reply != nil && !looks(m) {
			r.reply <- reply{results: append(r.results[:0], results[:n]...)}
		}
		results = results[n:]
	}
}
