package loadtest

import (
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/park"
)

// judge plays the audit log against the ledger.
type judge struct {
	terms   terms
	ledger  *ledger
	found   *findings
	stream  *compared                             // nil where nothing was heard of one
	when    func(rev int64) (time.Duration, bool) // a step was seen by the generator's clock
	pool    *replay.Pool
	lineup  *lineup
	own     *lineup                  // of this run's tasks alone; nil where there can be no others
	waking  map[int]waking           // runs of parked tasks that have not ended yet
	stops   map[int]int64            // running tasks that were asked to stop, and when
	foreign map[string]park.Priority // tasks of others
	unknown int                      // of them, those whose submission the log does not have
	probed  int                      // events of the probe

	offences   []string  // the first few
	stepAt     park.Time // of the step under way, and of the one before it
	lastStep   park.Time
	outOfOrder int
	ownOrder   int // the same among this run's tasks
	lateStarts int // starts at or after the deadline
	unstopped  []int
	lost       int // runs that were lost with who did the work
	retries    int // runs that went wrong and were begun again behind the others
	requeued   int
	ends       map[park.Action]int // of this run's tasks
	endedTwice int
	unitTime   float64 // units in use × seconds
	firstStart park.Time
	lastEnd    park.Time

	wake      *latencies // by the generator's clock where possible
	wakeAudit *latencies // by the log alone
	within    int        // wakes of at most a second
	outside   int        // wakes by the generator's clock
}

// terms are what is known of a run besides its ledger.
type terms struct {
	probe   string
	pool    string
	limits  replay.Limits // before the run
	timeout time.Duration // of the pool, for tasks without a limit of their own; 0: none
	losses  bool          // daemons may have been lost: runs may be begun again
	shared  bool          // others may use the pool
	steady  bool          // nobody set the clock meanwhile
	idle    bool          // nothing was parked or running in it before the run
}

// waking is a run of a task that had been parked.
type waking struct {
	set   int64 // the rev that set it free
	audit time.Duration
}

// The promise about waking is about so long.
const promptly = time.Second

// The probe is submitted, starts and completes.
const probeEvents = 3

// toldOffences bounds how many offences are told in words.
const toldOffences = 10

func newJudge(l *ledger, f *findings, t terms, when func(int64) (time.Duration, bool)) *judge {
	j := &judge{
		terms: t, ledger: l, found: f, when: when, pool: replay.New(t.limits), lineup: newLineup(),
		waking: map[int]waking{}, stops: map[int]int64{}, foreign: map[string]park.Priority{},
		ends: map[park.Action]int{}, wake: newLatencies(), wakeAudit: newLatencies(),
	}
	if t.shared {
		j.own = newLineup()
	}
	j.resize(t.limits.MaxUnits)
	j.pool.KeepTimeline(800)
	return j
}

func (j *judge) resize(units int64) {
	j.lineup.resize(units)
	if j.own != nil {
		j.own.resize(units)
	}
}

// apply plays the next event.
func (j *judge) apply(e *park.Event) {
	before := j.pool.State()
	if !j.firstStart.IsZero() {
		j.unitTime += float64(before.Used) * e.At.Sub(before.At.Time).Seconds()
	}
	if e.Rev != before.Rev {
		j.lastStep, j.stepAt = j.stepAt, e.At
	}
	if err := j.pool.Apply(*e); err != nil && len(j.offences) < toldOffences {
		j.offences = append(j.offences, err.Error())
	}
	i, own := j.numberOf(e)
	if j.stream != nil {
		j.stream.hear(e, own)
	}
	j.task(e, i)
	if own {
		j.life(e, i)
	}
	after := j.pool.State()
	if after.Limits != before.Limits {
		j.resize(after.Limits.MaxUnits)
	}
	if after.Limits.State != park.Paused {
		j.lineup.settle(moment{e.Rev, e.At.Micro()}, after.Limits.MaxUnits-after.Used)
	}
}

// numberOf returns the number of an event's task, -1 and false where it is none of this run.
func (j *judge) numberOf(e *park.Event) (int, bool) {
	if i, own := j.ledger.number(e.TaskID); own {
		return i, true
	}
	switch {
	case e.TaskID == j.terms.probe && e.TaskID != "":
		j.probed++
	case e.Action == park.ActUpdate || e.Action == park.ActReject:
		j.aside(e)
	case e.TaskID != "":
		j.meet(e)
	}
	return -1, false
}

// meet notes a task of others, and its priority.
func (j *judge) meet(e *park.Event) {
	if _, known := j.foreign[e.TaskID]; known {
		return
	}
	p := park.Normal
	if d := toldBy(e); e.Action != park.ActSubmit || p.UnmarshalText([]byte(d.Priority)) != nil {
		j.unknown++
	}
	j.foreign[e.TaskID] = p
}

