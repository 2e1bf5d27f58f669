package loadtest

import (
	"strconv"

	"github.com/parkd-dev/parkd/pkg/park"
)

// ending is how a task ended, as the log says.
type ending uint8

const (
	notEnded ending = iota
	completed
	failed   // as it was told to
	timedOut // its run took longer than it may
	expired
	dropped
	oddlyEnded // failed for a reason that nothing in the load can have
)

// reasonTold is why a simulated run fails that is told to.
const reasonTold = "simulated_failure"

// endingOf returns what an event with a reason ends a task with; notEnded where it does not.
func endingOf(a park.Action, reason string) ending {
	switch {
	case a == park.ActComplete:
		return completed
	case a == park.ActFail && reason == reasonTold:
		return failed
	case a == park.ActFail && reason == park.ReasonTimeout:
		return timedOut
	case a == park.ActFail:
		return oddlyEnded
	case a == park.ActExpire:
		return expired
	case a == park.ActCancel:
		return dropped
	}
	return notEnded
}

// status is that of a task that has ended so.
func (e ending) status() park.Status {
	switch e {
	case completed:
		return park.Completed
	case failed, timedOut, oddlyEnded:
		return park.Failed
	case expired:
		return park.Expired
	case dropped:
		return park.Dropped
	case notEnded:
	}
	return ""
}

// reason is that of a task that has ended so.
func (e ending) reason() string {
	switch e {
	case failed:
		return reasonTold
	case timedOut:
		return park.ReasonTimeout
	case expired:
		return park.ReasonDeadlinePassed
	case dropped:
		return park.ReasonCancelled
	case notEnded, completed, oddlyEnded:
	}
	return ""
}

// reads reports whether a task that has ended so may have the reason.
func (e ending) reads(reason string) bool { return e == oddlyEnded || reason == e.reason() }

// results reports whether task number i may have a result, given how it ended. A run that was told to stop may have come
// to its own end first.
func (e *entry) results(i int, result []byte) bool {
	own := string(result) == strconv.Itoa(i)
	switch e.end {
	case completed:
		return own
	case dropped:
		return len(result) == 0 || own && e.attempt > 0
	default:
		return len(result) == 0
	}
}
