package engine

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Outcomes that waiting nodes delegate, on the side of the node that stores them.

// readNotes returns the outcomes in notes. A note in an unknown format is skipped.
func readNotes(notes [][]byte) (all []delegatedOutcome) {
	for _, note := range notes {
		var outcomes []delegatedOutcome
		if json.Unmarshal(note, &outcomes) == nil {
			all = append(all, outcomes...)
		}
	}
	return all
}

// anyUnstored reports whether one of the runs has not ended yet, as far as this node knows.
func (l *loop) anyUnstored(outcomes []delegatedOutcome) bool {
	for _, o := range outcomes {
		if s, _, ok := l.lot.State(o.Task); ok && s.Status == park.Running && s.Attempt == o.Attempt {
			return true
		}
	}
	return false
}

// maxDelegatedBytes bounds what a step stores for other nodes, in addition to maxOps. A step has this room however much
// it holds of its own node, because units depend on it.
const maxDelegatedBytes = 1 << 20

// keepDelegated keeps the outcomes of other nodes for this node's next steps. If there are too many, the rest is
// dropped: their node sees that they are not stored, and stores them.
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

// addDelegated adds to a batch the outcomes of other nodes, as many as there is room for. The rest waits for the next
// batch. Outcomes that are stored already are left out when the step is decided.
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

// finish returns the operation of an outcome.
func (o *delegatedOutcome) finish() lot.Finish {
	return lot.Finish{TaskID: o.Task, SubmittedAt: park.FromMicro(o.Submitted), Attempt: o.Attempt, Outcome: park.Outcome{
		Status: o.Status, Reason: string(o.Reason), Message: string(o.Message), Result: o.Result,
		RetryAfter: time.Duration(o.RetryAfter) * time.Microsecond,
	}}
}
