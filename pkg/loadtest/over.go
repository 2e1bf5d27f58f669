package loadtest

// Checks of how tasks end.

import (
	"strconv"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// checkEnd records and judges the end of task number i.
func (j *judge) checkEnd(e *park.Event, i int) {
	t := &j.ledger.entries[i]
	reason := reasonOf(e)
	how := endingOf(e.Action, reason)
	if !how.allowsReason(reason) {
		j.findings.note(wrongEvent, "%s of task %s has the reason %q", e.Action, e.TaskID, reason)
	}
	t.end, t.ended = how, e.At.Micro()
	if why := j.objection(e, t, reason); why != "" {
		j.findings.note(wrongEnd, "%s of task %s in rev %d: %s", e.Action, e.TaskID, e.Rev, why)
	}
	if e.Attempt > 0 {
		j.checkRunTime(e, i)
	}
	delete(j.stops, i)
}

// objection returns why a task should not have ended like this; "" if it may.
func (j *judge) objection(e *park.Event, t *entry, reason string) string {
	limit, took := j.limit(t), ran(t)
	endless := limit > 0 && millisecs(t.work) >= 2*limit
	switch t.end {
	case completed, failed:
		switch {
		case t.is(cancelled):
			return "it was cancelled"
		case t.is(toFail) != (t.end == failed):
			return "it was asked for the opposite"
		case endless:
			return "its work is longer than its time limit of " + limit.String()
		}
	case timedOut:
		switch {
		case t.is(cancelled):
			return "it was cancelled"
		case limit == 0 || took < limit-limit/10:
			return "its time limit is " + limit.String() + ", and it ran for " + took.String()
		}
	case expired:
		due := park.FromMicro(t.deadline)
		switch {
		case t.is(cancelled):
			return "it was cancelled"
		case t.deadline == 0:
			return "it had no deadline"
		case e.At.Before(due.Time):
			return "its deadline was " + due.String()
		case j.lastStep.After(due.Add(expiryLatency)):
			return "its deadline was " + due.String() + ", and the pool had steps since"
		}
	case dropped:
		switch {
		case !t.is(cancelAsked):
			return "nobody cancelled it"
		case t.is(cancelRefused):
			return "its cancellation was refused, because it had ended"
		}
	case failedOddly:
		return "its reason is " + strconv.Quote(reason)
	case notEnded:
	}
	return ""
}

// limit returns the time limit of a task's runs; 0: none.
func (j *judge) limit(t *entry) time.Duration {
	if t.timeLimit > 0 {
		return time.Duration(t.timeLimit) * time.Second
	}
	return j.facts.timeout
}

// longest returns the longest expected run time of a task.
func (j *judge) longest(t *entry) time.Duration {
	if limit := j.limit(t); limit > 0 {
		return min(millisecs(t.work), limit)
	}
	return millisecs(t.work)
}

// ran returns how long the last run of a task took, by the log.
func ran(t *entry) time.Duration { return time.Duration(t.ended-t.startedAt) * time.Microsecond }

func millisecs(n int32) time.Duration { return time.Duration(n) * time.Millisecond }

// checkRunTime judges how long a run took.
func (j *judge) checkRunTime(e *park.Event, i int) {
	t := &j.ledger.entries[i]
	took, work := ran(t), millisecs(t.work)
	if (t.end == completed || t.end == failed) && j.facts.steady && tooShort(took, work) {
		j.findings.note(shortRun, "task %s ended after %s, its work takes %s", e.TaskID, took, work)
	}
	if most := j.longest(t); took > most+overrunLimit {
		j.findings.note(longRun, "task %s ran for %s, and should have for %s at most", e.TaskID, took, most)
	}
	since, asked := j.stops[i]
	stopped := time.Duration(t.ended-since) * time.Microsecond
	if !asked || stopped <= stopLatency || tooShort(took, work) {
		return
	}
	// It seems that it was not stopped, or its daemon was lost.
	j.ignoredStops = append(j.ignoredStops, i)
}

// checkStops judges the runs that went on after they were told to stop.
func (j *judge) checkStops() {
	for _, i := range j.ignoredStops {
		if t := &j.ledger.entries[i]; !j.facts.losses || j.lost == 0 {
			j.findings.note(longRun, "task %s%d was told to stop, and ran for %s, as long as its work takes", j.ledger.run, i, ran(t))
		}
	}
}

func tooShort(took, work time.Duration) bool {
	return took < time.Duration(minWorkShare*float64(work))-grain
}
