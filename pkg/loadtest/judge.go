package loadtest

import (
	"strconv"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/replay"
)

// judge plays the audit log against the ledger.
type judge struct {
	ledger  *ledger
	probe   string
	when    func(rev int64) (time.Duration, bool) // a step was seen by the generator's clock
	pool    *replay.Pool
	lineup  *lineup
	waking  map[int]waking // runs of parked tasks that have not ended yet
	foreign map[string]struct{}

	offences   []string // the first few
	outOfOrder int
	lateStarts int // starts at or after the deadline
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

// waking is a run of a task that had been parked.
type waking struct {
	set   int64 // the rev that set it free
	audit time.Duration
}

// The promise about waking is about so long.
const promptly = time.Second

// toldOffences bounds how many offences are told in words.
const toldOffences = 10

func newJudge(l *ledger, probe string, limits replay.Limits, when func(int64) (time.Duration, bool)) *judge {
	j := &judge{
		ledger: l, probe: probe, when: when, pool: replay.New(limits), lineup: newLineup(),
		waking: map[int]waking{}, foreign: map[string]struct{}{},
		ends: map[park.Action]int{}, wake: newLatencies(), wakeAudit: newLatencies(),
	}
	j.lineup.resize(limits.MaxUnits)
	j.pool.KeepTimeline(800)
	return j
}

// apply plays the next event.
func (j *judge) apply(e *park.Event) {
	before := j.pool.State()
	if !j.firstStart.IsZero() {
		j.unitTime += float64(before.Used) * e.At.Sub(before.At.Time).Seconds()
	}
	if err := j.pool.Apply(*e); err != nil && len(j.offences) < toldOffences {
		j.offences = append(j.offences, err.Error())
	}
	i, own := j.ledger.number(e.TaskID)
	if !own {
		i = -1
		if e.TaskID != "" && e.TaskID != j.probe {
			j.foreign[e.TaskID] = struct{}{}
		}
	}
	j.task(e, i)
	after := j.pool.State()
	if after.Limits != before.Limits {
		j.lineup.resize(after.Limits.MaxUnits)
	}
	if after.Limits.State != park.Paused {
		j.lineup.settle(moment{e.Rev, e.At.Micro()}, after.Limits.MaxUnits-after.Used)
	}
}

// task plays what an event means for its task; i is its number, -1 where it is none of this run.
func (j *judge) task(e *park.Event, i int) {
	priority := park.Normal
	if i >= 0 {
		priority = j.ledger.entries[i].priority
	}
	switch {
	case e.Action == park.ActEnqueue:
		j.lineup.park(e.TaskID, priority, e.Units, false)
	case e.Action == park.ActRequeue:
		delete(j.waking, i)
		j.lineup.park(e.TaskID, priority, e.Units, true)
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
	}
}

// start judges the order of a start, its deadline, and what it says about waking.
func (j *judge) start(e *park.Event, i int, priority park.Priority) {
	if j.firstStart.IsZero() && e.TaskID != j.probe {
		j.firstStart = e.At
	}
	if !j.lineup.isNext(e.TaskID, priority) {
		j.outOfOrder++
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
	if entry.end != "" {
		j.endedTwice++
	} else {
		j.ends[e.Action]++
	}
	entry.end = e.Action
	j.lastEnd = e.At
	w, ok := j.waking[i]
	if !ok {
		return
	}
	delete(j.waking, i)
	seen, ok1 := j.when(e.Rev)
	set, ok2 := j.when(w.set)
	if !ok1 || !ok2 || (e.Action != park.ActComplete && e.Action != park.ActFail) {
		j.woken(w.audit)
		return
	}
	j.outside++
	j.woken(max(0, seen-time.Duration(entry.work)*time.Millisecond-set))
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
		if e := &j.ledger.entries[i]; e.answer == accepted && e.end == "" {
			n++
		}
	}
	return n
}

// unasked counts the tasks that ended although they were never accepted.
func (j *judge) unasked() int {
	n := 0
	for i := range j.ledger.entries {
		if e := &j.ledger.entries[i]; e.answer == rejected && e.end != "" {
			n++
		}
	}
	return n
}

// statusOf returns the status that an end gives a task.
func statusOf(a park.Action) park.Status {
	switch a {
	case park.ActComplete:
		return park.Completed
	case park.ActFail:
		return park.Failed
	case park.ActExpire:
		return park.Expired
	case park.ActCancel:
		return park.Dropped
	default:
		return ""
	}
}

// outcome returns what a message must say of a task, given how it ended; "" where anything goes.
func (e *entry) outcome(i int) (park.Status, string) {
	if e.end == park.ActComplete {
		return park.Completed, strconv.Itoa(i)
	}
	return statusOf(e.end), ""
}
