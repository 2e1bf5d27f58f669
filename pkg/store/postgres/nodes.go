package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/parkd-dev/parkd/pkg/store"
)

const (
	readRevs = "SELECT pool_id, rev FROM pl_pools WHERE pool_id = ANY ($1)"
	beat     = "INSERT INTO pl_nodes AS n (node_id, counter) VALUES ($1, 1)" +
		" ON CONFLICT (node_id) DO UPDATE SET counter = n.counter + 1, beat_at = now() WHERE NOT n.dead RETURNING counter"
	readNodes = "SELECT node_id, counter FROM pl_nodes WHERE NOT dead"
	bury      = "UPDATE pl_nodes SET dead = true WHERE node_id = $1 AND counter = $2 AND NOT dead"
	leave     = "DELETE FROM pl_nodes WHERE node_id = $1"
	// The dead are remembered for as long as one of them might still come back.
	forgetDead = "DELETE FROM pl_nodes WHERE dead AND beat_at < now() - interval '30 days'"

	channel  = "pl_pools"
	announce = "SELECT pg_notify('" + channel + "', $1)"
)

// Revs implements [store.Shared].
func (s *Store) Revs(ctx context.Context, pools []string) (revs map[string]int64, err error) {
	err = s.do(ctx, func(ctx context.Context) error {
		revs, err = s.numbers(ctx, readRevs, pools)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read revs: %w", err)
	}
	return revs, nil
}

func (s *Store) numbers(ctx context.Context, query string, args ...any) (map[string]int64, error) {
	rows, err := s.pool.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	numbers := make(map[string]int64)
	var name string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&name, &n}, func() error {
		numbers[name] = n
		return nil
	})
	return numbers, err
}

// Beat implements [store.Shared].
func (s *Store) Beat(ctx context.Context, node string) (counters map[string]int64, err error) {
	err = s.do(ctx, func(ctx context.Context) error {
		tag, err := s.pool.Exec(ctx, beat, node)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			counters = nil
			return nil
		}
		counters, err = s.numbers(ctx, readNodes)
		return err
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("beat: %w", err)
	case counters == nil:
		return nil, store.ErrDead
	}
	return counters, nil
}

// Bury implements [store.Shared].
func (s *Store) Bury(ctx context.Context, node string, counter int64) (buried bool, err error) {
	err = s.do(ctx, func(ctx context.Context) error {
		tag, err := s.pool.Exec(ctx, bury, node, counter)
		buried = tag.RowsAffected() == 1
		return err
	})
	if err != nil {
		return false, fmt.Errorf("bury node %s: %w", node, err)
	}
	return buried, nil
}

// Leave implements [store.Shared].
func (s *Store) Leave(ctx context.Context, node string) error {
	err := s.do(ctx, func(ctx context.Context) error {
		if _, err := s.pool.Exec(ctx, leave, node); err != nil {
			return err
		}
		_, err := s.pool.Exec(ctx, forgetDead)
		return err
	})
	if err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	return nil
}

// Announce implements [store.Shared].
func (s *Store) Announce(ctx context.Context, pool string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := s.pool.Exec(ctx, announce, pool); err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	return nil
}

// Listen implements [store.Shared]. It holds the one connection that has a state of its own: through a transaction
// pooler hints do not come.
func (s *Store) Listen(ctx context.Context, heard func(pool string)) error {
	c, err := pgx.ConnectConfig(ctx, s.pool.Config().ConnConfig)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	if _, err := c.Exec(ctx, "LISTEN "+channel); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	for {
		n, err := c.WaitForNotification(ctx)
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		heard(n.Payload)
	}
}
