package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parkd-dev/parkd/pkg/lot"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

const (
	// maxOps bounds how many operations share a step, so that the first does not wait long for the last.
	maxOps = 512
	// troubleRest is how long a pool whose store failed rests before it tries again by itself.
	troubleRest = 200 * time.Millisecond
)

// pool is one pool under way. Its fields from lot on belong to its loop's goroutine.
type pool struct {
	Pool
	eng        *Engine
	ctx        context.Context // of what the loop asks of the store; ends with the engine, or with cut
	cut        context.CancelFunc
	queue      store.Queue
	localMail  bool // the mailbox is in the queue's store
	localAudit bool
	requests   chan *request
	urgent     chan *request // come before all others
	work       work          // the runs whose executors have not returned
	quit       chan struct{} // closed to end the loop
	done       chan struct{} // closed when the loop has ended
	view       atomic.Pointer[park.Pool]
	oldest     atomic.Int64 // microseconds; see [PoolMeasures]
	here       atomic.Int64 // runs whose executors are this node's
	trouble    atomic.Pointer[error]
	node       *node                        // of the store's other nodes; nil where there can be none
	rev        atomic.Int64                 // that the lot is at
	began      atomic.Pointer[park.PoolRow] // as it was first found here
	called     atomic.Bool                  // a request to follow the other nodes is on its way

	lot      *lot.Lot
	as       string // the node's name when the lot was loaded, which is what the lot calls it
	runs     map[string]*run
	waiters  []*waiter
	owed     []*request // requests that must not be lost, to be tried again
	specs    specs
	ahead    *fetch // of the step that is being stored; nil: nothing is read ahead
	pace     pace
	brake    brake
	steps    int
	refusal  time.Duration // how long the pool rests, because the store has refused a step; 0: it has not
	toldOf   bool          // the log was told of the refusal
	parted   bool          // a step of this turn was refused, and is done in parts
	failed   bool          // something of this turn did not come about
	again    bool          // the step of this turn was decided before, and another node's came first
	stale    bool          // the lot may differ from the store: load it again
	wary     int           // steps for which ids are looked up first, because one may have been taken
	looked   bool          // they were looked up for this step
	adopted  bool
	unsure   bool             // what other nodes did is known, and may not be durable: see [store.Shared.Secure]
	differs  bool             // another node has another configuration of the pool
	rivals   int              // other nodes that wait for their turns, by the last step
	behind   bool             // other nodes were let go first
	unheeded bool             // nobody took what it left to others: it stands in line for it the next time
	aside    []*request       // that came while it stood in line, and are not for the step, or too large for it
	large    []*request       // outcomes of runs that were too large for the steps that others went into: see gather
	larger   bool             // it is their turn
	brought  []outcome        // that others left, for the next steps
	stepped  time.Duration    // how long a step takes to be stored, on average
	kept     map[string]int64 // how often leases had been kept elsewhere, by the last look
	halted   error
	left     int           // runs that were left behind at the end
	drained  chan struct{} // set while closing; closed when nothing runs here any more

	// See lives.go.
	loadedAt park.Time // the time of its last step before this engine's life
	patient  bool      // what cannot be loaded yet is loaded later
	numbered bool      // its steps come after those that the log holds
	loops    bool      // its loop was begun; belongs to who opens the engine
}

func (e *Engine) newPool(c Pool) (*pool, error) {
	p := &pool{
		Pool: c, eng: e, queue: e.stores[c.QueueBackend], requests: make(chan *request, 2*maxOps), urgent: make(chan *request, 1),
		quit: make(chan struct{}), done: make(chan struct{}), runs: make(map[string]*run),
		kept:      make(map[string]int64),
		localMail: c.MailboxBackend == c.QueueBackend, localAudit: e.cfg.Audit == c.QueueBackend,
	}
	p.ctx, p.cut = context.WithCancel(e.ctx)
	switch {
	case p.queue == nil:
		return nil, fmt.Errorf("there is no store for pool %s's queue backend %q", c.ID, c.QueueBackend)
	case e.stores[c.MailboxBackend] == nil:
		return nil, fmt.Errorf("there is no store for pool %s's mailbox backend %q", c.ID, c.MailboxBackend)
	case c.Executor == nil && !c.Runtime.Leased():
		return nil, fmt.Errorf("pool %s needs an executor, or a runtime whose tasks are leased", c.ID)
	}
	if p.node = e.nodes[c.QueueBackend]; p.node != nil {
		p.node.pools = append(p.node.pools, p)
	}
	return p, nil
}

