// Package engine runs the scheduler of each pool. It implements [park.Service] in process.
//
// Each pool has one goroutine, its loop, which owns the pool's lot. Every request becomes an operation for the loop.
// The loop takes all operations that wait, has the lot decide a step, commits the step, and only then answers the
// callers and starts tasks. Under load many operations share one commit; a single operation does not wait for others. A
// pool's state has no other lock, pools do not wake each other, and nothing is polled if an event exists.
//
//	request ─┐
//	request ─┼─▶ lot.Apply ─▶ store.Commit ─▶ answer, start, wake waiters
//	timer  ──┘        ▲             │
//	                  └─ rollback ──┘ conflict: merge what another node did, decide again
//
// If the mailbox or the audit log is in another store than the queue, the step carries an outbox entry, and a relay
// delivers the entry until the other store has it.
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

// Config configures an engine. Pools is required, and either Store or Stores.
type Config struct {
	// Node names this run of the engine; the default is a random id. A name must never be used twice.
	Node  string
	Pools []Pool
	// Store keeps everything, if there is one store; the pools then name no backends. The engine does not close it.
	Store store.Store
	// Stores holds every backend that a pool or Audit names, if there are several. The engine does not close them.
	Stores map[park.Backend]store.Store
	Audit  park.Backend // default: the queue backend of the first pool
	// Retention is how long ended tasks, messages and events are kept. 0 means forever.
	Retention time.Duration
	// Shared lists the queue backends that other engines may use too; each must be a [store.Shared]. A task found
	// running in any other backend was lost with its node, and is requeued at once.
	Shared []park.Backend
	// NodeTTL is how long a node may fail to renew its heartbeat before it stops its runs. NodeGrace is how much longer
	// the other nodes wait before they take its tasks over. If nodes have different values, they wait for the longest.
	// An engine that closes also waits NodeGrace for the runs that it has stopped, and at least 20 s.
	NodeTTL   time.Duration // default 10 s
	NodeGrace time.Duration // default 7 s
	// Patience is how long a call waits for the store. Then the answer is [park.OutcomeUnknown], unless it is known
	// that nothing was accepted.
	Patience time.Duration // default 10 s
	// Quiet disables hints between nodes: a node neither sends nor receives them, and sees changes of others within 200
	// ms.
	Quiet bool
	Meter Meter        // default: none
	Log   *slog.Logger // default: none
	// Machine is for parkd's own simulator; nil means the real machine.
	Machine env.Machine
}

// Pool is a pool with its executor.
type Pool struct {
	park.PoolSpec
	// Executor runs the tasks; nil for a pool whose tasks are leased.
	Executor park.Executor
	// Notifier gets every message of the pool, at least once; nil for none.
	Notifier Notifier
	// Logs opens the output of a run; nil if runs have no output.
	Logs Logs
	// Idle prevents this node from starting tasks of the pool; other nodes start them.
	Idle bool
	// Settings are further settings of the pool, as a value that JSON can encode. Nodes that share the pool should have
	// the same. They compare a hash and report a difference.
	Settings any
}

// Defaults of Config.
const (
	defaultNodeTTL   = 10 * time.Second
	defaultNodeGrace = 7 * time.Second
)

// Engine runs pools. It implements [park.Service].
type Engine struct {
	node    string
	poolIDs []string
	pools   map[string]*pool
	audit   store.Audit
	stores  map[park.Backend]store.Store
	nodes   map[park.Backend]*cluster.Node // this engine in the cluster of each shared store
	env     *env.Env
	hub     topic.Hub
	log     *slog.Logger
	meter   Meter
	cfg     Config

	ctx        context.Context // ends when the engine closes; stops the background work
	stop       context.CancelFunc
	background env.Group
	closeOnce  sync.Once
	relays     []*relay.Relay
	health     *health.Stores
}

var _ park.Service = (*Engine)(nil)

// Open loads the pools and starts them. Parked tasks resume in their order. Tasks of a lost node are requeued at the
// front of their class.
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
	e.background.Env = e.env
	e.health = health.New(slices.Collect(maps.Keys(c.Stores)), func(b park.Backend, asked string) { e.meter.StoreFailed(b, StoreRequest(asked)) })
	if e.audit = c.Stores[c.Audit]; e.audit == nil {
		return nil, fmt.Errorf("no store for the audit log's backend %q", c.Audit)
	}
	e.ctx, e.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := e.open(ctx); err != nil {
		e.abortOpen()
		return nil, err
	}
	return e, nil
}

// soleBackend is the backend name of Config.Store.
const soleBackend park.Backend = "store"

// withBackends returns c with the backends filled in if there is only Config.Store.
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

// abortOpen stops what a failed Open has started. A store that hangs delays it for a limited time only.
func (e *Engine) abortOpen() {
	defer e.env.AfterFunc(executorTimeout, e.stop)()
	e.poolIDs = slices.DeleteFunc(e.poolIDs, func(id string) bool { return !e.pools[id].loopStarted })
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
		if err := l.initialLoad(ctx); err != nil {
			return fmt.Errorf("load pool %s: %w", pc.ID, err)
		}
		e.pools[pc.ID], loops[pc.ID] = p, l
		e.poolIDs = append(e.poolIDs, pc.ID)
	}
	slices.Sort(e.poolIDs)
	for _, n := range e.nodes {
		n.Start(&e.background)
	}
	for _, id := range e.poolIDs {
		if err := loops[id].start(ctx); err != nil {
			return fmt.Errorf("start pool %s: %w", id, err)
		}
	}
	e.startRelays()
	e.startRetention()
	return nil
}

// Close starts no more tasks, waits until ctx ends for those that run, stops the rest and requeues them. After all
// executors have returned it takes at most 5 s more: a task whose end the store has not taken by then is run again when
// the pool is next loaded. Leased tasks stay with their workers. The engine must not be used afterwards. A second call
// of Close returns when the first has returned.
func (e *Engine) Close(ctx context.Context) error {
	e.closeOnce.Do(func() { e.close(ctx) })
	return nil
}

func (e *Engine) close(ctx context.Context) {
	drained := env.Group{Env: e.env}
	for _, id := range e.poolIDs {
		drained.Go(func() { e.pools[id].drain(ctx) })
	}
	drained.Wait()
	for _, n := range e.nodes {
		n.Leave()
	}
	e.flushOutboxes()
	e.stop()
	e.background.Wait()
}

// Node returns the name of this run of the engine.
func (e *Engine) Node() string { return e.node }

// Ready returns nil if at least one pool takes tasks, else an error with the reason of each pool. If one database is
// unavailable, pools in another still take tasks; see [Engine.PoolErrors].
func (e *Engine) Ready() error {
	poolErrs := e.PoolErrors()
	errs := make([]error, 0, len(e.poolIDs))
	for _, id := range e.poolIDs {
		err := poolErrs[id]
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("pool %s: %w", id, err))
	}
	return errors.Join(errs...)
}

// PoolErrors returns, for each pool, why it cannot take tasks now; nil if it can.
func (e *Engine) PoolErrors() map[string]error {
	all := make(map[string]error, len(e.poolIDs))
	for _, id := range e.poolIDs {
		all[id] = e.pools[id].notReady()
	}
	return all
}
