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

// judge holds all that can be known of a history against what is promised: each step's events, rows and messages against
// each other and against what was asked for, each end against what really happened to the run, each answer against what
// the database held while it was worked out. It shares no code with the scheduler or the engine, and knows nothing of a
// history but its evidence.
type judge struct {
	scene
	now    time.Duration
	broken *Violation

	ledgers  map[string]*account
	asks     map[int]*ask
	outcomes map[run][]outcome
	wanted   map[place][]time.Duration // cancellations
	returns  map[place]bool            // leases given back, by the attempt
	patches  map[string][]park.PoolPatch
	nodes    map[string]*pulse
	stopped  map[uint64]stops // by life
	denied   map[place]int
	boxes    map[box][]*mailed
	events   []park.Event // in the order of their steps
	eventsAt []time.Duration
	granted  map[string]bool // leases that were handed out
	back     time.Duration   // when the database was put back last; negative: never
}

// scene is what of a history's plan the judge has to know.
type scene struct {
	pools []park.PoolSpec
	alone bool // one node, on a file
	// steps says that wall clocks are set, and rated that clocks run at different speeds.
	steps, rated bool
}

// place names a task, and an attempt at it where that matters.
type place struct {
	pool, id string
	attempt  int
}

// ask is a submission, which may be offered any number of times.
type ask struct {
	offered
	since time.Duration // of the first offer
	count int
	tales int // lives so far
	// denied is how often an engine said that nothing was accepted.
	denied  int
	invalid bool
}

// pulse is what is known of a node's life.
type pulse struct {
	store.Terms
	sent, counted time.Duration
	gap           time.Duration // true time of the end of the last silence that was long enough to stop its runs
	buried, left  bool
}

// account is a pool as its steps lead to it.
type account struct {
	spec  park.PoolSpec
	began replay.Limits // those before its first step
	log   *replay.Pool
	line  *queue
	tales map[string]*tale   // by id, the present ones
	past  map[string][]*tale // all of them
	rows  []rowSince
	asked map[string][]*ask
	// refused are the submissions that were.
	refused []refusal
	limits  []limitsSince
	posts   []park.Message // of the step that is being taken
	before  rowSince       // the row before it
	sent    time.Duration

	mostParked int
}

// limitsSince is what a pool's limits were from a time on, also within a step.
type limitsSince struct {
	at time.Duration
	replay.Limits
}

type rowSince struct {
	at  time.Duration
	row ledger.Pool
}

func newJudge(s scene) *judge {
	j := &judge{
		scene: s, asks: make(map[int]*ask), outcomes: make(map[run][]outcome), wanted: make(map[place][]time.Duration),
		returns: make(map[place]bool), patches: make(map[string][]park.PoolPatch), nodes: make(map[string]*pulse),
		stopped: make(map[uint64]stops), denied: make(map[place]int), granted: make(map[string]bool), back: -1,
	}
	j.begin()
	return j
}

// begin is with an empty database.
func (j *judge) begin() {
	j.boxes, j.events, j.eventsAt = make(map[box][]*mailed), nil, nil
	known := j.ledgers
	j.ledgers = make(map[string]*account)
	for _, s := range j.pools {
		asked := make(map[string][]*ask)
		if l := known[s.ID]; l != nil {
			asked = l.asked // what was asked for was asked for
		}
		began := replay.Limits{MaxUnits: s.MaxUnits, MaxQueueDepth: s.MaxQueueDepth, State: park.Active}
		j.ledgers[s.ID] = &account{spec: s, began: began, log: replay.New(began), line: newQueue(), tales: make(map[string]*tale), past: make(map[string][]*tale), asked: asked}
	}
	for _, a := range j.asks {
		a.tales = 0
	}
}

// fail notes a broken promise, the first of all.
func (j *judge) fail(promise, format string, args ...any) {
	if j.broken == nil {
		j.broken = &Violation{Promise: promise, At: j.now, Detail: fmt.Sprintf(format, args...)}
	}
}

// take judges a piece of evidence.
func (j *judge) take(e evidence) {
	if j.broken != nil {
		return
	}
	j.now = e.at
	switch w := e.what.(type) {
	case offered:
		j.offer(w)
	case cancels:
		k := place{w.pool, w.id, 0}
		j.wanted[k] = append(j.wanted[k], e.at)
	case patched:
		j.patches[w.pool] = append(j.patches[w.pool], w.patch)
	case outcome:
		r := run{w.job, w.attempt}
		j.outcomes[r] = append(j.outcomes[r], w)
	case givenBack:
		j.returns[place{w.pool, w.task, w.attempt}] = true
	case step:
		j.step(w)
	case posted:
		j.post(w.Message)
	case stray:
		j.fail("one step", "%s", w.text)
	case trimmed:
		for _, m := range j.boxes[w.box] {
			if m.number == w.number {
				m.gone = e.at
			}
		}
	case pruned:
		j.prune(w)
	case putBack:
		j.back = e.at
		j.begin()
	case answer:
		j.answer(w)
	case shown:
		j.show(w)
	default:
		j.life(e.what)
	}
}

