package engine

import (
	"errors"
	"fmt"
	"slices"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// A step is decided and committed, again after each conflict, or in parts if the store refuses its content.

// errLookUp means that the step has to be decided again after a look-up of the ids of its submissions.
var errLookUp = errors.New("the ids of submissions have to be looked up")

// commitBatch decides a step for the batch and commits it, until no other node's step comes first. If the store refuses
// the content of the step, the batch is committed in parts. It returns the rest of the batch: others may have done some
// of it.
func (l *loop) commitBatch(batch []message) (remaining []message, err error) {
	for {
		err = l.tryStep(batch)
		conflict, conflicted := errors.AsType[*store.Conflict](err)
		switch {
		case errors.Is(err, errLookUp):
			l.lookUpsLeft = lookUpSteps
		case conflicted:
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

// handleConflict merges the step of another node that came first, and lets the nodes that wait longer have their turns.
func (l *loop) handleConflict(batch []message, c *store.Conflict) ([]message, error) {
	l.eng.meter.StepRetried(l.QueueBackend, RetryConflict)
	l.redecided = true
	if err := l.merge(c); err != nil || c.NodesAhead == 0 {
		return batch, err
	}
	batch = l.addDelegated(claimAll(l.awaitTurn(batch)))
	l.recordShortages(batch)
	return batch, l.catchUp()
}

// tryStep decides a step for the batch, commits it, applies it and answers the batch.
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
		if errors.Is(err, store.ErrTaskExists) && !l.lookedUp {
			return errLookUp
		}
		return err
	}
	l.markInitialized()
	l.refusalDelay = 0
	if !l.split { // unless another part may still be refused
		l.recordRecovery()
	}
	l.answer(batch, results)
	l.announce(step)
	l.lot.Finalize()
	return nil
}

// decide has the lot decide a step. It first gives the lot what the lot cannot know by itself.
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
	l.lot.HoldStarts(l.startsHeld())
	l.announceSkip()
	l.lot.LimitStarts(l.quota(now.Mono))
	step, results := l.lot.Apply(now, ops, l.leaseRequests())
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

// storeStep makes a step durable and applies it to this node. A step without events only has to be as durable as what
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

// If the store refuses the content of a step (see [store.ErrRefused]), it would refuse the step again each time, and
// the pool would stand still. So the operations are tried one by one, and only the one at fault fails: a submission
// with an error for its client, a result by the failure of its task. Changes that are due to time alone, such as the
// expiry of a task, are part of every step. If they are refused, no request is at fault and none can be carried out:
// the pool tries again, at growing intervals.

// commitInParts carries out the requests of a refused step one by one, after the changes that nobody has asked for.
func (l *loop) commitInParts(batch []message, refusal error) error {
	if countOps(batch) == 0 || !l.initialized { // initialOps are not committed in parts
		return refusal
	}
	if rest, err := l.commitBatch(nil); err != nil {
		l.fail(rest, err)
		return err
	}
	if len(batch) > 1 {
		for _, m := range batch {
			if answeredLast(m) {
				continue // it is answered at the end of the batch
			}
			if rest, err := l.commitBatch([]message{m}); err != nil {
				l.fail(rest, err)
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

// commitOpByOp commits the operations of one request in a step each.
func (l *loop) commitOpByOp(r *request) error {
	results := make([]lot.Result, 0, len(r.ops))
	for _, op := range r.ops {
		single := &operations{}
		single.reply = make(chan reply, 1)
		single.setOp(op)
		if err := l.commitPart(single); err != nil {
			if len(results) == 0 || r.reply == nil {
				return err
			}
			callerErr, _ := l.callerError(err)
			r.reply <- reply{results: append(results, failedResults(len(r.ops)-len(results), callerErr)...)}
			l.fail(nil, err)
			return nil // the operations before the error are committed
		}
		a := <-single.reply
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

// failWithoutResult ends a task whose result cannot be stored.
func (l *loop) failWithoutResult(m message, op lot.Finish, refusal error) error {
	o := &op.Outcome
	if len(o.Result) == 0 && o.Reason == park.ReasonResultTooLarge {
		return refusal // the result is not the reason
	}
	l.eng.log.Error("result not stored: the store refuses it permanently", "pool", l.ID, "task", op.TaskID, "bytes", len(o.Result), "error", refusal)
	*o = park.Failure(park.ReasonResultTooLarge, fmt.Sprintf("the store of pool %s cannot keep the result of %d bytes: %v", l.ID, len(o.Result), refusalCause(refusal))).Tidy()
	m.base().setOp(op)
	return l.commitPart(m)
}

// commitPart carries out a part of a refused step. If it fails, messages that have joined it are answered here, because
// the caller knows of the part alone.
func (l *loop) commitPart(part message) error {
	batch, err := l.commitBatch([]message{part})
	if err != nil {
		l.fail(slices.DeleteFunc(batch, func(m message) bool { return m == part }), err)
	}
	return err
}
