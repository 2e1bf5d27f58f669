// Package memory is the backend that keeps all data in the process. It is fast, and the data is lost when the process ends.
//
// Each pool has its own lock, and so have the mailboxes, the audit log and the outbox. So pools contend only while their
// messages and events are added. The store owns what it is given, and what it returns shares payloads with it: callers must
// not write to either.
package memory

import (
	"context"
	"slices"
	"sync"

	"github.com/parkd-dev/parkd/pkg/internal/sparse"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// Store implements [store.Store]. Several engines may share one.
type Store struct {
	mu           sync.RWMutex
	pools        map[string]*pool
	mail         mailboxes
	audit        audit
	outbox       outbox
	nodes        nodes
	prunedBefore park.Time // tasks that ended before this time may have been pruned
}

// New returns an empty store.
func New() *Store {
	s := &Store{pools: make(map[string]*pool)}
	s.mail.init()
	s.audit.init()
	s.outbox.dests = make(map[string]*sparse.List[outboxEntry])
	return s
}

// Close does nothing: the store lasts as long as it is referred to.
func (s *Store) Close() error { return nil }

// Load implements [store.Queue].
func (s *Store) Load(ctx context.Context, id string) (store.Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return store.Snapshot{}, err
	}
	p := s.findPool(id)
	if p == nil {
		return store.Snapshot{}, nil
	}
	return p.load(), nil
}

// Commit implements [store.Queue].
func (s *Store) Commit(ctx context.Context, step *store.Step) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p := s.ensurePool(step.PoolID)
	p.mu.Lock()
	defer p.mu.Unlock()
	if done, err := p.commit(step, step.Node != "" && !s.nodes.isAlive(step.Node)); done || err != nil {
		return err
	}
	// Nothing below can fail, so the step is complete when the lock of the pool is released.
	s.mail.add(step.Messages)
	s.audit.add(step.Events)
	s.outbox.add(step.Outbox)
	return nil
}

// AdvanceRev implements [store.Queue].
func (s *Store) AdvanceRev(ctx context.Context, id string, row ledger.Pool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.ensurePool(id).advanceRev(row)
	return nil
}

// Records implements [store.Queue].
func (s *Store) Records(ctx context.Context, id string, ids []string) ([]ledger.Record, error) {
	p := s.findPool(id)
	if p == nil || ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return p.records(ids), nil
}

// Sizes implements [store.Queue].
func (s *Store) Sizes(ctx context.Context, id string, ids []string) (map[string]int, error) {
	p := s.findPool(id)
	if p == nil || ctx.Err() != nil {
		return nil, ctx.Err()
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	sizes := make(map[string]int, len(ids))
	for _, id := range ids {
		if t := p.find(id); t != nil {
			sizes[id] = t.Size()
		}
	}
	return sizes, nil
}

// findPool returns a pool, or nil if nothing was committed to it.
func (s *Store) findPool(id string) *pool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.pools[id]
}

// ensurePool returns a pool, and creates it if necessary.
func (s *Store) ensurePool(id string) *pool {
	if p := s.findPool(id); p != nil {
		return p
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pools[id]
	if p == nil {
		p = newPool()
		s.pools[id] = p
	}
	return p
}

// PruneTasks implements [store.Queue].
func (s *Store) PruneTasks(ctx context.Context, before park.Time, limit int) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	pools := make([]*pool, 0, len(s.pools))
	for _, p := range s.pools {
		pools = append(pools, p)
	}
	s.mu.Unlock()
	mark := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		advance(&s.prunedBefore, before)
	}
	n := 0
	for _, p := range pools {
		n += p.prune(before, limit-n, mark)
	}
	return n, nil
}

// Deliver implements [store.Mailbox].
func (s *Store) Deliver(ctx context.Context, messages []park.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mail.add(messages)
	return nil
}

// Append implements [store.Audit].
func (s *Store) Append(ctx context.Context, events []park.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.audit.add(events)
	return nil
}

// LastEvent implements [store.Audit].
func (s *Store) LastEvent(ctx context.Context) (string, error) {
	return s.audit.lastID(), ctx.Err()
}

// LastRev implements [store.Audit].
func (s *Store) LastRev(ctx context.Context, pool string) (int64, park.Time, error) {
	rev, at := s.audit.lastRevOf(pool)
	return rev, at, ctx.Err()
}

// unique returns ids without duplicates. It does not change ids.
func unique(ids []string) []string {
	if len(ids) < 2 {
		return ids
	}
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return slices.Compact(ids)
}
