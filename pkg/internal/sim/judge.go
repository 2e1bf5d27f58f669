package sim

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// judge checks everything that is known of a history against the guarantees: each step's events, rows and messages
// against each other and against the requests, each outcome against what happened to the run, each answer against the
// database at that time. It shares no code with the scheduler or the engine, and knows only the evidence.
type judge struct {
	setup
	now    time.Duration
	broken *Violation

	records        map[string]*poolRecord
	jobs           map[int]*jobRecord
	outcomes       map[run][]outcome
	cancelRequests map[attemptKey][]time.Duration // requests, by task
	releases       map[attemptKey]bool            // released leases, by attempt
	patches        map[string][]park.PoolPatch
	nodes          map[string]*nodeRecord
	stoppedDaemons map[uint64]daemonStopped // by process
	denied         map[attemptKey]int
	mailboxes      map[mailbox][]*judgedMessage
	events         []park.Event // in the order of their steps
	eventsAt       []time.Duration
	granted        map[string]bool // leases that were granted
	restoredAt     time.Duration   // when the database was last restored; negative: never
}

// setup is the part of a history's plan that the judge needs.
type setup struct {
	pools      []park.PoolSpec
	singleNode bool // one node, on a file
	// clockSteps: wall clocks are stepped. clockRates: clocks run at different speeds.
	clockSteps, clockRates bool
}

// attemptKey identifies a task, or an attempt of it.
type attemptKey struct {
	pool, id string
	attempt  int
}

// jobRecord is a submission, which may be sent any number of times.
type jobRecord struct {
	submitted
	since time.Duration // of the first submission
	count int
	lives int // number of tasks so far
	// denied counts the answers that nothing was accepted.
	denied  int
	invalid bool
}

// nodeRecord is what is known of a node.
type nodeRecord struct {
	store.NodeConfig
	sent, counted time.Duration
	gap           time.Duration // true time of the end of the last gap between heartbeats that was long enough to stop its runs
	buried, left  bool
}

// poolRecord is the state of a pool according to its steps.
type poolRecord struct {
	spec  park.PoolSpec
	began replay.Limits // the limits before its first step
	log   *replay.Pool
	queue *queue
	tasks map[string]*taskLife   // by id, the current ones
	past  map[string][]*taskLife // all of them, by id
	rows  []rowAt
	jobs  map[string][]*jobRecord
	// refused submissions
	refused []refusal
	limits  []limitsAt
	posts   []park.Message // messages of the current step
	before  rowAt          // the row before it
	sent    time.Duration

	mostParked int
}

// limitsAt are a pool's limits from a time on, also within a step.
type limitsAt struct {
	at time.Duration
	replay.Limits
}

type rowAt struct {
	at  time.Duration
	row ledger.Pool
}

func newJudge(s setup) *judge {
	j := &judge{
		setup: s, jobs: make(map[int]*jobRecord), outcomes: make(map[run][]outcome), cancelRequests: make(map[attemptKey][]time.Duration),
		releases: make(map[attemptKey]bool), patches: make(map[string][]park.PoolPatch), nodes: make(map[string]*nodeRecord),
		stoppedDaemons: make(map[uint64]daemonStopped), denied: make(map[attemptKey]int), granted: make(map[string]bool), restoredAt: -1,
	}
	j.begin()
	return j
}

// begin starts with an empty database.
func (j *judge) begin() {
	j.mailboxes, j.events, j.eventsAt = make(map[mailbox][]*judgedMessage), nil, nil
	known := j.records
	j.records = make(map[string]*poolRecord)
	for _, s := range j.setup.pools {
		asked := make(map[string][]*jobRecord)
		if l := known[s.ID]; l != nil {
			asked = l.jobs // requests are not lost with the database
		}
		began := replay.Limits{MaxUnits: s.MaxUnits, MaxQueueDepth: s.MaxQueueDepth, State: park.Active}
		j.records[s.ID] = &poolRecord{spec: s, began: began, log: replay.New(began), queue: newQueue(), tasks: make(map[string]*taskLife), past: make(map[string][]*taskLife), jobs: asked}
	}
	for _, a := range j.jobs {
		a.lives = 0
	}
}

// fail records the first broken guarantee.
func (j *judge) fail(promise, format string, args ...any) {
	if j.broken == nil {
		j.broken = &Violation{Promise: promise, At: j.now, Detail: fmt.Sprintf(format, args...)}
	}
}

// consider judges one item of evidence.
func (j *judge) consider(e evidence) {
	if j.broken != nil {
		return
	}
	j.now = e.at
	switch w := e.what.(type) {
	case submitted:
		j.addSubmission(w)
	case cancelRequest:
		k := attemptKey{w.pool, w.id, 0}
		j.cancelRequests[k] = append(j.cancelRequests[k], e.at)
	case poolPatch:
		j.patches[w.pool] = append(j.patches[w.pool], w.patch)
	case outcome:
		r := run{w.job, w.attempt}
		j.outcomes[r] = append(j.outcomes[r], w)
	case leaseReleased:
		j.releases[attemptKey{w.pool, w.task, w.attempt}] = true
	case step:
		j.step(w)
	case messageStored:
		j.addMessage(w.Message)
	case stray:
		j.fail("one step", "%s", w.text)
	case trimmed:
		for _, m := range j.mailboxes[w.mailbox] {
			if m.number == w.number {
				m.removedAt = e.at
			}
		}
	case pruned:
		j.prune(w)
	case restored:
		j.restoredAt = e.at
		j.begin()
	case answer:
		j.answer(w)
	case finalPool:
		j.checkFinal(w)
	default:
		j.nodeEvent(e.what)
	}
}

