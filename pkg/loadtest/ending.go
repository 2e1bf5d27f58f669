package loadtest

import (
	"strconv"

	"github.com/parkd-dev/parkd/pkg/park"
)

// ending is how a task ended, according to the log.
type ending uint8

const (
	notEnded ending = iota
	completed
	failed   // as requested
	timedOut // its run took longer than it may
	expired
	dropped
	failedOddly // failed for a reason that nothing in the load can have
)

// reasonRequested is the reason of a simulated run that was asked to fail.
const reasonRequested = "simulated_failure"

// endingOf returns the ending of an event with a reason; notEnded if it is none.
func endingOf(a park.Action, reason string) ending {
	switch {
	case a == park.ActComplete:
		return completed
	case a == park.ActFail && reason == reasonRequested:
		return failed
	case a == park.ActFail && reason == park.ReasonTimeout:
		return timedOut
	case a == park.ActFail:
		return failedOddly
	case a == park.ActExpire:
		return expired
	case a == park.ActCancel:
		return dropped
	}
	return notEnded
}

// status returns the status of a task with this ending.
func (e ending) status() park.Status {
	switch e {
	case completed:
		return park.Completed
	case failed, timedOut, failedOddly:
		return park.Failed
	case expired:
		return park.Expired
	case dropped:
		return park.Dropped
	case notEnded:
	}
	return ""
}

// reason returns the reason of a task with this ending.
func (e ending) reason() string {
	switch e {
	case failed:
		return reasonRequested
	case timedOut:
		return park.ReasonTimeout
	case expired:
		return park.ReasonDeadlinePassed
	case dropped:
		return park.ReasonCancelled
	case notEnded, completed, failedOddly:
	}
	return ""
}

// allowsReason reports whether a task with this ending may have the reason.
func (e ending) allowsReason(reason string) bool { return e == failedOddly || reason == e.reason() }

// mayHaveResult reports whether task number i may have a result, given its ending. A run that was told to stop may have
// ended by itself first.
func (e *entry) mayHaveResult(i int, result []byte) bool {
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