// begin loads the pool for the first time. The store of several nodes may be away for now.
func (p *pool) begin(ctx context.Context) error {
	err := p.load(ctx)
	p.patient = p.node != nil || errors.Is(err, errLogUnread)
	if err == nil {
		p.loadedAt = p.lot.Row().LastAt
	}
	if err == nil || !p.patient || ctx.Err() != nil {
		return err
	}
	p.eng.log.Error("pool not loaded yet", "pool", p.ID, "error", err)
	p.trouble.Store(&err)
	p.stale = true
	as := p.nodeName()
	return p.take(p.empty(as), park.PoolRow{}, nil, as)
}

// load takes the pool's state from its store. A million tasks should not be in memory in more forms than one.
func (p *pool) load(ctx context.Context) error {
	again, err := p.loadOnce(ctx)
	if again && err == nil {
		_, err = p.loadOnce(ctx)
	}
	return err
}

// loadOnce does that, unless the pool had to be moved past the end of its log: then it is to be loaded again.
func (p *pool) loadOnce(ctx context.Context) (again bool, err error) {
	as := p.nodeName()
	l := p.empty(as)
	var end logged
	var unread error
	if !p.numbered && !p.localAudit {
		end, unread = p.lastLogged(ctx)
	}
	// After the store has looked: what was leased while it was asked must have its whole time.
	now := sync.OnceValue(p.eng.env.Instant)
	var row park.PoolRow
	var timed []park.Record // which need the row
	restore := func(r *park.Record) {
		if lot.NeedsRow(r) {
			timed = append(timed, *r)
			return
		}
		l.Restore(r, now())
	}
	if w, ok := p.queue.(store.Walker); ok {
		row, err = w.Walk(ctx, p.ID, restore)
	} else {
		var snap store.Snapshot
		snap, err = p.queue.Load(ctx, p.ID)
		for i := range snap.Tasks {
			restore(&snap.Tasks[i])
		}
		row = snap.Row
	}
	if err != nil {
		return false, err
	}
	end, behind, err := p.overtaken(ctx, row, end, unread)
	switch {
	case err != nil:
		return false, err
	case behind:
		return true, p.lift(ctx, row, end)
	}
	err = p.take(l, row, timed, as)
	first := p.lot.Row()
	p.began.CompareAndSwap(nil, &first)
	return false, err
}

// empty returns a lot without tasks, to be filled.
func (p *pool) empty(as string) *lot.Lot {
	return lot.New(lot.Config{Pool: p.ID, Node: as, Leased: p.Runtime.Leased()}, p.eng.env.Instant())
}

// take has the pool go on with a lot that was made under a name of the node, and lacks its row and the tasks that need it.
func (p *pool) take(l *lot.Lot, row park.PoolRow, timed []park.Record, as string) error {
	if row == (park.PoolRow{}) {
		row = p.firstRow()
	}
	l.Merge(row, timed, p.eng.env.Instant())
	p.lot, p.as, p.unsure = l, as, p.node != nil
	if err := p.lot.Check(); err != nil {
		_ = p.halt(err)
	}
	p.show()
	return nil
}

// adopt starts the loop of a pool, and brings the pool under this engine.
func (p *pool) adopt(ctx context.Context) error {
	r := &request{reply: make(chan reply, 1)}
	p.requests <- r
	p.loops = true
	p.eng.work.Go(p.loop)
	_, err := p.wait(ctx, r)
	if p.patient && ctx.Err() == nil {
		return nil // it is tried again until it is done
	}
	return err
}

// adoption returns what has to be done once with a pool that was loaded: what ran on a node that is gone is requeued,
// and limits that the configuration has changed are taken over.
func (p *pool) adoption() (ops []lot.Op) {
	if row := p.lot.Row(); row.ConfiguredUnits != p.MaxUnits || row.ConfiguredDepth != p.MaxQueueDepth {
		p.eng.log.Info("the configuration says something new of a pool", "pool", p.ID, "max_units", p.MaxUnits, "max_queue_depth", p.MaxQueueDepth,
			"before_max_units", row.ConfiguredUnits, "before_max_queue_depth", row.ConfiguredDepth)
		ops = append(ops, lot.Configure{FromFile: true, Patch: park.PoolPatch{MaxUnits: &p.MaxUnits, MaxQueueDepth: &p.MaxQueueDepth}})
	}
	if p.Runtime.Leased() || p.node != nil {
		return ops
	}
	for _, id := range slices.Backward(p.lot.RunningTasks()) {
		s, _, _ := p.lot.State(id)
		ops = append(ops, lot.Requeue{TaskID: id, Attempt: s.Attempt, Reason: park.ReasonNodeLost})
	}
	return ops
}

