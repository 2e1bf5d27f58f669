package loadtest

import (
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/park"
)

// judge compares the audit log with the ledger.
type judge struct {
	facts     runFacts
	ledger    *ledger
	findings  *findings
	stream    *streamCheck                          // nil if there was none
	when      func(rev int64) (time.Duration, bool) // when a step was seen, by the generator's clock
	pool      *replay.Pool
	ideal     *idealPool
	ownLineup *idealPool               // with this run's tasks only; nil if there are no others
	waking    map[int]wakingRun        // current runs of tasks that were parked
	stops     map[int]int64            // when running tasks were asked to stop
	foreign   map[string]park.Priority // tasks of other runs
	unknown   int                      // those of them whose submission is not in the log
	probed    int                      // events of the probe

	offences     []string  // the first few
	stepAt       park.Time // of the step under way, and of the one before it
	lastStep     park.Time
	outOfOrder   int
	ownOrder     int // the same among this run's tasks
	lateStarts   int // starts at or after the deadline
	ignoredStops []int
	lost         int // runs whose daemon or worker was lost
	retries      int // runs that failed and were retried
	requeued     int
	ends         map[park.Action]int // of this run's tasks
	endedTwice   int
	unitTime     float64 // units in use × seconds
	firstStart   park.Time
	lastEnd      park.Time

	wake            *latencies // by the generator's clock if possible
	wakeAudit       *latencies // by the log only
	wokeInTime      int        // wakes of at most a second
	seenByGenerator int        // wakes by the generator's clock
}

// runFacts are facts about a run that are not in its ledger.
type runFacts struct {
	probe   string
	pool    string
	limits  replay.Limits // before the run
	timeout time.Duration // of the pool, for tasks without a limit of their own; 0: none
	losses  bool          // daemons may have been lost, so runs may be repeated
	shared  bool          // others may use the pool
	steady  bool          // the clock was not set meanwhile
	idle    bool          // nothing was parked or running before the run
}

// wakingRun is a run of a task that was parked.
type wakingRun struct {
	freedBy int64 // the rev that freed its units
	audit   time.Duration
}

// wakeLimit is the guaranteed wake time.
const wakeLimit = time.Second

// The probe is submitted, starts and completes.
const probeEvents = 3

// maxOffences bounds how many broken rules are described.
const maxOffences = 10

func newJudge(l *ledger, f *findings, t runFacts, when func(int64) (time.Duration, bool)) *judge {
	j := &judge{
		facts: t, ledger: l, findings: f, when: when, pool: replay.New(t.limits), ideal: newIdealPool(),
		waking: map[int]wakingRun{}, stops: map[int]int64{}, foreign: map[string]park.Priority{},
		ends: map[park.Action]int{}, wake: newLatencies(), wakeAudit: newLatencies(),
	}
	if t.shared {
		j.ownLineup = newIdealPool()
	}
	j.resize(t.limits.MaxUnits)
	j.pool.KeepTimeline(800)
	return j
}

func (j *judge) resize(units int64) {
	j.ideal.resize(units)
	if j.ownLineup != nil {
		j.ownLineup.resize(units)
	}
}

// apply applies the next event.
func (j *judge) apply(e *park.Event) {
	before := j.pool.State()
	if !j.firstStart.IsZero() {
		j.unitTime += float64(before.Used) * e.At.Sub(before.At.Time).Seconds()
	}
	if e.Rev != before.Rev {
		j.lastStep, j.stepAt = j.stepAt, e.At
	}
	if err := j.pool.Apply(*e); err != nil && len(j.offences) < maxOffences {
		j.offences = append(j.offences, err.Error())
	}
	i, own := j.numberOf(e)
	if j.stream != nil {
		j.stream.add(e, own)
	}
	j.task(e, i)
	if own {
		j.checkEvent(e, i)
	}
	after := j.pool.State()
	if after.Limits != before.Limits {
		j.resize(after.Limits.MaxUnits)
	}
	if after.Limits.State != park.Paused {
		j.ideal.reserveStarts(stepTime{e.Rev, e.At.Micro()}, after.Limits.MaxUnits-after.Used)
	}
}

// numberOf returns the number of an event's task; -1 and false if it is not of this run.
func (j *judge) numberOf(e *park.Event) (int, bool) {
	if i, own := j.ledger.number(e.TaskID); own {
		return i, true
	}
	switch {
	case e.TaskID == j.facts.probe && e.TaskID != "":
		j.probed++
	case e.Action == park.ActUpdate || e.Action == park.ActReject:
		j.applyOther(e)
	case e.TaskID != "":
		j.addForeign(e)
	}
	return -1, false
}

// addForeign records a task of another run, and its priority.
func (j *judge) addForeign(e *park.Event) {
	if _, known := j.foreign[e.TaskID]; known {
		return
	}
	p := park.Normal
	if d := detailOf(e); e.Action != park.ActSubmit || p.UnmarshalText([]byte(d.Priority)) != nil {
		j.unknown++
	}
	j.foreign[e.TaskID] = p
}

