package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/parkd-dev/parkd/pkg/store"
)

const (
	readRevs      = "SELECT pool_id, rev FROM pl_pools WHERE pool_id = ANY ($1)"
	requestTurn   = "SELECT ahead, notes FROM pl_stand($1::text, $2::text, $3::bytea, $4::bool)"
	sendHeartbeat = "INSERT INTO pl_nodes AS n (node_id, counter, ttl, grace, settings) VALUES ($1, 1, $2, $3, $4)" +
		" ON CONFLICT (node_id) DO UPDATE SET counter = n.counter + 1, beat_at = now(), ttl = excluded.ttl, grace = excluded.grace, settings = excluded.settings WHERE NOT n.dead RETURNING counter"
	readNodes   = "SELECT node_id, counter, ttl, grace, settings FROM pl_nodes WHERE NOT dead"
	declareDead = "UPDATE pl_nodes SET dead = true WHERE node_id = $1 AND counter = $2 AND NOT dead"
	removeNode  = "DELETE FROM pl_nodes WHERE node_id = $1"
	// A dead node is remembered for as long as it might come back.
	deleteDeadNodes = "DELETE FROM pl_nodes WHERE dead AND beat_at < now() - interval '30 days'"

	channel = "pl_pools"
	// A hint may be lost, so it waits for no flush.
	notifyRev = "SELECT pg_catalog.set_config('synchronous_commit', 'off', true), pg_catalog.pg_notify('" + channel + "', $1)"

	renewLease = "INSERT INTO pl_leases AS l (pool_id, task_id, lease, counter, ttl) VALUES ($1, $2, $3, 1, $4)" +
		" ON CONFLICT (pool_id, task_id) DO UPDATE SET lease = excluded.lease, counter = l.counter + 1, ttl = excluded.ttl, kept_at = now() RETURNING counter"
	readLeases = "SELECT task_id, lease, counter, ttl FROM pl_leases WHERE pool_id = $1 AND task_id = ANY ($2)"
	// A lease that is not renewed for a day has ended.
	deleteOldLeases = "DELETE FROM pl_leases WHERE kept_at < now() - interval '1 day'"
)

