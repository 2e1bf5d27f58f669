package memory

import (
	"context"
	"maps"
	"sync"

	"github.com/parkd-dev/parkd/pkg/store"
)

var _ store.Shared = (*Store)(nil)

type taskKey struct{ pool, task string }

// nodes holds what the engines that share the store have reported. The zero value is ready to use.
type nodes struct {
	mu         sync.Mutex
	heartbeats map[string]store.NodeHeartbeat
	dead       map[string]bool
	renewals   map[taskKey]store.LeaseRenewal
	listeners  map[*func(string, int64)]struct{}
}

func (n *nodes) isAlive(node string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.heartbeats[node].Counter > 0 && !n.dead[node]
}

// ChangesSince implements [store.Shared].
func (s *Store) ChangesSince(ctx context.Context, pool string, rev int64) (*store.Conflict, error) {
	p := s.findPool(pool)
	if p == nil || ctx.Err() != nil {
		return nil, ctx.Err()
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.row.Rev == rev {
		return nil, nil
	}
	return p.conflict(rev), nil
}

// Revs implements [store.Shared].
func (s *Store) Revs(ctx context.Context, pools []string) (map[string]int64, error) {
	revs := make(map[string]int64)
	for _, id := range pools {
		if p := s.findPool(id); p != nil {
			p.mu.RLock()
			revs[id] = p.row.Rev
			p.mu.RUnlock()
		}
	}
	return revs, ctx.Err()
}

// AwaitDurable implements [store.Shared]: nothing is durable here, and all of it alike.
func (s *Store) AwaitDurable(ctx context.Context) error { return ctx.Err() }

// RequestTurn implements [store.Shared].
func (s *Store) RequestTurn(ctx context.Context, pool, node string, h store.Delegation) (store.Turn, error) {
	p := s.findPool(pool)
	if p == nil || ctx.Err() != nil {
		return store.Turn{}, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waitList.RequestTurn(node, h), nil
}

// Heartbeat implements [store.Shared].
func (s *Store) Heartbeat(ctx context.Context, node string, own store.NodeConfig) (map[string]store.NodeHeartbeat, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n := &s.nodes
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.dead[node] {
		return nil, store.ErrDead
	}
	if n.heartbeats == nil {
		n.heartbeats, n.dead = make(map[string]store.NodeHeartbeat), make(map[string]bool)
	}
	n.heartbeats[node] = store.NodeHeartbeat{Counter: n.heartbeats[node].Counter + 1, NodeConfig: own}
	return maps.Clone(n.heartbeats), nil
}

// DeclareDead implements [store.Shared].
func (s *Store) DeclareDead(ctx context.Context, node string, counter int64) (bool, error) {
	n := &s.nodes
	n.mu.Lock()
	defer n.mu.Unlock()
	if p, known := n.heartbeats[node]; !known || p.Counter != counter || ctx.Err() != nil {
		return false, ctx.Err()
	}
	delete(n.heartbeats, node)
	n.dead[node] = true
	return true, nil
}

// RemoveNode implements [store.Shared].
func (s *Store) RemoveNode(ctx context.Context, node string) error {
	n := &s.nodes
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.heartbeats, node)
	delete(n.dead, node)
	return ctx.Err()
}

// RenewLease implements [store.Shared].
func (s *Store) RenewLease(ctx context.Context, k store.LeaseRenewal) (int64, error) {
	n := &s.nodes
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.renewals == nil {
		n.renewals = make(map[taskKey]store.LeaseRenewal)
	}
	key := taskKey{k.PoolID, k.TaskID}
	k.Counter = n.renewals[key].Counter + 1
	n.renewals[key] = k
	return k.Counter, ctx.Err()
}

// LeaseRenewals implements [store.Shared].
func (s *Store) LeaseRenewals(ctx context.Context, pool string, tasks []string) (found []store.LeaseRenewal, err error) {
	n := &s.nodes
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, id := range tasks {
		if k, ok := n.renewals[taskKey{pool, id}]; ok {
			found = append(found, k)
		}
	}
	return found, ctx.Err()
}

// NotifyRev implements [store.Shared].
func (s *Store) NotifyRev(ctx context.Context, pool string, rev int64) error {
	n := &s.nodes
	n.mu.Lock()
	all := maps.Clone(n.listeners)
	n.mu.Unlock()
	for heard := range all {
		(*heard)(pool, rev)
	}
	return ctx.Err()
}

// Listen implements [store.Shared].
func (s *Store) Listen(ctx context.Context, heard func(pool string, rev int64)) error {
	n := &s.nodes
	n.mu.Lock()
	if n.listeners == nil {
		n.listeners = make(map[*func(string, int64)]struct{})
	}
	n.listeners[&heard] = struct{}{}
	n.mu.Unlock()
	<-ctx.Done()
	n.mu.Lock()
	delete(n.listeners, &heard)
	n.mu.Unlock()
	return ctx.Err()
}
