package loadtest

import (
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// answer is the daemon's answer to a submission.
type answer uint8

const (
	unanswered answer = iota
	accepted
	rejected
)

// entry is a task. There are as many as the run has tasks, so it is kept small.
type entry struct {
	// what the generator requested
	units     int64
	deadline  int64 // microseconds since 1970; 0: none
	work      int32 // milliseconds
	timeLimit int32 // its own time limit in seconds; 0: none
	mailbox   int32
	priority  park.Priority

	// the answer
	answer   answer
	code     refusal
	position int32 // of a first answer; 0: none, or the submission was sent again

	// from the log
	submitted int64 // from the answer if there was one
	startedAt int64 // the last run
	ended     int64
	attempt   uint16
	end       ending

	events   uint8 // counts, up to maxCount
	messages uint8
	rows     uint8
	flags    taskFlags
}

// taskFlags are facts about a task.
type taskFlags uint16

const (
	toFail        taskFlags = 1 << iota // it was asked to fail
	toStop                              // it is to be cancelled once it runs
	resent                              // an answer was lost, or said to try again
	mayBeAccepted                       // a submission without an answer may have been accepted
	running                             // according to the answer; else it was parked
	seenToEnd                           // its end was in the event stream
	cancelAsked
	cancelled        // according to the daemon's answer
	cancelRefused    // the daemon answered that it had already ended
	logHasSubmission // the log has its submission
	logHasRefusal    // the log has a refusal of it
	parkedFirst      // according to the log it did not start at once
	hasWrongMessage  // a message is wrong
)

const maxCount = 255

func (e *entry) is(m taskFlags) bool { return e.flags&m != 0 }
func (e *entry) mark(m taskFlags)    { e.flags |= m }

// mailbox is a mailbox of tasks.
type mailbox struct{ tenant, key string }

// ledger has an entry for each task that the generator planned.
type ledger struct {
	run string

	mu             sync.Mutex
	entries        []entry
	mailboxes      []mailbox
	mailboxNumbers map[mailbox]int32
	accepted       int
	rejected       int
	ended          int
	rejections     map[string]int
	denied         map[int]int64 // when the latest answer was that nothing was accepted, in microseconds since 1970
}

func newLedger(run string) *ledger {
	return &ledger{run: run, mailboxNumbers: map[mailbox]int32{}, rejections: map[string]int{}, denied: map[int]int64{}}
}

// offer adds a task before it is sent and returns its number.
func (l *ledger) offer(j *job) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := mailbox{j.tenant, l.run + j.key}
	at, known := l.mailboxNumbers[b]
	if !known {
		at = int32(len(l.mailboxes))
		l.mailboxNumbers[b], l.mailboxes = at, append(l.mailboxes, b)
	}
	e := entry{
		units: j.units, work: int32(j.work.Milliseconds()), timeLimit: int32(j.limit / time.Second), mailbox: at, priority: j.priority,
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

// setDeadline records the deadline of a task.
func (l *ledger) setDeadline(i int, deadline park.Time) {
	if deadline.IsZero() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries[i].deadline = deadline.Micro()
}

// markResent records that a submission is sent again. It may have been accepted unless the daemon said that it was not.
func (l *ledger) markResent(i int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries[i].mark(resent)
	if park.Passing(err) {
		l.denied[i] = time.Now().UnixMicro()
		return
	}
	l.entries[i].mark(mayBeAccepted)
}

// answered records the answer to a submission.
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
	if !e.is(resent) {
		e.position = int32(min(r.Position, math.MaxInt32))
	}
}

// mark sets flags of a task.
func (l *ledger) mark(i int, m taskFlags) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries[i].mark(m)
}

// endSeen records that a task's end was in the event stream, maybe again.
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

// number returns the number of the task with the id; false if it is not of this run.
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

// progress fills in the ledger's part.
func (l *ledger) progress(p *Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.Submitted, p.Accepted, p.Ended = len(l.entries), l.accepted, l.ended
}

// open returns how many accepted tasks have not been seen to end. An end may be seen before the answer to the
// submission, so this may be negative for a moment.
func (l *ledger) open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.accepted - l.ended
}

// longestWork returns the longest requested run time.
func (l *ledger) longestWork() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	var most int32
	for i := range l.entries {
		most = max(most, l.entries[i].work)
	}
	return time.Duration(most) * time.Millisecond
}
