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
func (p *pool) refused(err error) {
	if !p.toldOf {
		p.eng.log.Error("step refused for good: trying again now and then", "pool", p.ID, "error", err)
	}
	p.toldOf = true
	p.refusal = min(max(2*p.refusal, firstRefusal), lastRefusal)
}

// apart does the requests of a refused step one by one, after what nobody has asked for.
func (p *pool) apart(batch []*request, refusal error) error {
	if asked(batch) == 0 || !p.adopted { // the pool is not begun in parts
		return refusal
	}
	if joined, err := p.carry(nil); err != nil {
		p.fail(joined, err)
		return err
	}
	if len(batch) > 1 {
		for _, r := range batch {
			if len(r.ops) == 0 && r.late == nil && r.look != nil {
				continue // it is answered when the turn is over
			}
			if alone, err := p.carry([]*request{r}); err != nil {
				p.fail(alone, err)
			}
		}
		return nil
	}
	r := batch[0]
	if len(r.ops) > 1 {
		return p.opByOp(r)
	}
	if len(r.ops) == 1 {
		switch op := r.ops[0].(type) {
		case lot.Finish:
			return p.withoutResult(r, op, refusal)
		case lot.Submit:
			if r.reply != nil {
				r.reply <- reply{err: park.Errorf(park.InvalidRequest, "the store of pool %s cannot keep task %s: %v", p.ID, op.Spec.TaskID, cause(refusal))}
			}
			return nil
		}
	}
	return refusal
}

// opByOp does the operations of one request in a step each.
func (p *pool) opByOp(r *request) error {
	results := make([]lot.Result, 0, len(r.ops))
	for _, op := range r.ops {
		one := &request{reply: make(chan reply, 1)}
		one.single(op)
		if err := p.alone(one); err != nil {
			if len(results) == 0 || r.reply == nil {
				return err
			}
			told, _ := p.told(err)
			r.reply <- reply{results: append(results, failed(len(r.ops)-len(results), told)...)}
			p.fail(nil, err)
			return nil // what was taken before was taken
		}
		a := <-one.reply
		if refused, ok := errors.AsType[*park.Error](a.err); ok {
			a.results = []lot.Result{{Err: refused}}
		}
		results = append(results, a.results...)
	}
	if r.owed != nil {
		p.forget(r.owed)
	}
	if r.reply != nil {
		r.reply <- reply{results: results}
	}
	return nil
}

// withoutResult ends a task whose result cannot be stored.
func (p *pool) withoutResult(r *request, op lot.Finish, refusal error) error {
	o := &op.Outcome
	if len(o.Result) == 0 && o.Reason == park.ReasonResultTooLarge {
		return refusal // it was not the result
	}
	p.eng.log.Error("result not stored: the store refuses it for good", "pool", p.ID, "task", op.TaskID, "bytes", len(o.Result), "error", refusal)
	*o = park.Failure(park.ReasonResultTooLarge, fmt.Sprintf("the store of pool %s cannot keep the result of %d bytes: %v", p.ID, len(o.Result), cause(refusal))).Tidy()
	r.single(op)
	return p.alone(r)
}

// alone carries out a part of a step that was refused. What has joined it meanwhile and did not come about either is
// answered here: only the part is known to who asked for it.
func (p *pool) alone(part *request) error {
	batch, err := p.carry([]*request{part})
	if err != nil {
		p.fail(slices.DeleteFunc(batch, func(r *request) bool { return r == part }), err)
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
