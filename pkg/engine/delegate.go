package engine

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/park"
)

// What nodes leave to one another while they wait for their turns, on the side of the one that takes it along.

// readNotes returns what is in notes. One of a node that knows another form is as good as lost.
func readNotes(notes [][]byte) (all []delegatedOutcome) {
	for _, note := range notes {
		var outcomes []delegatedOutcome
		if json.Unmarshal(note, &outcomes) == nil {
			all = append(all, outcomes...)
		}
	}
	return all
}

// unstored reports whether any of the runs has not been ended yet, by what this node knows.
func (l *loop) anyUnstored(outcomes []delegatedOutcome) bool {
	for _, o := range outcomes {
		if s, _, ok := l.lot.State(o.Task); ok && s.Status == park.Running && s.Attempt == o.Attempt {
			return true
		}
	}
	return false
}

// maxBrought bounds what a step stores for other nodes, beside maxOps, in bytes. It has this room however much the node has
// of its own, for there are units in it.
const maxDelegatedBytes = 1 << 20

// hold keeps what other nodes have left for this node's next steps. Too much of it is lost: whoever left it sees that it is
// not stored, and stores it.
func (l *loop) keepDelegated(outcomes []delegatedOutcome) {
	n := size{}
	for i := range l.delegated {
		n = n.plus(l.sizeOfDelegated(&l.delegated[i]))
	}
	for i := range outcomes {
		if n = n.plus(l.sizeOfDelegated(&outcomes[i])); n.bytes > maxStepBytes {
			return
		}
		l.delegated = append(l.delegated, outcomes[i])
	}
}

func (p *pool) sizeOfDelegated(o *delegatedOutcome) size {
	return size{1, p.bytesOf([]lot.Op{o.finish()})}
}

// bring adds to a batch what other nodes have left to this one, as much as there is room for. The rest is for the next. What
// of it is stored already is seen when the step is decided.
func (l *loop) addDelegated(batch []message) []message {
	s, n := size{}, 0
	for _, m := range batch {
		if deriveFunc(m) != nil {
			s = s.plus(l.sizeOf(m))
		}
	}
	for ; n < len(l.delegated); n++ {
		if s = s.plus(l.sizeOfDelegated(&l.delegated[n])); s.ops > 1 && (s.ops > maxOps || s.bytes > maxDelegatedBytes) {
			break
		}
	}
	if n == 0 {
		return batch
	}
	taken := slices.Clone(l.delegated[:n])
	l.delegated = slices.Delete(l.delegated, 0, n)
	return append(batch, &derived{derive: func(l *loop) (ops []lot.Op) {
		for i := range taken {
			if l.anyUnstored(taken[i : i+1]) {
				ops = append(ops, taken[i].finish())
			}
		}
		return ops
	}})
}

// finish returns the operation that an outcome stands for.
func (o *delegatedOutcome) finish() lot.Finish {
	return lot.Finish{TaskID: o.Task, Submitted: park.FromMicro(o.Submitted), Attempt: o.Attempt, Outcome: park.Outcome{
		Status: o.Status, Reason: string(o.Reason), Message: string(o.Message), Result: o.Result,
		RetryAfter: time.Duration(o.RetryAfter) * time.Microsecond,
	}}
}
