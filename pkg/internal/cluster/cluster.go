// Package cluster keeps one node among those that share a store.
//
// A node is alive while its counter in the store moves. No clock is compared with another: a node that has seen the
// counter of another stand still for TTL + grace, by its own monotonic clock, declares that node dead and takes over
// its tasks. A node that could not move its counter for TTL stops its own tasks, and has the grace for that. The others
// wait by the longest terms of all nodes.
//
// Nodes also tell each other, as hints, that a pool has a new rev. Hints may be lost: each node asks the store for the
// revs of its pools five times a second.
package cluster

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/internal/health"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// ErrNodeLost is the cause with which runs end that other nodes will take over.
var ErrNodeLost = errors.New("this node cannot tell the others that it is alive")

// Pool is what a node asks of each of its pools. Errors say that the pool is closing.
type Pool interface {
	// Name returns the pool's id.
	Name() string
	// Fingerprint returns a hash of the pool's settings, "" if there is none.
	Fingerprint() string
	// Rev returns the rev that the pool is at on this node.
	Rev() int64
	// Follow tells the pool that the store has its rev, which may be old news.
	Follow(rev int64)
	// Resume has the pool catch up with the store and start tasks again, after it was loaded again if reload is set.
	Resume(reload bool)
	// TakeOver requeues what ran on a dead node.
	TakeOver(dead string)
	// Nodes returns the nodes that tasks of the pool run on, as far as this node knows.
	Nodes(ctx context.Context) ([]string, error)
	// Executing returns how many runs of this node have not returned from their executors.
	Executing(ctx context.Context) (int, error)
	// Renamed tells the pool that the node has another name.
	Renamed(ctx context.Context) error
	// Abandoned reports whether runs were left behind when the pool was closed.
	Abandoned() bool
}

// Config is what a node is made of.
type Config struct {
	Env     *env.Env
	Log     *slog.Logger
	Health  *health.Stores
	Backend park.Backend // of Store
	Store   store.Shared
	Name    string        // of this run of the node; never used twice
	TTL     time.Duration // how long the node may fail to move its counter
	Grace   time.Duration // how much longer the others wait
	Quiet   bool          // neither give hints nor listen to them
}

// Node is this engine among those that share one store.
type Node struct {
	Config
	ctx   context.Context // ends with the engine
	pools []Pool

	name       atomic.Pointer[string]
	counted    atomic.Int64 // when the last heartbeat that counted began, monotonic; 0: never
	generation atomic.Pointer[generation]
	mute       atomic.Pointer[error] // why the last heartbeat failed; nil if it did not
	changed    chan struct{}         // a pool has a rev to announce
	joined     chan struct{}         // another node has come, or come back

	mu   sync.Mutex
	live map[string]store.NodeHeartbeat // the nodes that are not dead, by the last heartbeat

	heartbeats
}

// heartbeats is what only the heartbeat knows.
type heartbeats struct {
	everAlive  bool
	seen       map[string]observation
	complained time.Duration    // when it was last logged that heartbeats fail
	terms      store.NodeConfig // the longest of all nodes
	differ     bool             // whether any node lives by other terms

	fingerprints map[string]string // of the settings of the pools
	settings     string            // the fingerprints as the other nodes are told them
	unlike       map[string]string // by pool, the nodes whose settings differ
}

// generation is the time from one fence to the next: the context that every run of the node lives under.
type generation struct {
	ctx context.Context
	end context.CancelCauseFunc
}

// observation is when a node's counter was first seen to have its present value.
type observation struct {
	counter int64
	at      time.Duration
}

// New returns a node, which does nothing before Start. ctx ends with the engine.
func New(ctx context.Context, c Config) *Node {
	n := &Node{Config: c, ctx: ctx, changed: make(chan struct{}, 1), joined: make(chan struct{}, 1)}
	n.seen, n.unlike = make(map[string]observation), make(map[string]string)
	n.name.Store(&n.Config.Name)
	n.nextGeneration()
	return n
}

// Add gives the node a pool, before Start.
func (n *Node) Add(p Pool) { n.pools = append(n.pools, p) }

// Start sends the first heartbeat, and begins the node's background work in the group. Whatever fails is tried again.
func (n *Node) Start(g *env.Group) {
	n.heartbeat(n.ctx)
	g.Go(n.beat)
	g.Go(n.fence)
	g.Go(n.tend)
	g.Go(n.follow)
	g.Go(n.announce)
	if !n.Quiet {
		g.Go(n.listen)
	}
}

// Leave tells the other nodes not to wait for this one, unless runs may be left behind: those the others take over.
func (n *Node) Leave() {
	if n.counted.Load() == 0 {
		return
	}
	for _, p := range n.pools {
		if p.Abandoned() {
			return
		}
	}
	ctx, cancel := n.Env.WithTimeout(context.WithoutCancel(n.ctx), n.TTL/5, context.DeadlineExceeded)
	defer cancel()
	if err := n.Store.RemoveNode(ctx, n.Name()); err != nil {
		n.Log.Warn("not left", "error", err)
	}
}

// Name returns the node's name, which changes if the node is taken for dead.
func (n *Node) Name() string { return *n.name.Load() }

// Alive reports whether it is certain that the others take this node for alive.
func (n *Node) Alive() bool { return n.aliveFor() > 0 }

// aliveFor returns how long that is certain without another heartbeat.
func (n *Node) aliveFor() time.Duration {
	at := time.Duration(n.counted.Load())
	if at == 0 {
		return 0
	}
	return at + n.TTL - n.Env.Mono()
}

// SinceHeartbeat returns how long ago the last heartbeat began that counted.
func (n *Node) SinceHeartbeat() time.Duration {
	return n.Env.Mono() - time.Duration(n.counted.Load())
}

// Trouble returns why this node cannot work with the others just now, or nil.
func (n *Node) Trouble() error {
	if err := n.mute.Load(); err != nil {
		return *err
	}
	if !n.Alive() {
		return ErrNodeLost
	}
	return nil
}

// Unregistered reports whether the store cannot know a name of this node yet. Steps under that name would be refused as
// those of a dead node, or taken after all if they came so late that the name is known.
func (n *Node) Unregistered(name string) bool { return n.counted.Load() == 0 && name == n.Name() }

// Life returns the context that runs live under. It ends when the node cannot be sure to be alive.
func (n *Node) Life() context.Context { return n.generation.Load().ctx }

// First reports whether this is the one of the living nodes that does what one node is enough for. Two nodes may think
// so for a while.
func (n *Node) First() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	me := n.Name()
	for other := range n.live {
		if other < me {
			return false
		}
	}
	return true
}

// Members returns how many nodes were alive at the last heartbeat, this one included.
func (n *Node) Members() int { return len(n.living()) }

func (n *Node) living() map[string]store.NodeHeartbeat {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.live
}

// rest waits and returns false once the engine is closed.
func (n *Node) rest(d time.Duration) bool { return n.Env.Await(d, n.ctx.Done()) < 0 }
