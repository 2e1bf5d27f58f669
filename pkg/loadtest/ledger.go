package loadtest

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// answer is what the daemon said to a submission.
type answer uint8

const (
	unanswered answer = iota
	accepted
	rejected
)

// entry is what the generator knows of one task.
type entry struct {
	units    int64
	deadline int64 // microseconds since 1970; 0: none
	work     int32 // milliseconds
	box      int32
	priority park.Priority
	answer   answer
	fail     bool
	seen     bool // its end came over the event stream

	// what the log and the mailbox say, filled in by the judge
	end      park.Action
	messages uint8
	amiss    bool // a message that does not say what it should
}

// box is a mailbox that tasks were given.
type box struct{ tenant, key string }

// ledger is the generator's book: one entry for each task that it offered.
type ledger struct {
	run string

	mu         sync.Mutex
	entries    []entry
	boxes      []box
	byBox      map[box]int32
	accepted   int
	rejected   int
	ended      int
	rejections map[string]int
}

func newLedger(run string) *ledger {
	return &ledger{run: run, byBox: map[box]int32{}, rejections: map[string]int{}}
}

// offer books a task before it is sent and returns its number.
func (l *ledger) offer(j *job) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := box{j.tenant, l.run + j.key}
	at, known := l.byBox[b]
	if !known {
		at = int32(len(l.boxes))
		l.byBox[b], l.boxes = at, append(l.boxes, b)
	}
	l.entries = append(l.entries, entry{
		units: j.units, work: int32(j.work.Milliseconds()), box: at, priority: j.priority, fail: j.fail,
	})
	return len(l.entries) - 1
}

// sent books the deadline with which a task is sent.
func (l *ledger) sent(i int, deadline park.Time) {
	if deadline.IsZero() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries[i].deadline = deadline.Micro()
}

// answered books what became of a submission.
func (l *ledger) answered(i int, err *park.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.entries[i].answer = accepted
		l.accepted++
		return
	}
	l.entries[i].answer = rejected
	l.rejected++
	l.rejections[string(err.Code)]++
}

// endSeen books that a task's end came over the event stream. It may be told twice.
func (l *ledger) endSeen(i int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := &l.entries[i]; !e.seen {
		e.seen = true
		l.ended++
	}
}

// number returns the number of the task with the given id; false where it is none of this run.
func (l *ledger) number(id string) (int, bool) {
	digits, ok := strings.CutPrefix(id, l.run)
	if !ok {
		return 0, false
	}
	i, err := strconv.Atoi(digits)
	l.mu.Lock()
	defer l.mu.Unlock()
	return i, err == nil && i >= 0 && i < len(l.entries) && strconv.Itoa(i) == digits
}

// progress fills in what the ledger knows.
func (l *ledger) progress(p *Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.Submitted, p.Accepted, p.Ended = len(l.entries), l.accepted, l.ended
}

// open returns how many accepted tasks have not been seen to end. An end may be seen before the answer to its
// submission, so this can be below zero for a moment.
func (l *ledger) open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.accepted - l.ended
}

// longestWork is the longest run time that was asked for.
func (l *ledger) longestWork() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	var most int32
	for i := range l.entries {
		most = max(most, l.entries[i].work)
	}
	return time.Duration(most) * time.Millisecond
}
