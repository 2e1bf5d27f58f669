package engine

import (
	"errors"
	"fmt"
	"slices"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// A step is decided and committed as often as it takes, or in parts if the store refuses it for what is in it.

// errLookUp says that the step has to be decided once more, after a look at the ids of its submissions.
var errLookUp = errors.New("the ids of submissions have to be looked up")

// carry decides and commits the batch as often as it takes: until no other node's step comes first. If the store refuses
// the step for what is in it, it is done in parts. It returns what is left of the batch: others may have done some of it.
func (l *loop) commitBatch(batch []message) (remaining []message, err error) {
	for {
		err = l.tryStep(batch)
		conflict, behind := errors.AsType[*store.Conflict](err)
		switch {
		case errors.Is(err, errLookUp):
			l.lookUpsLeft = lookUpSteps
		case behind:
			if batch, err = l.handleConflict(batch, conflict); err != nil {
				return batch, err
			}
		case errors.Is(err, store.ErrRefused):
			l.split = true
			return batch, l.commitInParts(batch, err)
		default:
			return batch, err
		}
	}
}

// giveWay takes over the step of another node that came first, and waits until the nodes have had their turns that wait
// for them longer.
func (l *loop) handleConflict(batch []message, c *store.Conflict) ([]message, error) {
	l.eng.meter.StepRetried(l.QueueBackend, RetryConflict)
	l.redecided = true
	if err := l.merge(c); err != nil || c.Ahead == 0 {
		return batch, err
	}
	batch = l.addDelegated(claimAll(l.awaitTurn(batch)))
	l.recordShortages(batch)
	return batch, l.catchUp()
}

// attempt decides a step for the batch, commits it, carries it out and answers the batch.
func (l *loop) tryStep(batch []message) error {
	ops, err := l.buildOps(batch)
	if err != nil {
		return err
	}
	step, results, err := l.decide(ops)
	if err != nil {
		return err
	}
	if err := l.storeStep(step, ops); err != nil {
		l.lot.Rollback()
		if errors.Is(err, store.ErrTaken) && !l.lookedUp {
			return errLookUp
		}
		return err
	}
	l.markInitialized()
	l.refusalDelay = 0
	if !l.split { // or else another part may be refused
		l.recordRecovery()
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
		if err := l.extendRenewed(l.ctx, now); err != nil {
			return nil, nil, err
		}
	}
	if err := l.loadSizes(); err != nil {
		return nil, nil, err
	}
	l.lot.Hold(l.startsHeld())
	l.announceSkip()
	l.lot.Limit(l.quota(now.Mono))
	step, results := l.lot.Apply(now, ops, l.demand())
	if !l.lookedUp && l.maybeDuplicates(ops, results) {
		l.lot.Rollback()
		return nil, nil, errLookUp
	}
	if len(step.Events) > 0 {
		if err := l.checkInvariants(); err != nil {
			l.lot.Rollback()
			return nil, nil, l.halt(err)
		}
	}
	return step, results, nil
}

// keep makes a step durable, and does what it asks of this node. A step without events only has to be as durable as what
// it was decided on.
func (l *loop) storeStep(step *lot.Step, ops []lot.Op) error {
	if len(step.Events) == 0 {
		return l.ensureDurable(ops)
	}
	l.startPrefetch(step)
	if err := l.commitStep(step, len(ops)); err != nil {
		return err
	}
	l.limiter.windowLeft -= len(step.Started)
	l.apply(step)
	return nil
}

// A step that the store refuses for what is in it (see [store.ErrRefused]) would be refused as often as it is sent, and the
// pool would stand still. So its operations are tried one by one, and the one that is at fault fails alone: a submission
// with an error for its client, a result by the failure of its task. What time alone asks for, such as the end of a task whose
// deadline has passed, is part of each step. If that is refused, no request is at fault and none can be done: the pool tries
// it again, ever more rarely.

// apart does the requests of a refused step one by one, after what nobody has asked for.
func (l *loop) commitInParts(batch []message, refusal error) error {
	if countOps(batch) == 0 || !l.initialized { // the pool is not begun in parts
		return refusal
	}
	if joined, err := l.commitBatch(nil); err != nil {
		l.fail(joined, err)
		return err
	}
	if len(batch) > 1 {
		for _, m := range batch {
			if answeredLast(m) {
				continue // it is answered when the turn is over
			}
			if alone, err := l.commitBatch([]message{m}); err != nil {
				l.fail(alone, err)
			}
		}
		return nil
	}
	m := batch[0]
	r := m.base()
	if len(r.ops) > 1 {
		return l.commitOpByOp(r)
	}
	if len(r.ops) == 1 {
		switch op := r.ops[0].(type) {
		case lot.Finish:
			return l.failWithoutResult(m, op, refusal)
		case lot.Submit:
			if r.reply != nil {
				r.reply <- reply{err: park.Errorf(park.InvalidRequest, "the store of pool %s cannot keep task %s: %v", l.ID, op.Spec.TaskID, refusalCause(refusal))}
			}
			return nil
		}
	}
	return refusal
}

// opByOp does the operations of one request in a step each.
func (l *loop) commitOpByOp(r *request) error {
	results := make([]lot.Result, 0, len(r.ops))
	for _, op := range r.ops {
		one := &operations{}
		one.reply = make(chan reply, 1)
		one.setOp(op)
		if err := l.commitPart(one); err != nil {
			if len(results) == 0 || r.reply == nil {
				return err
			}
			callerErr, _ := l.callerError(err)
			r.reply <- reply{results: append(results, failedResults(len(r.ops)-len(results), callerErr)...)}
			l.fail(nil, err)
			return nil // what was taken before was taken
		}
		a := <-one.reply
		if refused, ok := errors.AsType[*park.Error](a.err); ok {
			a.results = []lot.Result{{Err: refused}}
		}
		results = append(results, a.results...)
	}
	if r.reply != nil {
		r.reply <- reply{results: results}
	}
	return nil
}

// withoutResult ends a task whose result cannot be stored.
func (l *loop) failWithoutResult(m message, op lot.Finish, refusal error) error {
	o := &op.Outcome
	if len(o.Result) == 0 && o.Reason == park.ReasonResultTooLarge {
		return refusal // it was not the result
	}
	l.eng.log.Error("result not stored: the store refuses it for good", "pool", l.ID, "task", op.TaskID, "bytes", len(o.Result), "error", refusal)
	*o = park.Failure(park.ReasonResultTooLarge, fmt.Sprintf("the store of pool %s cannot keep the result of %d bytes: %v", l.ID, len(o.Result), refusalCause(refusal))).Tidy()
	m.base().setOp(op)
	return l.commitPart(m)
}

// alone carries out a part of a step that was refused. What has joined it meanwhile and did not come about either is
// answered here: only the part is known to who asked for it.
func (l *loop) commitPart(part message) error {
	batch, err := l.commitBatch([]message{part})
	if err != nil {
		l.fail(slices.DeleteFunc(batch, func(m message) bool { return m == part }), err)
	}
	return err
}
