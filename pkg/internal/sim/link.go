package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// callTimeout is how long a store waits for an answer of its database before it repeats a request, in the ratio to a
// node's TTL that the real one has; tries is how often it sends it.
const (
	callTimeout = time.Second
	tries       = 3
)

var (
	errNoReply = errors.New("the database does not answer")
	errFull    = errors.New("the disk is full")
	// errUnreadable is the error of a daemon that cannot open its database.
	errUnreadable = errors.New("the database cannot be read")
)

// link is a node's connection to the database: a [store.Store] whose calls are messages. Each direction may lose,
// repeat, delay and reorder them.
type link struct {
	*history
	process *process
	node    *node
}

var _ interface {
	store.Store
	store.Shared
} = (*link)(nil)

// call sends a request to the database, once or more often, and waits for the answer.
func call[T any](ctx context.Context, l *link, write bool, op func() (T, error)) (v T, err error) {
	return callDelayed(ctx, l, 0, write, op)
}

// callDelayed is call with an extra delay of the request.
func callDelayed[T any](ctx context.Context, l *link, extra time.Duration, write bool, op func() (T, error)) (v T, err error) {
	for try := range tries {
		if ctx.Err() != nil {
			return v, ctx.Err()
		}
		var answered bool
		ask := func() {
			if write && l.diskFull() {
				l.reply(func() { err, answered = errFull, true })
				return
			}
			got, failed := op()
			if errors.Is(failed, errNoReply) {
				return
			}
			l.reply(func() { v, err, answered = got, failed, true })
		}
		l.request(extra, ask)
		l.process.wait(callTimeout, func() bool { return answered || ctx.Err() != nil })
		switch {
		case answered:
			if try > 0 && errors.Is(err, errFull) {
				err = errors.Join(err, errNoReply) // the outcome of the first request is unknown
			}
			return v, err
		case ctx.Err() != nil:
			return v, ctx.Err()
		}
	}
	return v, errNoReply
}

// diskFull reports whether the database cannot write now.
func (l *link) diskFull() bool {
	if l.faults.full && l.now < l.fullUntil {
		l.count("disk full")
		return true
	}
	return false
}

// request sends a request, which may arrive late, never, or twice.
func (l *link) request(extra time.Duration, arrive func()) {
	if l.node.partitioned.out {
		l.count("partition")
		return
	}
	n, returns := l.deliveries("request"), l.db.restores
	for range n {
		l.after(l.latency()+extra, nil, func() {
			if !l.down && l.db.restores == returns {
				arrive()
			}
		})
	}
}

// reply sends an answer back.
func (l *link) reply(arrive func()) {
	if l.node.partitioned.in {
		l.count("partition")
		return
	}
	for range l.deliveries("reply") {
		l.after(l.latency(), l.process, arrive)
	}
}

// Load implements [store.Queue], as the methods after it implement the rest of a store.
func (l *link) Load(ctx context.Context, pool string) (store.Snapshot, error) {
	if l.now < l.unreadable {
		return store.Snapshot{}, errUnreadable
	}
	return call(ctx, l, false, func() (store.Snapshot, error) { return l.db.load(pool), nil })
}

// Commit asks the database to commit a step.
func (l *link) Commit(ctx context.Context, s *store.Step) error {
	sent := committedStep{step: step{copyOf(s), l.now, park.At(l.process.machine.wall())}} // a copy, because the node may reuse the step's slices while this request is on its way
	if l.singleNode {
		// A step in a file is durable once it is flushed. Before that a power cut may keep or remove it.
		l.flushing = &sent
		l.process.sleep(l.between(50*time.Microsecond, 5*time.Millisecond))
		l.flushing = nil
	}
	_, err := call(ctx, l, true, func() (struct{}, error) {
		sent.at = l.now
		return struct{}{}, l.db.commit(sent, false)
	})
	if errors.Is(err, errNoReply) || errors.Is(err, errFull) && !l.singleNode || err != nil && ctx.Err() != nil {
		s.InDoubt = true // a request may still arrive, or its answer may have been lost
	} else if !errors.Is(err, errFull) {
		s.InDoubt = false
	}
	if s.InDoubt {
		return fmt.Errorf("%w: %w", store.ErrInDoubt, err)
	}
	return err
}

