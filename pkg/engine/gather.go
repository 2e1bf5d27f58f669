package engine

import (
	"runtime"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env"
)

// What goes into a step together, and what comes first.
//
// Requests are done in the order in which they come, but for outcomes of runs that are too large for the step that is being
// put together. When many runs with large results end at once there is work for many steps. Nobody waits for these outcomes
// in any order, so what is small goes between them: every other step, if there is any.

// first returns the request that a step begins with: one that was put off, or else what next does.
func (p *pool) first(timer *time.Timer, d time.Duration) (r *request, ok bool) {
	switch {
	case len(p.urgent) > 0 || len(p.aside)+len(p.large) == 0:
		return p.next(timer, d)
	case env.Ready(p.quit):
		return nil, false
	case len(p.large) > 0 && (p.larger || len(p.aside)+len(p.requests) == 0):
		p.larger = false
		r, p.large = p.large[0], p.large[1:]
		return r, true
	}
	p.larger = true
	if len(p.aside) == 0 {
		return <-p.requests, true // of which only this loop takes any
	}
	r, p.aside = p.aside[0], p.aside[1:]
	return r, true
}

// gather adds to batch what was put off and what else waits, up to a step's worth. It lets those go first who are ready to run:
// under load they bring more requests for this step, and each step saves what a step costs; at rest there are none.
func (p *pool) gather(batch []*request) []*request {
	runtime.Gosched()
	size := p.sizeOf(batch...)
	// One without operations counts too, so that it ends.
	for n := max(1, size.ops); n < maxOps; {
		r := p.atHand()
		if r == nil {
			return p.gatherLarge(batch, size)
		}
		more := p.sizeOf(r)
		with := size.plus(more)
		if size.bytes > 0 && more.bytes > 0 && with.bytes > maxStepBytes {
			if p.putOff(r) {
				continue
			}
			return batch
		}
		batch, size = append(batch, r), with
		n += max(1, more.ops)
	}
	return batch
}

// atHand returns the next request that is there already, nil where there is none.
func (p *pool) atHand() (r *request) {
	if len(p.aside) > 0 {
		r, p.aside = p.aside[0], p.aside[1:]
		return r
	}
	select {
	case r = <-p.requests:
	default:
	}
	return r
}

// gatherLarge adds to a batch the next of the outcomes that were put off that there is room for, unless it goes between them.
func (p *pool) gatherLarge(batch []*request, size size) []*request {
	for !p.larger && len(p.large) > 0 {
		if size = size.plus(p.sizeOf(p.large[0])); size.ops > maxOps || size.bytes > maxStepBytes {
			break
		}
		batch, p.large = append(batch, p.large[0]), p.large[1:]
	}
	return batch
}

// manyBytes is the size of an outcome that may be overtaken. Of smaller ones a step has as many as it may have.
const manyBytes = maxStepBytes / maxOps

// putOff keeps a request that this step has no room for. It is the first of the next one, unless it is a large outcome of a
// run: that may be overtaken, which putOff returns.
func (p *pool) putOff(r *request) (overtaken bool) {
	if r.owed != nil && r.plain() && p.sizeOf(r).bytes > manyBytes {
		r.owed.over = true
		p.large = append(p.large, r)
		return true
	}
	p.aside = slices.Insert(p.aside, 0, r)
	return false
}
