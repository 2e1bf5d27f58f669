package engine

import (
	"encoding/json"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
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
	minTurnWait = 2 * time.Millisecond
	maxTurnWait = 100 * time.Millisecond
	// minLook and maxLook bound the time between two looks at the line.
	minTurnPoll = 300 * time.Microsecond
	maxTurnPoll = 250 * time.Millisecond
	// maxNote bounds the outcomes that a node leaves to others while it waits for one turn, in bytes, and maxLeft one of them.
	maxNoteBytes        = 64 << 10
	maxDelegatedOutcome = 8 << 10
)

// takeTurn stands in line with a batch until it is this node's turn, or others have stored all that it is for. What they
// did meanwhile is to be caught up with. It returns the batch with what has come for it since.
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
		allDelegated = allDelegated && hand.Whole && len(delegated) > 0
		hand.Whole = allDelegated
		place, err := l.node.Store.Turn(l.ctx, l.ID, l.lotNode, hand)
		if err != nil {
			return batch // the step itself will tell what is wrong
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

// linger adds to a batch what comes within d. It returns sooner, but not at once, where that is to be left to others. ok is
// false where the loop is to end.
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
		with := size.plus(l.sizeOf(m))
		if with.bytes > maxStepBytes {
			l.postpone(m)
			continue
		}
		if r, ok := m.(*report); ok {
			r.run.returned = true
			until = min(until, l.eng.env.Mono()+max(l.commitTime/4, minTurnPoll))
		}
		batch, size = append(batch, m), with
	}
	return batch, true
}

// full reports whether nothing more may join a batch of a size: it has a step's worth, or what comes would overtake what was
// put off.
func (l *loop) full(s size) bool {
	return s.ops >= maxOps || s.bytes >= maxStepBytes || len(l.postponed) > 0 && onlyOperations(l.postponed[0])
}

// outcome is a [lot.Finish] that a node leaves to another.
type delegatedOutcome struct {
	Task       string      `json:"t"`
	Submitted  int64       `json:"b,omitempty"` // microseconds
	Attempt    int         `json:"a"`
	RetryAfter int64       `json:"w,omitempty"` // microseconds
	Status     park.Status `json:"s"`
	Reason     []byte      `json:"r,omitempty"` // not as text, nor the result as JSON: they are stored to the byte as they came
	Message    []byte      `json:"m,omitempty"`
	Result     []byte      `json:"o,omitempty"`
}

// leave returns the outcomes of runs in a batch that may be left to others, as they are and as a note of most bytes at most.
func delegable(batch []message, limit int) (outcomes []delegatedOutcome, hand store.Hand) {
	hand.Whole = true
	size := 0
	for _, m := range batch {
		if len(m.base().ops) == 0 && deriveFunc(m) == nil {
			continue
		}
		f, ok := finishOf(m)
		weight := (len(f.Outcome.Reason)+len(f.Outcome.Message)+len(f.Outcome.Result))*4/3 + 200
		if !ok || weight > maxDelegatedOutcome || size+weight > limit {
			hand.Whole = false
			continue
		}
		size += weight
		o := &f.Outcome
		outcomes = append(outcomes, delegatedOutcome{
			Task: f.TaskID, Submitted: f.Submitted.Micro(), Attempt: f.Attempt, RetryAfter: o.RetryAfter.Microseconds(),
			Status: o.Status, Reason: []byte(o.Reason), Message: []byte(o.Message), Result: o.Result,
		})
	}
	if len(outcomes) > 0 {
		hand.Note, _ = json.Marshal(outcomes) // nothing in it can fail
	}
	return outcomes, hand
}

// ending returns the operation of a message that is for the end of a run and nothing else.
func finishOf(m message) (f lot.Finish, ok bool) {
	if r, is := m.(*report); is && len(r.ops) == 1 {
		f, ok = r.ops[0].(lot.Finish)
	}
	return f, ok
}