// copyOf returns a step that shares no slice with s.
func copyOf(s *store.Step) *store.Step {
	c := *s
	c.Inserts, c.Updates = slices.Clone(s.Inserts), slices.Clone(s.Updates)
	c.Messages, c.Events = slices.Clone(s.Messages), slices.Clone(s.Events)
	return &c
}

func (l *link) Records(ctx context.Context, pool string, ids []string) ([]ledger.Record, error) {
	var extra time.Duration
	if (l.faults.late > 0 || l.faults.slow) && l.chance(0.5) {
		l.count("slow read")
		extra = l.between(0, 200*time.Millisecond)
	}
	return callDelayed(ctx, l, extra, false, func() ([]ledger.Record, error) { return l.db.records(pool, ids), nil })
}

func (l *link) Sizes(ctx context.Context, pool string, ids []string) (map[string]int, error) {
	return call(ctx, l, false, func() (map[string]int, error) {
		sizes := make(map[string]int)
		for _, r := range l.db.records(pool, ids) {
			sizes[r.TaskID] = r.Size()
		}
		return sizes, nil
	})
}

func (l *link) List(ctx context.Context, pool string, q park.TaskQuery) (found []ledger.Record, next string, err error) {
	_, err = call(ctx, l, false, func() (struct{}, error) {
		found, next = l.db.list(pool, q)
		return struct{}{}, nil
	})
	return found, next, err
}

func (l *link) Outbox(context.Context, string, park.Time, int) ([]store.OutboxEntry, error) {
	return nil, errors.New("sim: there is one store")
}

func (l *link) AckOutbox(context.Context, []int64, []store.DeferredEntry) error {
	return errors.New("sim: there is one store")
}

func (l *link) Deliver(ctx context.Context, messages []park.Message) error {
	messages = slices.Clone(messages)
	_, err := call(ctx, l, true, func() (struct{}, error) {
		l.db.deliver(messages)
		l.record(stray{fmt.Sprintf("%d messages came by themselves", len(messages))})
		return struct{}{}, nil
	})
	return err
}

func (l *link) Messages(ctx context.Context, q park.MailboxQuery) ([]park.Message, error) {
	return call(ctx, l, false, func() ([]park.Message, error) { return l.db.messages(q) })
}

func (l *link) Trim(ctx context.Context, tenant, key, upTo string) error {
	_, err := call(ctx, l, true, func() (struct{}, error) { return struct{}{}, l.db.trim(tenant, key, upTo) })
	return err
}

func (l *link) Append(ctx context.Context, events []park.Event) error {
	events = slices.Clone(events)
	_, err := call(ctx, l, true, func() (struct{}, error) {
		l.db.append(events)
		l.record(stray{fmt.Sprintf("%d events came by themselves", len(events))})
		return struct{}{}, nil
	})
	return err
}

func (l *link) Events(ctx context.Context, q park.AuditQuery) ([]park.Event, error) {
	return call(ctx, l, false, func() ([]park.Event, error) { return l.db.read(q), nil })
}

func (l *link) LastEvent(ctx context.Context) (string, error) {
	return call(ctx, l, false, func() (string, error) {
		if n := len(l.db.events); n > 0 {
			return l.db.events[n-1].EventID, nil
		}
		return "", nil
	})
}

func (l *link) LastRev(ctx context.Context, pool string) (rev int64, at park.Time, err error) {
	_, err = call(ctx, l, false, func() (struct{}, error) {
		for _, e := range l.db.events {
			if e.PoolID == pool && e.Rev >= rev {
				rev, at = e.Rev, e.At
			}
		}
		return struct{}{}, nil
	})
	return rev, at, err
}

func (l *link) AdvanceRev(context.Context, string, ledger.Pool) error {
	return errors.New("sim: queue and log are put back together")
}

func (l *link) PruneTasks(ctx context.Context, before park.Time, limit int) (int, error) {
	return call(ctx, l, true, func() (int, error) { return l.db.prune(before, limit), nil })
}

func (l *link) PruneMessages(ctx context.Context, before park.Time, limit int) (int, error) {
	return call(ctx, l, true, func() (int, error) { return l.db.pruneMessages(before, limit), nil })
}