// Revs implements [store.Shared].
func (s *Store) Revs(ctx context.Context, pools []string) (revs map[string]int64, err error) {
	err = s.withRetry(ctx, func(ctx context.Context) error {
		rows, err := s.controlConns().Query(ctx, readRevs, pools)
		if err != nil {
			return err
		}
		revs = make(map[string]int64)
		var pool string
		var rev int64
		_, err = pgx.ForEachRow(rows, []any{&pool, &rev}, func() error {
			revs[pool] = rev
			return nil
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read revs: %w", err)
	}
	return revs, nil
}

// RequestTurn implements [store.Shared]. The call of the node whose turn is next waits for the step in progress, so
// that the nodes after it do not ask repeatedly.
func (s *Store) RequestTurn(ctx context.Context, pool, node string, d store.Delegation) (turn store.Turn, err error) {
	err = s.withRetry(ctx, func(ctx context.Context) error {
		return s.pool.QueryRow(ctx, requestTurn, pool, node, d.Note, d.All).Scan(&turn.Ahead, &turn.Notes)
	})
	if err != nil {
		return store.Turn{}, fmt.Errorf("request a turn in pool %s: %w", pool, err)
	}
	return turn, nil
}

// Heartbeat implements [store.Shared].
func (s *Store) Heartbeat(ctx context.Context, node string, own store.NodeConfig) (live map[string]store.NodeHeartbeat, err error) {
	err = s.withRetry(ctx, func(ctx context.Context) error {
		tag, err := s.controlConns().Exec(withPriority(ctx), sendHeartbeat, node, int64(own.TTL), int64(own.Grace), own.PoolSettings)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			live = nil
			return nil
		}
		live, err = s.liveNodes(ctx)
		return err
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("send heartbeat: %w", err)
	case live == nil:
		return nil, store.ErrDead
	}
	return live, nil
}

func (s *Store) liveNodes(ctx context.Context) (map[string]store.NodeHeartbeat, error) {
	rows, err := s.controlConns().Query(withPriority(ctx), readNodes)
	if err != nil {
		return nil, err
	}
	live := make(map[string]store.NodeHeartbeat)
	var node string
	var p store.NodeHeartbeat
	_, err = pgx.ForEachRow(rows, []any{&node, &p.Counter, (*int64)(&p.TTL), (*int64)(&p.Grace), &p.PoolSettings}, func() error {
		live[node] = p
		return nil
	})
	return live, err
}

// DeclareDead implements [store.Shared].
func (s *Store) DeclareDead(ctx context.Context, node string, counter int64) (declared bool, err error) {
	err = s.withRetry(ctx, func(ctx context.Context) error {
		tag, err := s.pool.Exec(ctx, declareDead, node, counter)
		declared = tag.RowsAffected() == 1
		return err
	})
	if err != nil {
		return false, fmt.Errorf("declare node %s dead: %w", node, err)
	}
	return declared, nil
}

// RemoveNode implements [store.Shared].
func (s *Store) RemoveNode(ctx context.Context, node string) error {
	err := s.withRetry(ctx, func(ctx context.Context) error {
		if _, err := s.pool.Exec(ctx, removeNode, node); err != nil {
			return err
		}
		if _, err := s.pool.Exec(ctx, deleteDeadNodes); err != nil {
			return err
		}
		_, err := s.pool.Exec(ctx, deleteOldLeases)
		return err
	})
	if err != nil {
		return fmt.Errorf("remove node %s: %w", node, err)
	}
	return nil
}

// RenewLease implements [store.Shared].
func (s *Store) RenewLease(ctx context.Context, k store.LeaseRenewal) (counter int64, err error) {
	err = s.withRetry(ctx, func(ctx context.Context) error {
		return s.pool.QueryRow(ctx, renewLease, k.PoolID, k.TaskID, k.Lease, int64(k.TTL)).Scan(&counter)
	})
	if err != nil {
		return 0, fmt.Errorf("renew lease of task %s: %w", k.TaskID, err)
	}
	return counter, nil
}

// LeaseRenewals implements [store.Shared].
func (s *Store) LeaseRenewals(ctx context.Context, pool string, tasks []string) (found []store.LeaseRenewal, err error) {
	err = s.withRetry(ctx, func(ctx context.Context) error {
		rows, err := s.pool.Query(ctx, readLeases, pool, tasks)
		if err != nil {
			return err
		}
		found, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (store.LeaseRenewal, error) {
			k := store.LeaseRenewal{PoolID: pool}
			return k, row.Scan(&k.TaskID, &k.Lease, &k.Counter, (*int64)(&k.TTL))
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read leases of pool %s: %w", pool, err)
	}
	return found, nil
}

// NotifyRev implements [store.Shared].
func (s *Store) NotifyRev(ctx context.Context, pool string, rev int64) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := s.controlConns().Exec(ctx, notifyRev, pool+" "+strconv.FormatInt(rev, 10)); err != nil {
		return fmt.Errorf("notify: %w", reword(err))
	}
	return nil
}

// Listen implements [store.Shared]. Its connection is the only one with a state of its own. Through a transaction
// pooler no hints arrive.
func (s *Store) Listen(ctx context.Context, onRev func(pool string, rev int64)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.shortage.setListener(cancel)
	defer s.shortage.setListener(nil)
	if s.shortage.active() {
		return fmt.Errorf("listen: %w", errTooFewConns)
	}
	cc := s.pool.Config().ConnConfig
	cc.Tracer = nil
	s.applySettings(cc)
	c, err := pgx.ConnectConfig(ctx, cc)
	if err != nil {
		s.noteRefusal(err)
		return fmt.Errorf("listen: %w", reword(err))
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	if _, err := c.Exec(ctx, "LISTEN "+channel); err != nil {
		return fmt.Errorf("listen: %w", reword(err))
	}
	for {
		n, err := c.WaitForNotification(ctx)
		if err != nil {
			return fmt.Errorf("listen: %w", reword(err))
		}
		pool, rev, _ := strings.Cut(n.Payload, " ")
		if r, err := strconv.ParseInt(rev, 10, 64); err == nil {
			onRev(pool, r)
		}
	}
}
