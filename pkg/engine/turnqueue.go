package engine

import (
	"encoding/json"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// Several nodes with steps for one pool take turns. A step that is decided while another node's step is being stored is
// in vain. So nodes that meet queue for turns, and the store keeps the queue. Turns are advice: no step is refused for
// want of a turn, and no node waits longer than the turns before it are likely to take.
//
// Units must not wait for a turn. With many nodes in the queue a turn takes a while to come, and the units of a run are
// in use until its outcome is stored. So a node that waits delegates its outcomes to the node whose turn it is, and
// that node's step stores them. Each outcome belongs to an attempt and counts once, whoever stores it. The node that
// delegated it waits until it is stored, or stores it itself.

const (
	// minTurnWait is the least time that a node waits for its turn. maxTurnWait is the most, unless two turns take
	// longer.
	minTurnWait = 2 * time.Millisecond
	maxTurnWait = 100 * time.Millisecond
	// minTurnPoll and maxTurnPoll bound the time between two looks at the queue.
	minTurnPoll = 300 * time.Microsecond
	maxTurnPoll = 250 * time.Millisecond
	// maxNoteBytes bounds the outcomes that a node delegates while it waits for one turn, maxDelegatedOutcome each of
	// them; in bytes.
	maxNoteBytes        = 64 << 10
	maxDelegatedOutcome = 8 << 10
)

// awaitTurn queues with a batch until it is this node's turn, or until others have stored everything in the batch.
// Afterwards the loop must catch up. It returns the batch with the messages that have come since.
func (l *loop) awaitTurn(batch []message) []message {
	l.contenders, l.mustCatchUp = 0, true
	timer := time.NewTimer(maxTimer)
	defer timer.Stop()
	var maxWait time.Duration
	var delegated []delegatedOutcome
	considered, room, allDelegated := 0, maxNoteBytes, !l.delegationIgnored
	l.delegationIgnored = false
	for start := l.eng.env.Mono(); ; {
		outcomes, hand := delegable(batch[considered:], room)
		delegated, considered, room = append(delegated, outcomes...), len(batch), room-len(hand.Note)
		allDelegated = allDelegated && hand.All && len(delegated) > 0
		hand.All = allDelegated
		place, err := l.node.Store.RequestTurn(l.ctx, l.ID, l.lotNode, hand)
		if err != nil {
			return batch // the step itself will report the error
		}
		if place.Ahead == 0 {
			l.keepDelegated(readNotes(place.Notes))
			return batch
		}
		turns := time.Duration(place.Ahead) * l.commitTime
		if maxWait == 0 {
			maxWait = max(min(max(4*turns, minTurnWait), maxTurnWait), 2*turns)
		}
		wait, ok := start+maxWait-l.eng.env.Mono(), false
		if wait <= 0 {
			l.delegationIgnored = allDelegated
			return batch
		}
		if batch, ok = l.collectFor(timer, batch, min(wait, max(turns/2, minTurnPoll), maxTurnPoll)); !ok {
			return batch
		}
		if allDelegated && (l.catchUp() != nil || !l.anyUnstored(delegated)) {
			return batch
		}
	}
}

// collectFor adds to a batch the messages that come within d. It returns early, but not at once, if an outcome comes
// that can be delegated. ok is false if the loop is to end.
func (l *loop) collectFor(timer *time.Timer, batch []message, d time.Duration) (_ []message, ok bool) {
	size := l.sizeOf(batch...)
	for until := l.eng.env.Mono() + d; d > 0; d = until - l.eng.env.Mono() {
		if l.full(size) {
			return batch, l.eng.sleep(d)
		}
		m, ok := l.nextMessage(timer, d)
		switch {
		case !ok:
			return batch, false
		case m == nil:
			return batch, true
		case !onlyOperations(m):
			l.postponed = append(l.postponed, m)
			continue
		}
		total := size.plus(l.sizeOf(m))
		if total.bytes > maxStepBytes {
			l.postpone(m)
			continue
		}
		if r, ok := m.(*report); ok {
			r.run.returned = true
			until = min(until, l.eng.env.Mono()+max(l.commitTime/4, minTurnPoll))
		}
		batch, size = append(batch, m), total
	}
	return batch, true
}

// full reports whether nothing more may join a batch of a size: it is as large as a step may be, or a new message would
// overtake a postponed one.
func (l *loop) full(s size) bool {
	return s.ops >= maxOps || s.bytes >= maxStepBytes || len(l.postponed) > 0 && onlyOperations(l.postponed[0])
}

// delegatedOutcome is a [lot.Finish] that a node delegates to another.
type delegatedOutcome struct {
	Task       string      `json:"t"`
	Submitted  int64       `json:"b,omitempty"` // microseconds
	Attempt    int         `json:"a"`
	RetryAfter int64       `json:"w,omitempty"` // microseconds
	Status     park.Status `json:"s"`
	Reason     []byte      `json:"r,omitempty"` // bytes, because texts and the result are stored exactly as they came
	Message    []byte      `json:"m,omitempty"`
	Result     []byte      `json:"o,omitempty"`
}

// delegable returns the outcomes of a batch that may be delegated, as they are and as a note of at most limit bytes.
func delegable(batch []message, limit int) (outcomes []delegatedOutcome, hand store.Delegation) {
	hand.All = true
	size := 0
	for _, m := range batch {
		if len(m.base().ops) == 0 && deriveFunc(m) == nil {
			continue
		}
		f, ok := finishOf(m)
		weight := (len(f.Outcome.Reason)+len(f.Outcome.Message)+len(f.Outcome.Result))*4/3 + 200
		if !ok || weight > maxDelegatedOutcome || size+weight > limit {
			hand.All = false
			continue
		}
		size += weight
		o := &f.Outcome
		outcomes = append(outcomes, delegatedOutcome{
			Task: f.TaskID, Submitted: f.SubmittedAt.Micro(), Attempt: f.Attempt, RetryAfter: o.RetryAfter.Microseconds(),
			Status: o.Status, Reason: []byte(o.Reason), Message: []byte(o.Message), Result: o.Result,
		})
	}
	if len(outcomes) > 0 {
		hand.Note, _ = json.Marshal(outcomes) // it cannot fail
	}
	return outcomes, hand
}

// finishOf returns the operation of a message that reports the end of a run and has no other operation.
func finishOf(m message) (f lot.Finish, ok bool) {
	if r, isReport := m.(*report); isReport && len(r.ops) == 1 {
		f, ok = r.ops[0].(lot.Finish)
	}
	return f, ok
}
