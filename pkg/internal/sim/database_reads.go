package sim

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// Reads of the simulated database: log, mailboxes and lists.

func (b *database) read(q park.AuditQuery) (found []park.Event) {
	past := q.Cursor == ""
	for i := range b.events {
		e := &b.events[i]
		if past && len(found) < q.Limit && q.Selects(e.Action) && (q.PoolID == "" || q.PoolID == e.PoolID) && (q.TaskID == "" || q.TaskID == e.TaskID) && (q.Tenant == "" || q.Tenant == e.Tenant) {
			found = append(found, *e)
		}
		past = past || e.EventID == q.Cursor
	}
	return found
}

// list returns a page of a pool's tasks, newest first. The cursor is the number of the last one.
func (b *database) list(pool string, q park.TaskQuery) (found []ledger.Record, next string) {
	t := b.table(pool)
	below := int64(1) << 62
	if n, err := number(q.Cursor); err == nil && n > 0 {
		below = n
	}
	for _, r := range slices.Backward(t.order) {
		if t.numbers[r.TaskID] >= below || q.Status != "" && r.Status != q.Status || q.Tenant != "" && r.Tenant != q.Tenant {
			continue
		}
		if len(found) == q.Limit {
			return found, next
		}
		l := *r
		l.Payload = nil
		found, next = append(found, l), strconv.FormatInt(t.numbers[r.TaskID], 10)
	}
	return found, ""
}

func (b *database) beat(node string, own store.NodeConfig) (map[string]store.NodeHeartbeat, error) {
	if b.dead[node] {
		return nil, store.ErrDead
	}
	b.nodes[node] = store.NodeHeartbeat{Counter: b.nodes[node].Counter + 1, NodeConfig: own}
	return maps.Clone(b.nodes), nil
}

func (b *database) bury(node string, counter int64) bool {
	if c := b.nodes[node].Counter; c == 0 || c != counter {
		return false
	}
	delete(b.nodes, node)
	b.dead[node] = true
	return true
}

func (b *database) leave(node string) {
	delete(b.nodes, node)
	delete(b.dead, node)
}

func (b *database) keep(k store.LeaseRenewal) int64 {
	key := k.PoolID + "/" + k.TaskID
	k.Counter = b.leases[key].Counter + 1
	b.leases[key] = k
	return k.Counter
}

func (b *database) kept(pool string, tasks []string) (found []store.LeaseRenewal) {
	for _, id := range tasks {
		if k, ok := b.leases[pool+"/"+id]; ok {
			found = append(found, k)
		}
	}
	slices.SortFunc(found, func(a, b store.LeaseRenewal) int { return cmp.Compare(a.TaskID, b.TaskID) })
	return found
}
