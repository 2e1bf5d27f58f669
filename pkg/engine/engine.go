// Package engine runs lots: it is the [park.Service] in process.
//
// Each pool has one goroutine that owns its lot. Requests of all kinds become operations for it; it takes all
// that wait, lets the lot decide, commits the step, and only then answers the callers and starts what is to
// start. So many operations share one commit the moment there are many, and one waits for nobody. There is
// no other lock on a pool's state, no wake-up between pools, and no poll where an event exists.
//
//	request ─┐
//	request ─┼─▶ lot.Apply ─▶ store.Commit ─▶ answer, start, wake those who wait
//	timer  ──┘        ▲             │
//	                  └─ rollback ──┘ conflict: merge what another node did, decide again
//
// Where the mailbox or the audit log is in another store than the queue, the step carries a parcel, and a
// relay delivers it until the other store has it.
package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/cluster"
	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/internal/health"
	"github.com/parkd-dev/parkd/pkg/internal/relay"
	"github.com/parkd-dev/parkd/pkg/internal/topic"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// Config is what an engine is made from. Pools is needed, and either Store or Stores.
type Config struct {
	// Node names this run of the engine; by default a random id. It must never be used twice.
	Node  string
	Pools []Pool
	// Store keeps everything, if there is one store for all; pools then name no backends. The engine does not close it.
	Store store.Store
	// Stores holds every backend that a pool or Audit names, if there are several. The engine does not close them.
	Stores map[park.Backend]store.Store
	Audit  park.Backend // default: the queue backend of the first pool
	// Retention is how long ended tasks, messages and events are kept; 0: for ever.
	Retention time.Duration
	// Shared lists the queue backends that other engines may work on too, each of which must be a [store.Shared].
	// What is found running in any other was lost with its node, and is requeued at once.
	Shared []park.Backend
	// NodeTTL is how long a node may fail to show the others that it is alive before it stops what it runs, and
	// NodeGrace how much longer they wait before they take that over. Where nodes differ they wait for the longest. An engine that
	// closes waits for what it has stopped for so long too, and for 20 s at least.
	NodeTTL   time.Duration // default 10 s
	NodeGrace time.Duration // default 7 s
	// Patience is how long a call waits for a store to take what it asks for. Then the answer is
	// [park.OutcomeUnknown], unless it is known that nothing was accepted.
	Patience time.Duration // default 10 s
	// Quiet has nodes neither give each other hints nor listen to them: they hear of each other within 200 ms.
	Quiet bool
	Meter Meter        // default: none
	Log   *slog.Logger // default: none
	// Machine is for parkd's own simulator; nil is the real machine.
	Machine env.Machine
}

// Pool is a pool and the work it does.
type Pool struct {
	park.PoolSpec
	// Executor runs the tasks; nil for a pool whose tasks are leased.
	Executor park.Executor
	// Notifier is told of every message of the pool, at least once; nil for none.
	Notifier Notifier
	// Logs opens what a run wrote; nil where runs write nothing.
	Logs Logs
	// Idle has this node start none of the pool's tasks: others do.
	Idle bool
	// Settings are the further ones of the pool that nodes which share it should have in common, as JSON can tell them. Nodes
	// compare a hash of them and say where they differ.
	Settings any
}

// Defaults of Config.
const (
	defaultNodeTTL   = 10 * time.Second
	defaultNodeGrace = 7 * time.Second
)

// Engine runs pools. It implements [park.Service].
type Engine struct {
	node   string
	order  []string
	pools  map[string]*pool
	audit  store.Audit
	stores map[park.Backend]store.Store
	nodes  map[park.Backend]*cluster.Node // this engine among others, for each shared store
	env    *env.Env
	hub    topic.Hub
	log    *slog.Logger
	meter  Meter
	cfg    Config

	ctx    context.Context // ends when the engine is closed: background work stops
	stop   context.CancelFunc
	work   env.Group
	closed sync.Once
	relays []*relay.Relay
	health *health.Stores
}

var _ park.Service = (*Engine)(nil)

// Open loads the pools and starts them. Parked tasks resume in their order; what ran on a lost node is
// requeued ahead of its class.
func Open(ctx context.Context, c Config) (*Engine, error) {
	c = c.withBackends()
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("open the engine: %w", err)
	}
	machine := env.New(c.Machine)
	if c.Node == "" {
		c.Node = machine.ID()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Meter == nil {
		c.Meter = noMeter{}
	}
	if c.NodeTTL == 0 {
		c.NodeTTL = defaultNodeTTL
	}
	if c.NodeGrace == 0 {
		c.NodeGrace = defaultNodeGrace
	}
	if c.Patience == 0 {
		c.Patience = defaultPatience
	}
	if c.Audit == "" {
		c.Audit = c.Pools[0].QueueBackend
	}
	e := &Engine{
		node: c.Node, pools: make(map[string]*pool), stores: c.Stores, env: machine, log: c.Log,
		meter: c.Meter, cfg: c, nodes: make(map[park.Backend]*cluster.Node),
	}
	e.work.Env = e.env
	e.health = health.New(slices.Collect(maps.Keys(c.Stores)), func(b park.Backend, asked string) { e.meter.Failed(b, Asked(asked)) })
	if e.audit = c.Stores[c.Audit]; e.audit == nil {
		return nil, fmt.Errorf("no store for the audit log's backend %q", c.Audit)
	}
	e.ctx, e.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := e.open(ctx); err != nil {
		e.giveUp()
		return nil, err
	}
	return e, nil
}