// task plays what an event means for the line; i is its task's number, -1 where it is none of this run.
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
		j.lineup.leave(e.TaskID)
		if i >= 0 {
			j.end(e, i)
		}
		if i >= 0 && j.own != nil {
			j.own.leave(e.TaskID)
		}
	}
}

// park puts a task into the line.
func (j *judge) park(e *park.Event, i int, p park.Priority, again bool) {
	j.lineup.park(e.TaskID, p, e.Units, again)
	if i >= 0 && j.own != nil {
		j.own.park(e.TaskID, p, e.Units, again)
	}
}

// start judges the order of a start, its deadline, and what it says about waking.
func (j *judge) start(e *park.Event, i int, priority park.Priority) {
	if j.firstStart.IsZero() && e.TaskID != j.terms.probe {
		j.firstStart = e.At
	}
	if !j.lineup.isNext(e.TaskID, priority) {
		j.outOfOrder++
	}
	if i >= 0 && j.own != nil {
		if !j.own.isNext(e.TaskID, priority) {
			j.ownOrder++
		}
		j.own.leave(e.TaskID)
	}
	if i >= 0 && e.Attempt == 1 {
		if deadline := j.ledger.entries[i].deadline; deadline != 0 && e.At.Micro() >= deadline {
			j.lateStarts++
		}
	}
	if j.lineup.parked[e.TaskID] == nil {
		return
	}
	owed, ok := j.lineup.leave(e.TaskID)
	if !ok {
		owed = moment{e.Rev, e.At.Micro()}
	}
	w := waking{set: owed.rev, audit: time.Duration(e.At.Micro()-owed.at) * time.Microsecond}
	j.wakeAudit.record(w.audit)
	if i < 0 {
		j.woken(w.audit)
		return
	}
	j.waking[i] = w
}

// end books how a task of this run ended, and how long its run took to begin.
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
	if e.Action == park.ActCancel { // it has shown no end of its own by which its begin could be told
		return
	}
	seen, ok1 := j.when(e.Rev)
	set, ok2 := j.when(w.set)
	if !ok1 || !ok2 || (e.Action != park.ActComplete && e.Action != park.ActFail) {
		j.woken(w.audit)
		return
	}
	j.outside++
	j.woken(max(0, seen-j.longest(entry)-set))
}

func (j *judge) woken(d time.Duration) {
	j.wake.record(d)
	if d <= promptly {
		j.within++
	}
}

// finish says that the log is over.
func (j *judge) finish() {
	if err := j.pool.Finish(); err != nil && len(j.offences) < toldOffences {
		j.offences = append(j.offences, err.Error())
	}
	for i, w := range j.waking {
		j.woken(w.audit)
		delete(j.waking, i)
	}
	if j.stream != nil {
		j.stream.finish()
		if j.probed < probeEvents {
			j.found.note(lostLog, "the log has %d of the %d events of the first task, %s", j.probed, probeEvents, j.terms.probe)
		}
	}
	j.unheard()
	for i := range j.ledger.entries {
		j.settled(i)
	}
}

// stranded counts the parked tasks of this run that have not started although the log ended: they never woke.
func (j *judge) stranded() int {
	n := 0
	for id := range j.lineup.parked {
		if _, own := j.ledger.number(id); own {
			n++
		}
	}
	return n
}

// missing counts the accepted tasks that the log shows no end of.
func (j *judge) missing() int {
	n := 0
	for i := range j.ledger.entries {
		if e := &j.ledger.entries[i]; e.answer == accepted && e.end == notEnded {
			n++
		}
	}
	return n
}

// unasked counts the tasks that the log has although nothing was taken.
func (j *judge) unasked() int {
	n := 0
	for i := range j.ledger.entries {
		e := &j.ledger.entries[i]
		if (e.is(taken) || e.end != notEnded) && (e.answer == rejected || e.answer == unanswered && !e.is(maybe)) {
			n++
		}
	}
	return n
}

// exact reports whether the log holds all that was parked and running, and in what order it should start.
func (j *judge) exact() bool {
	return j.unknown == 0 && j.terms.idle && j.pool.Summary().Adopted == 0 && j.retries == 0
}

// disorder returns how many starts were out of order, as far as that can be told: where there were tasks of others before
// the run, their place is not known.
func (j *judge) disorder() (n int, known bool) {
	switch {
	case j.retries > 0:
		return 0, false
	case j.own == nil || j.exact():
		return j.outOfOrder, true
	}
	return j.ownOrder, true
}
