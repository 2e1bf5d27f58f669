package loadtest

import (
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/park"
)

// trial is a judge and its log. Each step is 100 ms after the one before.
type trial struct {
	j    *judge
	rev  int64
	seen map[int64]time.Duration
}

func newTrial(work ...int) *trial {
	t := &trial{seen: map[int64]time.Duration{}}
	l := newLedger("lt-")
	for _, ms := range work {
		l.offer(&job{units: 6, work: time.Duration(ms) * time.Millisecond})
		l.answered(len(l.entries)-1, &park.SubmitResult{})
	}
	when := func(rev int64) (time.Duration, bool) { d, ok := t.seen[rev]; return d, ok }
	about := runFacts{probe: "lt-probe", pool: "load", limits: replay.Limits{MaxUnits: 10, MaxQueueDepth: 10}, idle: true, steady: true}
	t.j = newJudge(l, &findings{}, about, when)
	return t
}

func (t *trial) at(rev int64) time.Duration { return time.Duration(rev) * 100 * time.Millisecond }

func (t *trial) step(events ...park.Event) {
	t.rev++
	t.seen[t.rev] = t.at(t.rev)
	for i, e := range events {
		e.PoolID, e.Rev, e.Ord = "load", t.rev, i
		e.EventID = park.EventID(e.PoolID, e.Rev, e.Ord)
		e.At = park.At(time.Unix(1000, 0).Add(t.at(t.rev)))
		t.j.apply(&e)
	}
}

func event(a park.Action, id string, units int64, attempt int) park.Event {
	return park.Event{Action: a, TaskID: id, Units: units, Attempt: attempt}
}

func parked(id string) []park.Event {
	return []park.Event{event(park.ActSubmit, id, 6, 0), event(park.ActEnqueue, id, 6, 0)}
}

func started(id string) []park.Event {
	return []park.Event{event(park.ActSubmit, id, 6, 0), event(park.ActStart, id, 6, 1)}
}

func TestJudgeWakes(t *testing.T) {
	tr := newTrial(100, 30, 30)
	tr.step(started("lt-0")...)
	tr.step(parked("lt-1")...)
	tr.step(parked("lt-2")...)
	tr.step(event(park.ActComplete, "lt-0", 6, 1), event(park.ActStart, "lt-1", 6, 1)) // at once, in the log
	tr.step(event(park.ActComplete, "lt-1", 6, 1))                                     // 100 ms later, and it ran for 30: 70 ms to begin
	tr.step(event(park.ActStart, "lt-2", 6, 1))
	tr.step(event(park.ActComplete, "lt-2", 6, 1)) // 200 ms after its units came free: 170 ms
	tr.j.finish()
	if len(tr.j.offences) > 0 || tr.j.seenByGenerator != 2 || tr.j.missing() != 0 || tr.j.stranded() != 0 {
		t.Errorf("offences %q, %d seen, %d missing", tr.j.offences, tr.j.seenByGenerator, tr.j.missing())
	}
	near(t, "shorter wake", tr.j.wake.quantiles().P50, 70, 0.2)
	near(t, "longer wake", tr.j.wake.quantiles().Max, 170, 0.4)
	near(t, "longer wake in the log", tr.j.wakeAudit.quantiles().Max, 100, 0.2)
	near(t, "unit time", tr.j.unitTime, 6*0.5, 1e-9)
}

func TestJudgeFallsBackToTheLog(t *testing.T) {
	tr := newTrial(100, 30)
	tr.step(started("lt-0")...)
	tr.step(parked("lt-1")...)
	tr.step(event(park.ActComplete, "lt-0", 6, 1))
	delete(tr.seen, 3) // the stream was broken
	tr.step(event(park.ActStart, "lt-1", 6, 1))
	tr.step(event(park.ActComplete, "lt-1", 6, 1))
	if tr.j.seenByGenerator != 0 || tr.j.wokeInTime != 1 {
		t.Errorf("%d seen, %d within", tr.j.seenByGenerator, tr.j.wokeInTime)
	}
	near(t, "wake", tr.j.wake.quantiles().Max, 100, 0.2)
}

func TestJudgeOfARestart(t *testing.T) {
	tr := newTrial(100, 30)
	tr.step(started("lt-0")...)
	tr.step(parked("lt-1")...)
	lost := event(park.ActRequeue, "lt-0", 6, 1)
	lost.Detail = []byte(`{"reason":"node_lost"}`)
	tr.step(lost, event(park.ActStart, "lt-0", 6, 2))
	tr.step(event(park.ActComplete, "lt-0", 6, 2), event(park.ActStart, "lt-1", 6, 1))
	tr.step(event(park.ActComplete, "lt-1", 6, 1))
	tr.j.finish()
	if len(tr.j.offences) > 0 || tr.j.outOfOrder != 0 || tr.j.requeued != 1 || tr.j.ends[park.ActComplete] != 2 {
		t.Errorf("offences %q, %d out of order, %d requeued, ends %v", tr.j.offences, tr.j.outOfOrder, tr.j.requeued, tr.j.ends)
	}
}

func TestJudgeFindsWhatIsWrong(t *testing.T) {
	tr := newTrial(10, 10, 10, 10)
	tr.j.ledger.setDeadline(1, park.At(time.Unix(1000, 0).Add(tr.at(4))))
	tr.step(started("lt-0")...)
	tr.step(parked("lt-1")...)
	tr.step(parked("lt-2")...)
	tr.step(event(park.ActComplete, "lt-0", 6, 1), event(park.ActStart, "lt-1", 6, 1)) // at its deadline
	tr.step(event(park.ActComplete, "lt-1", 6, 1))
	tr.step(event(park.ActComplete, "lt-1", 6, 1))
	tr.j.finish()
	if tr.j.lateStarts != 1 || tr.j.endedTwice != 1 || tr.j.missing() != 2 || tr.j.stranded() != 1 || len(tr.j.offences) != 1 {
		t.Errorf("%d late, %d ended twice, %d missing, %d stranded, offences %q",
			tr.j.lateStarts, tr.j.endedTwice, tr.j.missing(), tr.j.stranded(), tr.j.offences)
	}
}

func TestJudgeForgivesAPausedPool(t *testing.T) {
	tr := newTrial(10, 10)
	tr.step(started("lt-0")...)
	tr.step(parked("lt-1")...)
	tr.step(park.Event{Action: park.ActUpdate, Detail: []byte(`{"state":{"from":"active","to":"paused"}}`)})
	tr.step(event(park.ActComplete, "lt-0", 6, 1))
	tr.step(park.Event{Action: park.ActUpdate, Detail: []byte(`{"state":{"from":"paused","to":"active"}}`)}, event(park.ActStart, "lt-1", 6, 1))
	if len(tr.j.offences) > 0 || tr.j.wakeAudit.quantiles().Max != 0 {
		t.Errorf("offences %q, wakes %+v", tr.j.offences, tr.j.wakeAudit.quantiles())
	}
}

func TestJudgeTellsTasksOfOthers(t *testing.T) {
	tr := newTrial(10)
	tr.step(started("lt-probe")...)
	tr.step(event(park.ActComplete, "lt-probe", 6, 1))
	tr.step(started("theirs")...)
	tr.step(event(park.ActComplete, "theirs", 6, 1))
	tr.step(started("lt-7")...) // a number that no task has
	if len(tr.j.foreign) != 2 || tr.j.ends[park.ActComplete] != 0 {
		t.Errorf("foreign %v, ends %v", tr.j.foreign, tr.j.ends)
	}
}
