package engine

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/lot"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// A step that the store refuses for what is in it (see [store.ErrRefused]) would be refused as often as it is sent, and the
// pool would stand still. So its operations are tried one by one, and the one that is at fault fails alone: a submission
// with an error for its client, a result by the failure of its task. What time alone asks for, such as the end of a task whose
// deadline has passed, is part of each step. If that is refused, no request is at fault and none can be done: the pool tries
// it again, ever more rarely.

const (
	firstRefusal = troubleRest
	lastRefusal  = 30 * time.Second
)

// refused notes that a step was refused, and is to be tried again after a rest that doubles each time.
func (l *loop) refused(err error) {
	if !l.toldOf {
		l.eng.log.Error("step refused for good: trying again now and then", "pool", l.ID, "error", err)
	}
	l.toldOf = true
	l.refusal = min(max(2*l.refusal, firstRefusal), lastRefusal)
}

// apart does the requests of a refused step one by one, after what nobody has asked for.
func (l *loop) apart(batch []message, refusal error) error {
	if asked(batch) == 0 || !l.adopted { // the pool is not begun in parts
		return refusal
	}
	if joined, err := l.carry(nil); err != nil {
		l.fail(joined, err)
		return err
	}
	if len(batch) > 1 {
		for _, m := range batch {
			if looks(m) {
				continue // it is answered when the turn is over
			}
			if alone, err := l.carry([]message{m}); err != nil {
				l.fail(alone, err)
			}
		}
		return nil
	}
	m := batch[0]
	r := m.base()
	if len(r.ops) > 1 {
		return l.opByOp(r)
	}
	if len(r.ops) == 1 {
		switch op := r.ops[0].(type) {
		case lot.Finish:
			return l.withoutResult(m, op, refusal)
		case lot.Submit:
			if r.reply != nil {
				r.reply <- reply{err: park.Errorf(park.InvalidRequest, "the store of pool %s cannot keep task %s: %v", l.ID, op.Spec.TaskID, cause(refusal))}
			}
			return nil
		}
	}
	return refusal
}

// opByOp does the operations of one request in a step each.
func (l *loop) opByOp(r *request) error {
	results := make([]lot.Result, 0, len(r.ops))
	for _, op := range r.ops {
		one := &operations{}
		one.reply = make(chan reply, 1)
		one.single(op)
		if err := l.alone(one); err != nil {
			if len(results) == 0 || r.reply == nil {
				return err
			}
			told, _ := l.told(err)
			r.reply <- reply{results: append(results, failed(len(r.ops)-len(results), told)...)}
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
func (l *loop) withoutResult(m message, op lot.Finish, refusal error) error {
	o := &op.Outcome
	if len(o.Result) == 0 && o.Reason == park.ReasonResultTooLarge {
		return refusal // it was not the result
	}
	l.eng.log.Error("result not stored: the store refuses it for good", "pool", l.ID, "task", op.TaskID, "bytes", len(o.Result), "error", refusal)
	*o = park.Failure(park.ReasonResultTooLarge, fmt.Sprintf("the store of pool %s cannot keep the result of %d bytes: %v", l.ID, len(o.Result), cause(refusal))).Tidy()
	m.base().single(op)
	return l.alone(m)
}

// alone carries out a part of a step that was refused. What has joined it meanwhile and did not come about either is
// answered here: only the part is known to who asked for it.
func (l *loop) alone(part message) error {
	batch, err := l.carry([]message{part})
	if err != nil {
		l.fail(slices.DeleteFunc(batch, func(m message) bool { return m == part }), err)
	}
	return err
}

// cause returns what a store says of a refusal, without what parkd says of it.
func cause(refusal error) error {
	if r, ok := errors.AsType[*store.RefusedError](refusal); ok {
		return r.Err
	}
	return refusal
}
