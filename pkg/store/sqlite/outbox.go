package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

const (
	parcelFields = "parcel_id, attempts, since, body, payload"
	// In the index the parcels that were never postponed are in the order of their ids. The ids of postponed parcels
	// that are due have to be sorted.
	freshParcels = "SELECT " + parcelFields + " FROM pl_outbox INDEXED BY pl_outbox_due" +
		" WHERE dest = ? AND due = 0 ORDER BY parcel_id LIMIT ?"
	dueParcels = "SELECT " + parcelFields + " FROM pl_outbox WHERE parcel_id IN (SELECT parcel_id FROM pl_outbox" +
		" INDEXED BY pl_outbox_due WHERE dest = ? AND due > 0 AND due <= ? ORDER BY parcel_id LIMIT ?) ORDER BY parcel_id"

	deleteParcel   = "DELETE FROM pl_outbox WHERE parcel_id = ?"
	postponeParcel = "UPDATE pl_outbox SET due = ?, attempts = ? WHERE parcel_id = ?"
)

func insertParcels() insertion {
	return insertion{into: "pl_outbox", columns: "dest, due, attempts, since, body, payload"}
}

func (w *writer) enqueue(parcels []store.OutboxEntry) error {
	var encodeErr error
	err := w.parcelRows.insert(len(parcels), nil, func(args []driver.Value, i int) []driver.Value {
		p := &parcels[i]
		content, payload, err := p.Encode()
		encodeErr = errors.Join(encodeErr, err)
		return append(args, p.Dest, int64(0), int64(p.Attempts), p.Since.Micro(), content, bytesOrNull(payload))
	})
	if err = errors.Join(encodeErr, err); err != nil {
		return fmt.Errorf("post parcels for %s: %w", parcels[0].Dest, err)
	}
	return nil
}

// Outbox implements [store.Queue].
func (s *Store) Outbox(ctx context.Context, dest string, now park.Time, limit int) ([]store.OutboxEntry, error) {
	fresh, err := s.parcels(ctx, dest, freshParcels, dest, limit)
	if err != nil {
		return nil, err
	}
	due, err := s.parcels(ctx, dest, dueParcels, dest, now.Micro(), limit)
	if err != nil || len(due) == 0 {
		return fresh, err
	}
	all := append(due, fresh...)
	slices.SortFunc(all, func(a, b store.OutboxEntry) int { return cmp.Compare(a.ID, b.ID) })
	return all[:min(len(all), limit)], nil
}

func (s *Store) parcels(ctx context.Context, dest, query string, args ...any) ([]store.OutboxEntry, error) {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read outbox for %s: %w", dest, err)
	}
	found, err := parcels(rows, dest)
	if err != nil {
		return nil, fmt.Errorf("read outbox for %s: %w", dest, err)
	}
	return found, nil
}

func parcels(rows *sql.Rows, dest string) (found []store.OutboxEntry, err error) {
	defer rows.Close()
	for rows.Next() {
		p := store.OutboxEntry{Dest: dest}
		var since int64
		var content, payload []byte
		if err := rows.Scan(&p.ID, &p.Attempts, &since, &content, &payload); err != nil {
			return nil, err
		}
		p.Since = park.FromMicro(since)
		if err := p.Decode(content, payload); err != nil {
			return nil, err
		}
		found = append(found, p)
	}
	return found, rows.Err()
}

// AckOutbox implements [store.Queue].
func (s *Store) AckOutbox(ctx context.Context, done []int64, later []store.DeferredEntry) error {
	if len(done)+len(later) == 0 {
		return nil
	}
	return s.write(ctx, len(done)+len(later), func(w *writer) error {
		for _, id := range done {
			if _, err := w.deleteParcel.run(id); err != nil {
				return fmt.Errorf("acknowledge parcel %d: %w", id, err)
			}
		}
		for _, l := range later {
			if _, err := w.postponeParcel.run(l.Until.Micro(), int64(l.Attempts), l.ID); err != nil {
				return fmt.Errorf("postpone parcel %d: %w", l.ID, err)
			}
		}
		return nil
	})
}
