package verify

import (
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// comparable says which tasks can be compared in all places: those whose end is known in the log, the tasks and the
// messages. Times are in microseconds.
type comparable struct {
	// first is the time of the first event, if the log does not begin with the pool or continues after its tasks were
	// lost. Tasks submitted before are known in part only, and tasks that ended before are not known at all.
	first     int64
	tasksLost bool // there is no task from before
	// kept and sent are the times from which tasks and messages are kept.
	kept, sent int64
	// logEnd is when the log ended at first. Tasks that end later are compared one by one.
	logEnd int64
	// outboxSince is the time from which messages may still be on their way.
	outboxSince int64
	// detailedSince is the time from which the log has priorities, deadlines and retries.
	detailedSince int64
}

const (
	never = int64(1) << 62
	// margin is how much retention may remove during the verification.
	margin = 10 * time.Minute
	// skew is how far the clocks of a database and a daemon may differ. It also covers an hour that a clock repeats.
	skew = 2 * time.Hour
)

// retentionMarks has the times from which tasks and messages are kept, in this order.
type retentionMarks struct {
	noted    [2]int64
	earliest [2]int64 // no earlier than this, since retention may run during the verification
	// local says what is in the log's store. There, events are removed before the tasks and messages that they are
	// about.
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

// keptSince returns the times from which tasks and messages are kept until they have been read. first is the time of
// the first event. A mark may be later if a clock was ahead when it was made: what the log in the same store contains
// was then done after it.
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

// movedMarks returns the same times after everything was read, from marks that have moved since. A mark in the future
// does not move; then the present time limits what may have been removed.
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

// compareMode says how a task or message is compared.
type compareMode uint8

const (
	unknown compareMode = iota // not at all
	early                      // one by one, since a part of its life is not in the log
	settled                    // by sums
	late                       // one by one, since it may change during the verification
)

// modeOfTask returns how a task is compared, from the times of its submission and its end, 0 if it has not ended.
func (s *comparable) modeOfTask(submitted, ended int64) compareMode {
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

// modeOfMessage returns how a message is compared.
func (s *comparable) modeOfMessage(created int64) compareMode {
	switch {
	case created < s.kept || created < s.sent || created < s.first:
		return unknown
	case created >= min(s.logEnd, s.outboxSince):
		return late
	}
	return settled
}
