package loadtest

import (
	"math"
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

// entry is what is known of one task. There are as many as the run has tasks, so it is kept small.
type entry struct {
	// what the generator asked for
	units    int64
	deadline int64 // microseconds since 1970; 0: none
	work     int32 // milliseconds
	limit    int32 // its own time limit in seconds; 0: none
	box      int32
	priority park.Priority

	// what it was answered
	answer   answer
	code     refusal
	position int32 // with a first answer; 0: none, or the answer was to a submission that was sent again

	// what the log says
	submitted int64 // of these three, the first is by the answer where there was one
	began     int64 // the last run
	ended     int64
	attempt   uint16
	end       ending

	events   uint8 // of these three, so many, or mostCounted and more
	messages uint8
	rows     uint8
	marks    marks
}

// marks are what is true of a task.
type marks uint16

const (
	toFail    marks = 1 << iota // it was asked to
	toStop                      // it is to be cancelled once it runs
	sentAgain                   // an answer was lost, or said to try again
	maybe                       // a submission whose answer is not known may have been taken
	running                     // the answer said so, or else that it is parked
	seenToEnd                   // its end came over the event stream
	cancelAsked
	cancelled     // the daemon answered that it is
	cancelRefused // the daemon answered that it had ended already
	taken         // the log has its submission
	turnedAway    // the log has a refusal of it
	parkedFirst   // the log says that it did not start as it was submitted
	amiss         // a message does not say what it should
)

const mostCounted = 255

func (e *entry) is(m marks) bool { return e.marks&m != 0 }
func (e *entry) mark(m marks)    { e.marks |= m }

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
	turned     map[int]int64 // tasks of which it was answered that nothing was taken, and when last, in microseconds since 1970
}

func newLedger(run string) *ledger {
	return &ledger{run: run, byBox: map[box]int32{}, rejections: map[string]int{}, turned: map[int]int64{}}
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
	e := entry{
		units: j.units, work: int32(j.work.Milliseconds()), limit: int32(j.limit / time.Second), box: at, priority: j.priority,
	}
	if j.fail {
		e.mark(toFail)
	}
	if j.cancel == onceRunning {
		e.mark(toStop)
	}
	l.entries = append(l.entries, e)
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

// again books that a submission is sent once more. It may have been taken unless the daemon said that it was not.
func (l *ledger) again(i int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries[i].mark(sentAgain)
	if park.Passing(err) {
		l.turned[i] = time.Now().UnixMicro()
		return
	}
	l.entries[i].mark(maybe)
}

// answered books what became of a submission.
func (l *ledger) answered(i int, r *park.SubmitResult) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &l.entries[i]
	if r.Err != nil {
		e.answer, e.code = rejected, refusalOf(r.Err.Code)
		l.rejected++
		l.rejections[string(r.Err.Code)]++
		return
	}
	e.answer, e.submitted = accepted, r.SubmittedAt.Micro()
	l.accepted++
	if r.Status == park.Running {
		e.mark(running)
	}
	if !e.is(sentAgain) {
		e.position = int32(min(r.Position, math.MaxInt32))
	}
}

// mark books what is true of a task.
func (l *ledger) mark(i int, m marks) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries[i].mark(m)
}

// endSeen books that a task's end came over the event stream. It may be told twice.
func (l *ledger) endSeen(i int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := &l.entries[i]; !e.is(seenToEnd) {
		e.mark(seenToEnd)
		l.ended++
	}
}

// toStop reports whether task number i is to be cancelled once it runs.
func (l *ledger) toStop(i int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entries[i].is(toStop)
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
