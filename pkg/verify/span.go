package verify

import (
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// span is of which tasks what is kept in one place can be held against another: of those whose end all places tell of. Times
// are microseconds.
type comparable struct {
	// first is the time of the first event in a log that does not begin with the pool, or that goes on after its tasks were
	// lost. What began before is known in part only, and what ended before not at all.
	first     int64
	tasksLost bool // there is no task from before
	// kept and sent are from when on tasks and messages are kept.
	kept, sent int64
	// closed is when the log ended at first. What ends from then on is held against the rest one by one.
	logEnd int64
	// owed is from when on messages may be on their way.
	outboxSince int64
	// told is since when the log tells of priorities and the like.
	detailedSince int64
}

const (
	never = int64(1) << 62
	// margin is what retention may take while it is read.
	margin = 10 * time.Minute
	// skew is how far the clocks of a database and of a daemon may differ, and what an hour that a clock tells twice may hide.
	skew = 2 * time.Hour
)

// marks say from when on tasks and messages are there, in this order.
type retentionMarks struct {
	noted    [2]int64
	earliest [2]int64 // it is no earlier than that: what retention may take while it is read
	// local says what is in the log's store, where events go before all that they tell of.
	local [2]bool
}

func marksOf(ev *park.Evidence, now time.Time) retentionMarks {
	m := retentionMarks{local: [2]bool{!ev.EventsApart, !ev.EventsApart && !ev.MessagesApart}}
	for i, mark := range []park.Mark{ev.Tasks, ev.Messages} {
		m.noted[i] = mark.Before.Micro()
		if retention := time.Duration(ev.Retention); retention > 0 {
			m.earliest[i] = now.Add(min(margin, retention/10) - retention).UnixMicro()
		}
	}
	return m
}

// keptSince returns from when on tasks and messages are there, for as long as it takes to read them. first is the time of the
// first event. A mark may lie after that where a clock was ahead when it was made: what the log in the same store tells of was
// then done later.
func (m *retentionMarks) keptSince(first int64) (tasks, messages int64) {
	var since [2]int64
	for i, at := range m.noted {
		if m.local[i] {
			at = min(at, first)
		}
		since[i] = max(at, m.earliest[i])
	}
	return since[0], since[1]
}

// risen returns from when on they are there after they were read, by the marks that were moved meanwhile. One that lies in the
// future does not move: of that the time says what may have been removed.
func (m *retentionMarks) movedMarks(ev *park.Evidence, now time.Time) (tasks, messages int64) {
	n := marksOf(ev, now)
	since := n.earliest
	for i, at := range n.noted {
		if at > m.noted[i] {
			since[i] = max(since[i], at)
		}
	}
	return since[0], since[1]
}

// place says how a task is compared.
type compareMode uint8

const (
	unknown compareMode = iota // not at all
	early                      // one by one, for a part of its life is not in the log
	settled                    // by sums
	late                       // one by one, for it may change while it is read
)

// placeOf returns how a task is compared that was submitted at a time and ended at another, 0 if it has not.
func (s *comparable) placeOf(submitted, ended int64) compareMode {
	switch {
	case ended != 0 && (ended < s.kept || ended < s.first):
		return unknown
	case ended == 0 || ended >= s.logEnd:
		return late
	case s.first != 0 && submitted <= s.first:
		return early
	}
	return settled
}

// placeOfLetter returns how a message is compared.
func (s *comparable) placeOfLetter(created int64) compareMode {
	switch {
	case created < s.kept || created < s.sent || created < s.first:
		return unknown
	case created >= min(s.logEnd, s.outboxSince):
		return late
	}
	return settled
}