// task applies an event to the ideal pool; i is its task's number, -1 if it is not of this run.
func (j *judge) task(e *park.Event, i int) {
	priority := j.foreign[e.TaskID]
	if i >= 0 {
		priority = j.ledger.entries[i].priority
	}
	switch {
	case e.Action == park.ActEnqueue:
		j.park(e, i, priority, false)
	case e.Action == park.ActRequeue:
		delete(j.waking, i)
		lost := lostRun(reasonOf(e))
		if lost {
			j.lost++
		} else {
			j.retries++
		}
		j.park(e, i, priority, lost)
		if i >= 0 {
			j.requeued++
		}
	case e.Action == park.ActStart:
		j.start(e, i, priority)
	case ends(e.Action):
		j.ideal.leave(e.TaskID)
		if i >= 0 {
			j.end(e, i)
		}
		if i >= 0 && j.ownLineup != nil {
			j.ownLineup.leave(e.TaskID)
		}
	}
}

// park parks a task in the ideal pool.
func (j *judge) park(e *park.Event, i int, p park.Priority, again bool) {
	j.ideal.park(e.TaskID, p, e.Units, again)
	if i >= 0 && j.ownLineup != nil {
		j.ownLineup.park(e.TaskID, p, e.Units, again)
	}
}

// start judges the order and deadline of a start, and its wake time.
func (j *judge) start(e *park.Event, i int, priority park.Priority) {
	if j.firstStart.IsZero() && e.TaskID != j.facts.probe {
		j.firstStart = e.At
	}
	if !j.ideal.isNext(e.TaskID, priority) {
		j.outOfOrder++
	}
	if i >= 0 && j.ownLineup != nil {
		if !j.ownLineup.isNext(e.TaskID, priority) {
			j.ownOrder++
		}
		j.ownLineup.leave(e.TaskID)
	}
	if i >= 0 && e.Attempt == 1 {
		if deadline := j.ledger.entries[i].deadline; deadline != 0 && e.At.Micro() >= deadline {
			j.lateStarts++
		}
	}
	if j.ideal.parked[e.TaskID] == nil {
		return
	}
	owed, ok := j.ideal.leave(e.TaskID)
	if !ok {
		owed = stepTime{e.Rev, e.At.Micro()}
	}
	w := wakingRun{freedBy: owed.rev, audit: time.Duration(e.At.Micro()-owed.at) * time.Microsecond}
	j.wakeAudit.record(w.audit)
	if i < 0 {
		j.woken(w.audit)
		return
	}
	j.waking[i] = w
}

// end records the end of a task of this run, and the wake time of its run.
func (j *judge) end(e *park.Event, i int) {
	entry := &j.ledger.entries[i]
	if entry.end != notEnded {
		j.endedTwice++
	} else {
		j.ends[e.Action]++
	}
	j.lastEnd = e.At
	w, ok := j.waking[i]
	if !ok {
		return
	}
	delete(j.waking, i)
	if e.Action == park.ActCancel { // a cancelled run does not show when it began
		return
	}
	seen, ok1 := j.when(e.Rev)
	set, ok2 := j.when(w.freedBy)
	if !ok1 || !ok2 || (e.Action != park.ActComplete && e.Action != park.ActFail) {
		j.woken(w.audit)
		return
	}
	j.seenByGenerator++
	j.woken(max(0, seen-j.longest(entry)-set))
}

func (j *judge) woken(d time.Duration) {
	j.wake.record(d)
	if d <= wakeLimit {
		j.wokeInTime++
	}
}

// finish is called at the end of the log.
func (j *judge) finish() {
	if err := j.pool.Finish(); err != nil && len(j.offences) < maxOffences {
		j.offences = append(j.offences, err.Error())
	}
	for i, w := range j.waking {
		j.woken(w.audit)
		delete(j.waking, i)
	}
	if j.stream != nil {
		j.stream.finish()
		if j.probed < probeEvents {
			j.findings.note(lostLog, "the log has %d of the %d events of the first task, %s", j.probed, probeEvents, j.facts.probe)
		}
	}
	j.checkStops()
	for i := range j.ledger.entries {
		j.checkTask(i)
	}
}

// stranded counts the parked tasks of this run that had not started at the end of the log.
func (j *judge) stranded() int {
	n := 0
	for id := range j.ideal.parked {
		if _, own := j.ledger.number(id); own {
			n++
		}
	}
	return n
}

// missing counts the accepted tasks without an end in the log.
func (j *judge) missing() int {
	n := 0
	for i := range j.ledger.entries {
		if e := &j.ledger.entries[i]; e.answer == accepted && e.end == notEnded {
			n++
		}
	}
	return n
}

// neverAccepted counts the tasks in the log for which every answer was a refusal.
func (j *judge) neverAccepted() int {
	n := 0
	for i := range j.ledger.entries {
		e := &j.ledger.entries[i]
		if (e.is(logHasSubmission) || e.end != notEnded) && (e.answer == rejected || e.answer == unanswered && !e.is(mayBeAccepted)) {
			n++
		}
	}
	return n
}

// exact reports whether the log has everything that was parked and running, so that the order of starts is known.
func (j *judge) exact() bool {
	return j.unknown == 0 && j.facts.idle && j.pool.Summary().Adopted == 0 && j.retries == 0
}

// disorder returns how many starts were out of order, if that is known: the order of tasks from before the run is not.
func (j *judge) disorder() (n int, known bool) {
	switch {
	case j.retries > 0:
		return 0, false
	case j.ownLineup == nil || j.exact():
		return j.outOfOrder, true
	}
	return j.ownOrder, true
}
