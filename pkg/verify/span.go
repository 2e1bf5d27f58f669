package verify

import (
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// span is of which tasks what is kept in one place can be held against another: of those whose end all places tell of. Times
// are microseconds.
type span struct {
	// first is the time of the first event in a log that does not begin with the pool, or that goes on after its tasks were
	// lost. What began before is known in part only, and what ended before not at all.
	first int64
	lost  bool // there is no task from before
	// kept and sent are from when on tasks and messages are kept.
	kept, sent int64
	// closed is when the log ended at first. What ends from then on is held against the rest one by one.
	closed int64
	// owed is from when on messages may be on their way.
	owed int64
	// told is since when the log tells of priorities and the like.
	told int64
}

const (
	never = int64(1) << 62
	// margin is what retention may take while it is read.
	margin = 10 * time.Minute
)

// keptSince returns from when on what a mark tells of is there, for as long as it takes to read it.
func keptSince(m park.Mark, retention time.Duration, now time.Time) int64 {
	since := m.Before.Micro()
	if retention > 0 {
		since = max(since, now.Add(min(margin, retention/10)-retention).UnixMicro())
	}
	return since
}

// place says how a task is compared.
type place uint8

const (
	unknown place = iota // not at all
	early                // one by one, for a part of its life is not in the log
	settled              // by sums
	late                 // one by one, for it may change while it is read
)

// placeOf returns how a task is compared that was submitted at a time and ended at another, 0 if it has not.
func (s *span) placeOf(submitted, ended int64) place {
	switch {
	case ended != 0 && (ended < s.kept || ended < s.first):
		return unknown
	case ended == 0 || ended >= s.closed:
		return late
	case s.first != 0 && submitted <= s.first:
		return early
	}
	return settled
}

// placeOfLetter returns how a message is compared.
func (s *span) placeOfLetter(created int64) place {
	switch {
	case created < s.kept || created < s.sent || created < s.first:
		return unknown
	case created >= min(s.closed, s.owed):
		return late
	}
	return settled
}
