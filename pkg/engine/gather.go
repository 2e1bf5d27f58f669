package engine

import (
	"runtime"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env"
)

// Which messages share a step, and in which order.
//
// Requests are carried out in the order in which they come, except outcomes of runs that are too large for the current
// step. If many runs with large results end together, they are work for many steps. Nobody waits for these outcomes in
// any order, so small requests go between them: into every other step, if there are any.

// firstMessage returns the message that a step begins with: a postponed one, or else the result of nextMessage.
func (l *loop) firstMessage(timer *time.Timer, d time.Duration) (m message, ok bool) {
	switch {
	case len(l.urgent) > 0 || len(l.postponed)+len(l.largeOutcomes) == 0:
		return l.nextMessage(timer, d)
	case env.Ready(l.quit):
		return nil, false
	case len(l.largeOutcomes) > 0 && (l.largeNext || len(l.postponed)+len(l.messages) == 0):
		l.largeNext = false
		m, l.largeOutcomes = l.largeOutcomes[0], l.largeOutcomes[1:]
		return m, true
	}
	l.largeNext = true
	if len(l.postponed) == 0 {
		return <-l.messages, true // only this loop takes messages
	}
	m, l.postponed = l.postponed[0], l.postponed[1:]
	return m, true
}

// gather adds to batch the postponed messages and all others that wait, up to the size of a step. Before that it yields
// to goroutines that are ready to run: under load they bring more requests for this step, which saves the cost of steps;
// at rest there are none. Without it a task costs the daemon 6 % more processor time, and a tenth fewer tasks are done in
// a second: medians of 19 pairs of runs in memory, of 64 clients (the load of docs/bench).
func (l *loop) gather(batch []message) []message {
	runtime.Gosched()
	size := l.sizeOf(batch...)
	// A message without operations counts too, so that the batch ends.
	for n := max(1, size.ops); n < maxOps; {
		m := l.nextQueued()
		if m == nil {
			return l.gatherLarge(batch, size)
		}
		added := l.sizeOf(m)
		total := size.plus(added)
		if size.bytes > 0 && added.bytes > 0 && total.bytes > maxStepBytes {
			if l.postpone(m) {
				continue
			}
			return batch
		}
		batch, size = append(batch, m), total
		n += max(1, added.ops)
	}
	return batch
}

// nextQueued returns the next message if there is one already, else nil.
func (l *loop) nextQueued() (m message) {
	if len(l.postponed) > 0 {
		m, l.postponed = l.postponed[0], l.postponed[1:]
		return m
	}
	select {
	case m = <-l.messages:
	default:
	}
	return m
}

// gatherLarge adds to a batch the large outcomes that there is room for, unless small requests are next.
func (l *loop) gatherLarge(batch []message, size size) []message {
	for !l.largeNext && len(l.largeOutcomes) > 0 {
		if size = size.plus(l.sizeOf(l.largeOutcomes[0])); size.ops > maxOps || size.bytes > maxStepBytes {
			break
		}
		batch, l.largeOutcomes = append(batch, l.largeOutcomes[0]), l.largeOutcomes[1:]
	}
	return batch
}

// largeOutcomeBytes is the size from which an outcome may be overtaken. Of smaller ones a step holds as many as maxOps
// allows.
const largeOutcomeBytes = maxStepBytes / maxOps

// postpone keeps a message that this step has no room for. The next step begins with it. The exception is a large
// outcome of a run: it may be overtaken, and postpone returns true.
func (l *loop) postpone(m message) (mayBeOvertaken bool) {
	if r, ok := m.(*report); ok && onlyOperations(r) && l.sizeOf(r).bytes > largeOutcomeBytes {
		r.run.returned = true
		l.largeOutcomes = append(l.largeOutcomes, r)
		return true
	}
	l.postponed = slices.Insert(l.postponed, 0, m)
	return false
}

// withRetries puts retries before a batch, at least one and otherwise as many as fit into a step.
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

// countOps returns the number of operations of a batch.
func countOps(batch []message) int {
	n := 0
	for _, m := range batch {
		n += len(m.base().ops)
	}
	return n
}