// compare tells of a node that has come with another configuration of the pool than this one's: its limits are those that
// count now, and with the next node that starts they change again.
func (p *pool) compare() {
	row := p.lot.Row()
	differs := row.ConfiguredUnits != p.MaxUnits || row.ConfiguredDepth != p.MaxQueueDepth
	if differs == p.differs {
		return
	}
	if p.differs = differs; !differs {
		p.eng.log.Info("the nodes' configurations of a pool agree again", "pool", p.ID)
		return
	}
	p.eng.log.Warn("another node has another configuration of a pool, and the one that starts last decides: give all nodes the same",
		"pool", p.ID, "max_units", p.MaxUnits, "max_queue_depth", p.MaxQueueDepth,
		"theirs_max_units", row.ConfiguredUnits, "theirs_max_queue_depth", row.ConfiguredDepth)
}

func (p *pool) nodeName() string {
	if p.node != nil {
		return p.node.name()
	}
	return p.eng.node
}

// held reports whether this node must not start tasks of the pool now.
func (p *pool) held() bool {
	return p.drained != nil || p.work.closed() != nil || p.Idle || p.node != nil && !p.Runtime.Leased() && !p.node.alive()
}

func (p *pool) loop() {
	defer close(p.done)
	timer := time.NewTimer(maxTimer)
	defer timer.Stop()
	var batch []*request
	for d := maxTimer; ; d = p.pause() {
		batch = batch[:0]
		r, ok := p.first(timer, d)
		switch {
		case !ok:
			return
		case r != nil:
			batch = p.gather(append(batch, r))
			// Who stands in line without a step keeps the others waiting for nothing.
			if p.rivals > 0 && asked(batch) > 0 {
				batch = p.gather(p.takeTurn(batch))
			}
		}
		p.turn(batch)
		clear(batch)
	}
}

// asked returns how many operations the requests of a batch ask for.
func asked(batch []*request) int {
	n := 0
	for _, r := range batch {
		n += len(r.ops)
	}
	return n
}

// withOwed puts before a batch what is owed, up to a step's worth of it, and one request at least.
func (p *pool) withOwed(batch []*request) []*request {
	size := p.sizeOf(batch...)
	for i, r := range p.owed {
		size = size.plus(p.sizeOf(r))
		if i > 0 && (size.ops > maxOps || size.bytes > maxStepBytes) {
			batch = append(slices.Clone(p.owed[:i]), batch...)
			p.owed = p.owed[i:]
			return batch
		}
	}
	batch = append(p.owed, batch...)
	p.owed = nil
	return batch
}

// pause returns how long the loop has nothing to do unless it is asked to.
func (p *pool) pause() time.Duration {
	d, ok := p.untilDue()
	switch {
	case p.refusal > 0:
		d, ok = p.refusal, true
	case p.stale || p.trouble.Load() != nil && len(p.owed) > 0:
		d, ok = troubleRest, true
	case len(p.owed)+len(p.brought) > 0: // more than one step's worth
		d, ok = 0, true
	}
	// A pool that cannot be loaded, or whose step is refused, starts nothing in any case.
	if at, short := p.brake.next(); short && p.lot.Row().Queued > 0 && !p.stale && p.refusal == 0 {
		if left := max(at-p.eng.env.Mono(), 0); !ok || left < d {
			d, ok = left, true
		}
	}
	if !ok || p.halted != nil {
		d = time.Hour
	}
	return d
}

// show publishes what clients may see of the pool.
func (p *pool) show() {
	row := p.lot.Row()
	p.rev.Store(row.Rev)
	p.oldest.Store(p.lot.Oldest().Micro())
	p.here.Store(int64(len(p.runs)))
	v := &park.Pool{
		PoolID: p.ID, Kind: p.Kind, MaxUnits: row.MaxUnits, UsedUnits: row.Used, MaxQueueDepth: row.MaxQueueDepth,
		QueueDepth: row.Queued, Running: p.lot.Running(), State: row.State,
		DefaultTimeoutSecs: int64(p.DefaultTimeout / time.Second), QueueBackend: p.QueueBackend.Kind(),
		MailboxBackend: p.MailboxBackend.Kind(), Runtime: p.Runtime, Executor: p.Pool.PoolSpec.Executor,
	}
	v.StartsDeferred = p.brake.deferral()
	if p.halted != nil {
		v.Halted = p.halted.Error()
	}
	p.view.Store(v)
}