// life takes note of what is known of nodes.
func (j *judge) life(what any) {
	switch w := what.(type) {
	case beat:
		n := j.node(w.node)
		if j.now-n.sent >= j.fence(n) { // until now it knew of no later one
			n.gap = j.now
		}
		n.sent = max(n.sent, w.sent)
	case counted:
		n := j.node(w.node)
		n.Terms, n.counted = w.Terms, j.now
	case buried:
		n := j.node(w.node)
		// A sign of life that comes after its farewell is one of nobody.
		if quiet := j.now - n.counted; !n.left && quiet < j.short(n.TTL+n.Grace) {
			j.fail("node loss", "node %s was taken for dead %s after a sign of life, and lives by %s and %s", w.node, quiet, n.TTL, n.Grace)
		}
		n.buried = true
	case left:
		j.node(w.node).left = true
	case stops:
		s := j.stopped[w.life]
		j.stopped[w.life] = stops{w.life, s.killed || w.killed}
	default:
		panic(fmt.Sprintf("sim: nobody judges a %T", what))
	}
}

func (j *judge) node(name string) *pulse {
	n := j.nodes[name]
	if n == nil {
		n = &pulse{sent: j.now, gap: -1}
		j.nodes[name] = n
	}
	return n
}

// short is d by the fastest clock against the slowest.
func (j *judge) short(d time.Duration) time.Duration { return d - d/40 }

// drift is by how much two wall clocks may differ that nobody has set.
func (j *judge) drift() time.Duration {
	if j.rated {
		return j.now/40 + time.Millisecond
	}
	return time.Millisecond
}

// silent reports whether a node could not show for a while since then that it is alive.
func (j *judge) silent(name string, since time.Duration) bool {
	n := j.nodes[name]
	return n == nil || n.buried || n.left || n.gap >= since || j.now-n.sent >= j.fence(n)
}

// fence is for how long a node may be silent before its commands end by themselves. A shim hears of a sign of life a while
// after its daemon.
func (j *judge) fence(n *pulse) time.Duration {
	d := fenceOf(n.TTL)
	return j.short(d - signs(d))
}

// lifeOf returns the number of the daemon that has a name.
func lifeOf(node string) uint64 {
	first, _, _ := strings.Cut(node, "-")
	n, _ := strconv.ParseUint(first, 10, 64)
	return n
}

func (j *judge) offer(w offered) {
	a := j.asks[w.job]
	if a == nil {
		a = &ask{offered: w, since: j.now, invalid: w.bad || w.work.Odd == toxic}
		j.asks[w.job] = a
	}
	if a.sub.TaskID == "" {
		a.sub.TaskID = w.sub.TaskID
	}
	a.count++
	if l, id := j.ledgers[a.pool], a.sub.TaskID; id != "" && !slices.Contains(l.asked[id], a) {
		l.asked[id] = append(l.asked[id], a)
	}
}

// prune forgets a task that has ended.
func (j *judge) prune(w pruned) {
	l := j.ledgers[w.pool]
	t := l.tales[w.id]
	if t == nil || t.end == "" {
		j.fail("retention", "task %s of pool %s was removed, which has not ended", w.id, w.pool)
		return
	}
	t.gone = j.now
	delete(l.tales, w.id)
}

// finish judges what has to be so when all is over.
func (j *judge) finish(at time.Duration) {
	j.now = at
	for _, id := range slices.Sorted(maps.Keys(j.ledgers)) {
		l := j.ledgers[id]
		if err := l.log.Finish(); err != nil {
			j.fail("replay", "%v", err)
		}
		if s := l.log.State(); s.Used != 0 || s.Queued != 0 {
			j.fail("liveness", "pool %s still has %d units in use and %d parked", id, s.Used, s.Queued)
		}
		for _, t := range slices.Sorted(maps.Keys(l.tales)) {
			if l.tales[t].end == "" {
				j.fail("liveness", "task %s of pool %s has no end", t, id)
			}
		}
	}
	if j.back < 0 {
		j.lies()
	}
}

// lies looks for what was done though nobody was told anything else than that it was not.
func (j *judge) lies() {
	for _, n := range slices.Sorted(maps.Keys(j.asks)) {
		if a := j.asks[n]; a.denied == a.count && a.tales > 0 {
			j.fail("denied", "of task %s was said %d times that it was not accepted, and nothing else, but it was", a.sub.TaskID, a.denied)
		}
	}
	for k, n := range j.denied {
		for _, t := range j.ledgers[k.pool].past[k.id] {
			if n == len(j.wanted[k]) && (t.end == park.ActCancel || t.state.Cancelled) {
				j.fail("denied", "of task %s was said %d times that it was not cancelled, and nothing else, but it was", k.id, n)
			}
		}
	}
}
