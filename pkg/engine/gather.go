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
func (l *loop) first(timer *time.Timer, d time.Duration) (m message, ok bool) {
	switch {
	case len(l.urgent) > 0 || len(l.putAside)+len(l.large) == 0:
		return l.next(timer, d)
	case env.Ready(l.quit):
		return nil, false
	case len(l.large) > 0 && (l.largeTurn || len(l.putAside)+len(l.messages) == 0):
		l.largeTurn = false
		m, l.large = l.large[0], l.large[1:]
		return m, true
	}
	l.largeTurn = true
	if len(l.putAside) == 0 {
		return <-l.messages, true // of which only this loop takes any
	}
	m, l.putAside = l.putAside[0], l.putAside[1:]
	return m, true
}

// gather adds to batch what was put off and what else waits, up to a step's worth. It lets those go first who are ready to run:
// under load they bring more requests for this step, and each step saves what a step costs; at rest there are none.
func (l *loop) gather(batch []message) []message {
	runtime.Gosched()
	size := l.sizeOf(batch...)
	// One without operations counts too, so that it ends.
	for n := max(1, size.ops); n < maxOps; {
		m := l.nextAtHand()
		if m == nil {
			return l.gatherLarge(batch, size)
		}
		more := l.sizeOf(m)
		with := size.plus(more)
		if size.bytes > 0 && more.bytes > 0 && with.bytes > maxStepBytes {
			if l.putOff(m) {
				continue
			}
			return batch
		}
		batch, size = append(batch, m), with
		n += max(1, more.ops)
	}
	return batch
}

// nextAtHand returns the next request that is there already, nil where there is none.
func (l *loop) nextAtHand() (m message) {
	if len(l.putAside) > 0 {
		m, l.putAside = l.putAside[0], l.putAside[1:]
		return m
	}
	select {
	case m = <-l.messages:
	default:
	}
	return m
}

// gatherLarge adds to a batch the next of the outcomes that were put off that there is room for, unless it goes between them.
func (l *loop) gatherLarge(batch []message, size size) []message {
	for !l.largeTurn && len(l.large) > 0 {
		if size = size.plus(l.sizeOf(l.large[0])); size.ops > maxOps || size.bytes > maxStepBytes {
			break
		}
		batch, l.large = append(batch, l.large[0]), l.large[1:]
	}
	return batch
}

// manyBytes is the size of an outcome that may be overtaken. Of smaller ones a step has as many as it may have.
const manyBytes = maxStepBytes / maxOps

// putOff keeps a request that this step has no room for. It is the first of the next one, unless it is a large outcome of a
// run: that may be overtaken, which putOff returns.
func (l *loop) putOff(m message) (overtaken bool) {
	if r, ok := m.(*report); ok && simple(r) && l.sizeOf(r).bytes > manyBytes {
		r.run.over = true
		l.large = append(l.large, r)
		return true
	}
	l.putAside = slices.Insert(l.putAside, 0, m)
	return false
}

// withRetries puts before a batch what is owed, up to a step's worth of it, and one message at least.
func (l *loop) withRetries(batch []message) []message {
	size := l.sizeOf(batch...)
	for i, r := range l.retries {
		size = size.plus(l.sizeOf(r))
		if i > 0 && (size.ops > maxOps || size.bytes > maxStepBytes) {
			batch = append(slices.Clone(l.retries[:i]), batch...)
			l.retries = l.retries[i:]
			return batch
		}
	}
	batch = append(l.retries, batch...)
	l.retries = nil
	return batch
}

// asked returns how many operations a batch asks for.
func asked(batch []message) int {
	n := 0
	for _, m := range batch {
		n += len(m.base().ops)
	}
	return n
}
