package engine

import (
	"encoding/json"
	"time"

	"github.com/parkd-dev/parkd/pkg/lot"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// Whose turn it is where several nodes have steps for one pool. A step that is decided while another node's is being
// stored comes to nothing, with all that went into it. So nodes that meet stand in line, which the store keeps. It is
// advice: nobody is refused for a turn, and nobody waits for longer than the turns of those before it are likely to take.
//
// Units must not wait for a turn. With a line of many nodes it takes a while until it is one's turn, and what a run had
// is in use until its outcome is stored. So who waits leaves its outcomes to the one who is first, whose step takes
// them along. They are outcomes of an attempt, of which one counts whoever stores it; and who left them waits until it
// sees them stored, or stores them itself.

const (
	// minPatience is how long a node waits for its turn at least, and maxPatience the most, unless a few turns take longer.
	minPatience = 2 * time.Millisecond
	maxPatience = 100 * time.Millisecond
	// minLook and maxLook bound the time between two looks at the line.
	minLook = 300 * time.Microsecond
	maxLook = 250 * time.Millisecond
	// maxNote bounds the outcomes that a node leaves to others while it waits for one turn, in bytes, and maxLeft one of them.
	maxNote = 64 << 10
	maxLeft = 8 << 10
)

// takeTurn stands in line with a batch until it is this node's turn, or others have stored all that it is for. What they
// did meanwhile is to be caught up with. It returns the batch with what has come for it since.
func (p *pool) takeTurn(batch []*request) []*request {
	p.rivals, p.behind = 0, true
	timer := time.NewTimer(maxTimer)
	defer timer.Stop()
	var patience time.Duration
	var all []outcome
	seen, room, whole := 0, maxNote, !p.unheeded
	p.unheeded = false
	for began := p.eng.env.Mono(); ; {
		left, h := leave(batch[seen:], room)
		all, seen, room = append(all, left...), len(batch), room-len(h.Note)
		whole = whole && h.Whole && len(all) > 0
		h.Whole = whole
		place, err := p.node.store.Turn(p.ctx, p.ID, p.as, h)
		if err != nil {
			return batch // the step itself will tell what is wrong
		}
		if place.Ahead == 0 {
			p.hold(readNotes(place.Notes))
			return batch
		}
		turns := time.Duration(place.Ahead) * p.stepped
		if patience == 0 {
			patience = max(min(max(4*turns, minPatience), maxPatience), 2*turns)
		}
		rest, ok := began+patience-p.eng.env.Mono(), false
		if rest <= 0 {
			p.unheeded = whole
			return batch
		}
		if batch, ok = p.linger(timer, batch, min(rest, max(turns/2, minLook), maxLook)); !ok {
			return batch
		}
		if whole && (p.catchUp() != nil || !p.unstored(all)) {
			return batch
		}
	}
}

// linger adds to a batch what comes within d. It returns sooner, but not at once, where that is to be left to others. ok is
// false where the loop is to end.
func (p *pool) linger(timer *time.Timer, batch []*request, d time.Duration) (_ []*request, ok bool) {
	size := p.sizeOf(batch...)
	for until := p.eng.env.Mono() + d; d > 0; d = until - p.eng.env.Mono() {
		if p.full(size) {
			return batch, p.eng.rest(d)
		}
		r, ok := p.next(timer, d)
		switch {
		case !ok:
			return batch, false
		case r == nil:
			return batch, true
		case !r.plain():
			p.aside = append(p.aside, r)
			continue
		}
		with := size.plus(p.sizeOf(r))
		if with.bytes > maxStepBytes {
			p.putOff(r)
			continue
		}
		if r.owed != nil {
			r.owed.over = true
			until = min(until, p.eng.env.Mono()+max(p.stepped/4, minLook))
		}
		batch, size = append(batch, r), with
	}
	return batch, true
}

// full reports whether nothing more may join a batch of a size: it has a step's worth, or what comes would overtake what was
// put off.
func (p *pool) full(s size) bool {
	return s.ops >= maxOps || s.bytes >= maxStepBytes || len(p.aside) > 0 && p.aside[0].plain()
}

// plain reports whether a request is for operations and nothing else.
func (r *request) plain() bool {
	return len(r.ops) > 0 && r.late == nil && !r.fresh && !r.reload && r.joins == nil && r.leaves == nil && r.look == nil
}

// outcome is a [lot.Finish] that a node leaves to another.
type outcome struct {
	Task      string      `json:"t"`
	Submitted int64       `json:"b,omitempty"` // microseconds
	Attempt   int         `json:"a"`
	Rest      int64       `json:"w,omitempty"` // microseconds
	Status    park.Status `json:"s"`
	Reason    []byte      `json:"r,omitempty"` // not as text, nor the result as JSON: they are stored to the byte as they came
	Message   []byte      `json:"m,omitempty"`
	Result    []byte      `json:"o,omitempty"`
}

// leave returns the outcomes of runs in a batch that may be left to others, as they are and as a note of most bytes at most.
func leave(batch []*request, most int) (left []outcome, h store.Hand) {
	h.Whole = true
	size := 0
	for _, r := range batch {
		if len(r.ops) == 0 && r.late == nil {
			continue
		}
		f, ok := ending(r)
		weight := (len(f.Outcome.Reason)+len(f.Outcome.Message)+len(f.Outcome.Result))*4/3 + 200
		if !ok || weight > maxLeft || size+weight > most {
			h.Whole = false
			continue
		}
		size += weight
		o := &f.Outcome
		left = append(left, outcome{
			Task: f.TaskID, Submitted: f.Submitted.Micro(), Attempt: f.Attempt, Rest: o.RetryAfter.Microseconds(),
			Status: o.Status, Reason: []byte(o.Reason), Message: []byte(o.Message), Result: o.Result,
		})
	}
	if len(left) > 0 {
		h.Note, _ = json.Marshal(left) // nothing in it can fail
	}
	return left, h
}

// ending returns the operation of a request that is for the end of a run and nothing else.
func ending(r *request) (f lot.Finish, ok bool) {
	if r.owed != nil && len(r.ops) == 1 {
		f, ok = r.ops[0].(lot.Finish)
	}
	return f, ok
}