// nodeEvent records an event of a node.
func (j *judge) nodeEvent(what any) {
	switch w := what.(type) {
	case heartbeatAcked:
		n := j.node(w.node)
		if j.now-n.sent >= j.fence(n) { // before this it knew of no later heartbeat
			n.gap = j.now
		}
		n.sent = max(n.sent, w.sent)
	case heartbeatStored:
		n := j.node(w.node)
		n.NodeConfig, n.counted = w.NodeConfig, j.now
	case buried:
		n := j.node(w.node)
		// A heartbeat after the node has left does not count.
		if quiet := j.now - n.counted; !n.left && quiet < j.shortest(n.TTL+n.Grace) {
			j.fail("node loss", "node %s was taken for dead %s after a sign of life, and lives by %s and %s", w.node, quiet, n.TTL, n.Grace)
		}
		n.buried = true
	case nodeLeft:
		j.node(w.node).left = true
	case daemonStopped:
		s := j.stoppedDaemons[w.daemon]
		j.stoppedDaemons[w.daemon] = daemonStopped{w.daemon, s.killed || w.killed}
	default:
		panic(fmt.Sprintf("sim: nobody judges a %T", what))
	}
}

func (j *judge) node(name string) *nodeRecord {
	n := j.nodes[name]
	if n == nil {
		n = &nodeRecord{sent: j.now, gap: -1}
		j.nodes[name] = n
	}
	return n
}

// shortest returns d as measured by the fastest clock against the slowest.
func (j *judge) shortest(d time.Duration) time.Duration { return d - d/40 }

// drift is the largest difference between two wall clocks that were not stepped.
func (j *judge) drift() time.Duration {
	if j.clockRates {
		return j.now/40 + time.Millisecond
	}
	return time.Millisecond
}

// wasSilent reports whether, at some time since, a node could not be seen to be alive.
func (j *judge) wasSilent(name string, since time.Duration) bool {
	n := j.nodes[name]
	return n == nil || n.buried || n.left || n.gap >= since || j.now-n.sent >= j.fence(n)
}

// fence is how long a node may be silent before its commands end by themselves. A shim gets a heartbeat somewhat later
// than its daemon.
func (j *judge) fence(n *nodeRecord) time.Duration {
	d := fenceOf(n.TTL)
	return j.shortest(d - aliveInterval(d))
}

// lifeOf returns the number of the process with a node's name.
func lifeOf(node string) uint64 {
	first, _, _ := strings.Cut(node, "-")
	n, _ := strconv.ParseUint(first, 10, 64)
	return n
}

func (j *judge) addSubmission(w submitted) {
	a := j.jobs[w.job]
	if a == nil {
		a = &jobRecord{submitted: w, since: j.now, invalid: w.bad || w.work.Odd == toxic}
		j.jobs[w.job] = a
	}
	if a.sub.TaskID == "" {
		a.sub.TaskID = w.sub.TaskID
	}
	a.count++
	if l, id := j.records[a.pool], a.sub.TaskID; id != "" && !slices.Contains(l.jobs[id], a) {
		l.jobs[id] = append(l.jobs[id], a)
	}
}

// prune removes an ended task.
func (j *judge) prune(w pruned) {
	l := j.records[w.pool]
	t := l.tasks[w.id]
	if t == nil || t.end == "" {
		j.fail("retention", "task %s of pool %s was removed, which has not ended", w.id, w.pool)
		return
	}
	t.removedAt = j.now
	delete(l.tasks, w.id)
}

// finish judges the final state.
func (j *judge) finish(at time.Duration) {
	j.now = at
	for _, id := range slices.Sorted(maps.Keys(j.records)) {
		l := j.records[id]
		if err := l.log.Finish(); err != nil {
			j.fail("replay", "%v", err)
		}
		if s := l.log.State(); s.Used != 0 || s.Queued != 0 {
			j.fail("liveness", "pool %s still has %d units in use and %d parked", id, s.Used, s.Queued)
		}
		for _, t := range slices.Sorted(maps.Keys(l.tasks)) {
			if l.tasks[t].end == "" {
				j.fail("liveness", "task %s of pool %s has no end", t, id)
			}
		}
	}
	if j.restoredAt < 0 {
		j.checkDenials()
	}
}

// checkDenials finds requests that took effect although every answer said that they did not.
func (j *judge) checkDenials() {
	for _, n := range slices.Sorted(maps.Keys(j.jobs)) {
		if a := j.jobs[n]; a.denied == a.count && a.lives > 0 {
			j.fail("denied", "of task %s was said %d times that it was not accepted, and nothing else, but it was", a.sub.TaskID, a.denied)
		}
	}
	for k, n := range j.denied {
		for _, t := range j.records[k.pool].past[k.id] {
			if n == len(j.cancelRequests[k]) && (t.end == park.ActCancel || t.state.Cancelled) {
				j.fail("denied", "of task %s was said %d times that it was not cancelled, and nothing else, but it was", k.id, n)
			}
		}
	}
}