// PruneEvents removes nothing: only the checker reads the log, and it has had the events.
func (l *link) PruneEvents(context.Context, park.Time, int) (int, error) { return 0, nil }

func (l *link) Close() error { return nil }

func (l *link) ChangesSince(ctx context.Context, pool string, rev int64) (*store.Conflict, error) {
	return call(ctx, l, false, func() (*store.Conflict, error) {
		if t := l.db.table(pool); t.row.Rev != rev {
			return t.since(rev), nil
		}
		return nil, nil
	})
}

func (l *link) Revs(ctx context.Context, pools []string) (map[string]int64, error) {
	return call(ctx, l, false, func() (map[string]int64, error) {
		revs := make(map[string]int64)
		for _, id := range pools {
			if t := l.db.pools[id]; t != nil {
				revs[id] = t.row.Rev
			}
		}
		return revs, nil
	})
}

func (l *link) AwaitDurable(ctx context.Context) error {
	_, err := call(ctx, l, false, func() (struct{}, error) { return struct{}{}, nil })
	return err
}

func (l *link) RequestTurn(ctx context.Context, pool, node string, h store.Delegation) (store.Turn, error) {
	h.Note = slices.Clone(h.Note)
	return call(ctx, l, true, func() (store.Turn, error) { return l.db.table(pool).line.RequestTurn(node, h), nil })
}

func (l *link) Heartbeat(ctx context.Context, node string, own store.NodeConfig) (map[string]store.NodeHeartbeat, error) {
	sent := l.now
	live, err := call(ctx, l, true, func() (map[string]store.NodeHeartbeat, error) {
		live, err := l.db.beat(node, own)
		if errors.Is(err, store.ErrDead) {
			l.sendStale(l.node)
		} else {
			l.record(heartbeatStored{node, own})
		}
		return live, err
	})
	if err == nil {
		l.record(heartbeatAcked{node, sent})
	}
	return live, err
}

func (l *link) DeclareDead(ctx context.Context, node string, counter int64) (bool, error) {
	// The node may be alive again when this arrives.
	var extra time.Duration
	if l.faults.late > 0 && l.chance(0.5) {
		l.count("late burial")
		extra = l.between(0, l.faults.maxDelay)
	}
	return callDelayed(ctx, l, extra, true, func() (bool, error) {
		dead := l.db.bury(node, counter)
		if dead {
			l.record(buried{node})
		}
		return dead, nil
	})
}

func (l *link) RemoveNode(ctx context.Context, node string) error {
	_, err := call(ctx, l, true, func() (struct{}, error) {
		l.db.leave(node)
		l.record(nodeLeft{node})
		return struct{}{}, nil
	})
	return err
}

func (l *link) RenewLease(ctx context.Context, k store.LeaseRenewal) (int64, error) {
	return call(ctx, l, true, func() (int64, error) { return l.db.keep(k), nil })
}

func (l *link) LeaseRenewals(ctx context.Context, pool string, tasks []string) ([]store.LeaseRenewal, error) {
	return call(ctx, l, false, func() ([]store.LeaseRenewal, error) { return l.db.kept(pool, tasks), nil })
}

// NotifyRev sends a hint to every listening node. Hints may be lost.
func (l *link) NotifyRev(ctx context.Context, pool string, rev int64) error {
	_, err := call(ctx, l, false, func() (struct{}, error) {
		for _, n := range l.nodes {
			to := n.listener
			switch {
			case to == nil || n.partitioned.in:
			case l.chance(l.faults.hintLoss):
				l.count("lost hint")
			default:
				l.after(l.latency(), to.process, func() {
					if n.listener == to {
						to.heard(pool, rev)
					}
				})
			}
		}
		return struct{}{}, nil
	})
	return err
}

type listener struct {
	process *process
	heard   func(string, int64)
}

// Listen passes on hints until the connection breaks.
func (l *link) Listen(ctx context.Context, heard func(pool string, rev int64)) error {
	l.node.listener = &listener{l.process, heard}
	l.process.wait(l.between(time.Second, 30*time.Second), func() bool { return ctx.Err() != nil })
	l.node.listener = nil
	return errNoReply
}
