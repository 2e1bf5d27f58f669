package engine

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/health"
	"github.com/parkd-dev/parkd/pkg/lot"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// Defaults of Config.
const (
	defaultNodeTTL   = 10 * time.Second
	defaultNodeGrace = 7 * time.Second
)

// node is this engine among those that share one store. It beats: it moves a counter in the store. Nobody compares
// clocks with anyone: who has seen another's counter stand still for TTL + grace, by its own monotonic clock, takes
// that node for dead and its tasks over. A node that could not beat for TTL stops its own tasks, and so grace is the
// time it has for that. The others go by the longest terms of all nodes.
type node struct {
	eng     *Engine
	backend park.Backend
	store   store.Shared
	pools   []*pool
	ttl     time.Duration
	grace   time.Duration

	id    atomic.Pointer[string]
	beat  atomic.Int64 // when the last beat that counted began, monotonic; 0: never
	base  atomic.Pointer[epoch]
	lived bool // it has beaten before; belongs to step, as seen does
	seen  map[string]sighting
	// when it last said that it cannot beat; belongs to step too
	complained time.Duration
	// See settings.go. These belong to step.
	fingerprints map[string]string // of the settings of its pools
	told         string            // them, as the others are told
	unlike       map[string]string // the nodes that differ in a pool, by the last beat

	mu     sync.Mutex
	live   map[string]store.Pulse // the nodes that are not dead, by the last beat
	news   chan struct{}          // a pool has something to announce
	joined chan struct{}          // another node has come, or come back
	terms  store.Terms            // the longest of all nodes, by the last beat; belongs to step
	differ bool                   // and whether any lives by others
	mute   atomic.Pointer[error]  // why the last beat failed; nil where it did not
}

// epoch is the time from one fence to the next: the context that every run of this node lives under.
type epoch struct {
	ctx context.Context
	end context.CancelCauseFunc
}

// sighting is when a node's counter was first seen to have its present value.
type sighting struct {
	counter int64
	at      time.Duration
}

// errNodeLost is the cause with which runs end that others will take over.
var errNodeLost = errors.New("this node cannot tell the others that it is alive")

func newNode(e *Engine, b park.Backend, s store.Shared) *node {
	n := &node{
		eng: e, backend: b, store: s, ttl: e.cfg.NodeTTL, grace: e.cfg.NodeGrace,
		seen: make(map[string]sighting), unlike: make(map[string]string), news: make(chan struct{}, 1), joined: make(chan struct{}, 1),
	}
	n.id.Store(&e.node)
	n.begin()
	return n
}

func (n *node) begin() {
	ctx, end := context.WithCancelCause(n.eng.ctx)
	n.base.Store(&epoch{ctx, end})
}

func (n *node) name() string { return *n.id.Load() }

// proved returns how long ago the last beat began that counted.
func (n *node) proved() time.Duration {
	return n.eng.env.Mono() - time.Duration(n.beat.Load())
}

// alive reports whether the others still take this node for alive, for certain.
func (n *node) alive() bool { return n.spare() > 0 }

// spare returns how long that is still certain without another beat.
func (n *node) spare() time.Duration {
	at := time.Duration(n.beat.Load())
	if at == 0 {
		return 0
	}
	return at + n.ttl - n.eng.env.Mono()
}

// trouble returns why this node cannot work with the others just now, or nil.
func (n *node) trouble() error {
	if err := n.mute.Load(); err != nil {
		return *err
	}
	if !n.alive() {
		return errNodeLost
	}
	return nil
}

// unheard reports whether the store cannot know a name of this node yet. Steps under it would be refused as those of a
// dead node, and taken nonetheless if they came late, when it is known.
func (n *node) unheard(name string) bool { return n.beat.Load() == 0 && name == n.name() }

// complainRest is how long a node that still cannot beat is silent about it.
const complainRest = 10 * time.Minute

// unbeaten notes that a beat failed. That is said when it begins, and rarely while it lasts.
func (n *node) unbeaten(err error) {
	n.eng.health.Failed(n.backend, health.Beat)
	now := n.eng.env.Mono()
	if n.mute.Swap(&err) == nil || now-n.complained >= complainRest {
		n.complained = now
		n.eng.log.Warn("not known to be alive", "error", err)
	}
}

func (n *node) beaten() {
	n.eng.health.Works(n.backend)
	if n.mute.Swap(nil) != nil {
		n.eng.log.Info("known to be alive again")
	}
}

// first reports whether of the living nodes this is the one that does what one is enough for. Two may think so for
// a while.
func (n *node) first() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	me := n.name()
	for other := range n.live {
		if other < me {
			return false
		}
	}
	return true
}

func (n *node) alone() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.live) < 2
}

// start begins to beat, follow and listen. Whatever fails is tried again.
func (n *node) start() {
	n.step(n.eng.ctx)
	n.eng.work.Go(n.beating)
	n.eng.work.Go(n.fencing)
	n.eng.work.Go(n.tending)
	n.eng.work.Go(n.following)
	n.eng.work.Go(n.announcing)
	if !n.eng.cfg.Quiet {
		n.eng.work.Go(n.listening)
	}
}

// leave tells the others not to wait for this node, unless something of it may be left: that they take over.
func (n *node) leave() {
	for _, p := range n.pools {
		if p.left > 0 {
			return
		}
	}
	ctx, cancel := n.eng.env.WithTimeout(context.WithoutCancel(n.eng.ctx), n.ttl/5, context.DeadlineExceeded)
	defer cancel()
	if err := n.store.Leave(ctx, n.name()); err != nil {
		n.eng.log.Warn("not left", "error", err)
	}
}