// soleBackend is what the backend of a sole store is called.
const soleBackend park.Backend = "store"

// withBackends returns c with the backends filled in that a sole Store stands for.
func (c Config) withBackends() Config {
	if c.Store == nil || len(c.Stores) > 0 {
		return c
	}
	c.Store, c.Stores = nil, map[park.Backend]store.Store{soleBackend: c.Store}
	c.Pools = slices.Clone(c.Pools)
	for i := range c.Pools {
		p := &c.Pools[i]
		p.QueueBackend, p.MailboxBackend = cmp.Or(p.QueueBackend, soleBackend), cmp.Or(p.MailboxBackend, soleBackend)
	}
	c.Audit = cmp.Or(c.Audit, soleBackend)
	return c
}

// giveUp ends what an engine has begun that cannot be opened. A store that hangs holds it up for a time only.
func (e *Engine) giveUp() {
	defer e.env.AfterFunc(stopWait, e.stop)()
	e.order = slices.DeleteFunc(e.order, func(id string) bool { return !e.pools[id].started })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = e.Close(ctx)
}

func (e *Engine) open(ctx context.Context) error {
	for _, b := range e.cfg.Shared {
		s, ok := e.stores[b].(store.Shared)
		if !ok {
			return fmt.Errorf("the store of backend %q cannot be shared", b)
		}
		e.nodes[b] = cluster.New(e.ctx, cluster.Config{
			Env: e.env, Log: e.log, Health: e.health, Backend: b, Store: s,
			Name: e.node, TTL: e.cfg.NodeTTL, Grace: e.cfg.NodeGrace, Quiet: e.cfg.Quiet,
		})
	}
	loops := make(map[string]*loop, len(e.cfg.Pools))
	for _, pc := range e.cfg.Pools {
		p, err := e.newPool(pc)
		if err != nil {
			return err
		}
		l := newLoop(p)
		if err := l.begin(ctx); err != nil {
			return fmt.Errorf("load pool %s: %w", pc.ID, err)
		}
		e.pools[pc.ID], loops[pc.ID] = p, l
		e.order = append(e.order, pc.ID)
	}
	slices.Sort(e.order)
	for _, n := range e.nodes {
		n.Start(&e.work)
	}
	for _, id := range e.order {
		if err := loops[id].adopt(ctx); err != nil {
			return fmt.Errorf("take over pool %s: %w", id, err)
		}
	}
	e.startRelays()
	e.startRetention()
	return nil
}

// Close stops starting tasks, waits for those that run until ctx ends, stops the rest and requeues them.
// Once all executors have returned, it goes within 5 s: tasks whose ends a store has not taken by then are done once more,
// when the pool is loaded again. Leased tasks live on with their workers. The engine must not be used afterwards, except that
// Close may be called again: it returns when the first call has ended.
func (e *Engine) Close(ctx context.Context) error {
	e.closed.Do(func() { e.close(ctx) })
	return nil
}

func (e *Engine) close(ctx context.Context) {
	drained := env.Group{Env: e.env}
	for _, id := range e.order {
		drained.Go(func() { e.pools[id].drain(ctx) })
	}
	drained.Wait()
	for _, n := range e.nodes {
		n.Leave()
	}
	e.handOver()
	e.stop()
	e.work.Wait()
}

// Node returns the name of this run of the engine.
func (e *Engine) Node() string { return e.node }

// Ready returns nil while at least one pool takes tasks, else an error that says why none does. A database that is away
// is no reason to send nothing to the pools that are in another: see [Engine.Troubles].
func (e *Engine) Ready() error {
	troubles := e.Troubles()
	errs := make([]error, 0, len(e.order))
	for _, id := range e.order {
		err := troubles[id]
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("pool %s: %w", id, err))
	}
	return errors.Join(errs...)
}

// Troubles returns, for each pool, why it cannot take tasks just now, or nil.
func (e *Engine) Troubles() map[string]error {
	all := make(map[string]error, len(e.order))
	for _, id := range e.order {
		all[id] = e.pools[id].ill()
	}
	return all
}
