package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

const (
	// In the index the parcels that were never postponed are in the order of their ids. The ids of postponed parcels
	// that are due have to be sorted.
	// A parcel may leave the store only when it is durable.
	readOutbox = "SELECT parcel_id, attempts, since, body, payload, (SELECT pl_durable()) FROM pl_outbox WHERE parcel_id = ANY (ARRAY(" +
		" (SELECT parcel_id FROM pl_outbox WHERE dest = $1 AND due = 0 ORDER BY parcel_id LIMIT $3) UNION ALL" +
		" (SELECT parcel_id FROM pl_outbox WHERE dest = $1 AND due > 0 AND due <= $2 ORDER BY parcel_id LIMIT $3)))" +
		" ORDER BY parcel_id LIMIT $3"
	ackOutbox = "WITH gone AS (DELETE FROM pl_outbox WHERE parcel_id = ANY ($1))" +
		" UPDATE pl_outbox o SET due = l.due, attempts = l.attempts" +
		" FROM ROWS FROM (pg_catalog.unnest($2::bigint[]), pg_catalog.unnest($3::bigint[]), pg_catalog.unnest($4::bigint[])) AS l (id, due, attempts) WHERE o.parcel_id = l.id"
)

// Outbox implements [store.Queue].
func (s *Store) Outbox(ctx context.Context, dest string, now park.Time, limit int) (found []store.OutboxEntry, err error) {
	err = s.withRetry(ctx, func(ctx context.Context) error {
		return s.uncancelled(ctx, func(c *pgx.Conn) error {
			rows, err := c.Query(ctx, s.catalog.Load().qualify(readOutbox), storable(dest), now.Micro(), limit)
			if err != nil {
				return err
			}
			found, err = parcels(rows, dest)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read outbox for %s: %w", dest, err)
	}
	return found, nil
}

func parcels(rows pgx.Rows, dest string) (found []store.OutboxEntry, err error) {
	defer rows.Close()
	for rows.Next() {
		p := store.OutboxEntry{Dest: dest}
		var since int64
		var content, payload []byte
		if err := rows.Scan(&p.ID, &p.Attempts, &since, &content, &payload, nil); err != nil {
			return nil, err
		}
		if err := p.Decode(content, payload); err != nil {
			return nil, err
		}
		p.Since = park.FromMicro(since)
		found = append(found, p)
	}
	return found, rows.Err()
}

// AckOutbox implements [store.Queue].
func (s *Store) AckOutbox(ctx context.Context, done []int64, later []store.DeferredEntry) error {
	ids, due, attempts := make([]int64, len(later)), make([]int64, len(later)), make([]int64, len(later))
	for i, p := range later {
		ids[i], due[i], attempts[i] = p.ID, p.Until.Micro(), int64(p.Attempts)
	}
	if done == nil {
		done = []int64{}
	}
	err := s.withRetry(ctx, func(ctx context.Context) error {
		_, err := s.pool.Exec(ctx, ackOutbox, done, ids, due, attempts)
		return err
	})
	if err != nil {
		return fmt.Errorf("acknowledge %d parcels: %w", len(done)+len(later), err)
	}
	return nil
}