func (n *node) beating() {
	// More often than the others need, so that a beat may fail and the fence still falls in time.
	for n.eng.env.Await(min(n.ttl/10, beatRest), n.eng.ctx.Done(), n.joined) != 0 {
		n.step(n.eng.ctx)
	}
}

// beatRest bounds the time between two beats, and so how late a node goes on after an outage of the store.
const beatRest = time.Second

// fencing ends this node's runs the moment it has been silent for too long. It does so apart from the beats, which may
// hang; and it looks often, for timers stand still while the machine is suspended.
func (n *node) fencing() {
	for n.eng.rest(min(max(n.spare(), n.ttl/100), n.ttl/10)) {
		n.mu.Lock()
		if !n.alive() {
			n.base.Load().end(errNodeLost)
		}
		n.mu.Unlock()
	}
}

// step beats once, and looks after those who do not.
func (n *node) step(ctx context.Context) {
	began := n.eng.env.Mono()
	ctx, cancel := n.eng.env.WithTimeout(ctx, n.ttl/3, context.DeadlineExceeded)
	defer cancel()
	live, err := n.store.Beat(ctx, n.name(), n.own())
	switch {
	case errors.Is(err, store.ErrDead):
		n.eng.log.Warn("taken for dead by another node: beginning anew")
		n.mute.Store(nil)
		n.beat.Store(0)
		n.base.Load().end(errNodeLost)
		n.reborn()
		return
	case err != nil:
		n.unbeaten(err)
		return
	}
	n.beaten()
	n.mu.Lock()
	// By the beat before: one that came too late must not hide that runs have ended, or were not begun, meanwhile.
	lost := !n.alive()
	if lost {
		n.base.Load().end(errNodeLost)
		n.begin()
	}
	n.live = live
	n.beat.Store(int64(began) + 1) // 0 means never
	n.mu.Unlock()
	if lost {
		n.revive()
		n.lived = true
		n.greet(ctx)
	}
	n.bury(ctx, live)
	n.compare(live)
}

// tending takes over what runs on nodes that are not among the living: a node that died between a burial and a
// takeover must not be forgotten.
func (n *node) tending() {
	for n.eng.rest(n.ttl / 5) {
		running := n.running()
		since := n.eng.env.Mono()
		// A node beats before it starts anything. So by a beat that began later than the look at what runs, who runs
		// something and is not alive is dead.
		for time.Duration(n.beat.Load()) <= since {
			if !n.eng.rest(n.ttl / 20) {
				return
			}
		}
		n.mu.Lock()
		live := n.live
		n.mu.Unlock()
		for _, name := range running {
			if _, alive := live[name]; !alive {
				n.takeOver(name)
			}
		}
	}
}

// running returns the nodes that tasks run on, by what this node knows, in an order that chance has no part in.
func (n *node) running() []string {
	names := make(map[string]bool)
	for _, p := range n.pools {
		if p.Runtime.Leased() {
			continue // their workers live on
		}
		var found map[string][]string
		if p.ask(n.eng.ctx, func() { found = p.lot.Nodes() }) != nil {
			continue
		}
		for name := range found {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// bury marks as dead whose counter has stood still for too long.
func (n *node) bury(ctx context.Context, live map[string]store.Pulse) {
	terms := n.agreed(live)
	now, patience := n.eng.env.Mono(), terms.TTL+terms.Grace
	for name := range n.seen {
		if _, ok := live[name]; !ok {
			delete(n.seen, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(live)) {
		counter := live[name].Counter
		s, ok := n.seen[name]
		if !ok || s.counter != counter {
			n.seen[name] = sighting{counter, now}
			continue
		}
		if name == n.name() || now-s.at < patience {
			continue
		}
		buried, err := n.store.Bury(ctx, name, counter)
		if err != nil {
			n.eng.log.Error("dead node not buried", "dead", name, "error", err)
		}
		if buried {
			n.eng.log.Warn("node is dead: taking its tasks over", "dead", name)
			delete(n.seen, name)
			n.takeOver(name)
		}
	}
}

// takeOver requeues what ran on a dead node.
func (n *node) takeOver(dead string) {
	for _, p := range n.pools {
		if p.Runtime.Leased() {
			continue
		}
		p.post(&request{fresh: true, late: func() (ops []lot.Op) {
			for _, id := range slices.Backward(p.lot.Nodes()[dead]) {
				s, _, _ := p.lot.State(id)
				ops = append(ops, lot.Requeue{TaskID: id, Attempt: s.Attempt, Reason: park.ReasonNodeLost})
			}
			return ops
		}})
	}
}

// reborn gives the node another name, once nothing of its former life runs. What is only to be stored of that goes in
// under the new name, if no other node was faster.
func (n *node) reborn() {
	for _, p := range n.pools {
		for {
			left := 0
			if p.ask(n.eng.ctx, func() { left = p.executing() }) != nil {
				return
			}
			if left == 0 {
				break
			}
			if !n.eng.rest(rebirthRest) {
				return
			}
		}
	}
	id := n.eng.env.ID()
	n.id.Store(&id)
	for _, p := range n.pools {
		// Before this node is alive again: nothing may start under the old name.
		if p.ask(n.eng.ctx, func() { p.stale = true }) != nil {
			return
		}
	}
}

// rebirthRest is how long a node that was taken for dead waits between two looks for what it still runs.
const rebirthRest = 50 * time.Millisecond

// revive has the pools look for what happened meanwhile, and start tasks again.
func (n *node) revive() {
	for _, p := range n.pools {
		// What was loaded a moment before the first beat only lacks what has come since.
		p.post(&request{fresh: true, reload: n.lived})
	}
}
