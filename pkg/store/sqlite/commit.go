package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"modernc.org/sqlite"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

const (
	poolColumns = "rev, max_units, max_queue_depth, state, used, queued, last_at, configured_units, configured_depth, last_step"

	readPool   = "SELECT " + poolColumns + " FROM pl_pools WHERE pool_id = ?"
	insertPool = "INSERT INTO pl_pools (" + poolColumns + ", pool_id) VALUES (?,?,?,?,?,?,?,?,?,?,?)"
	updatePool = "UPDATE pl_pools SET rev = ?, max_units = ?, max_queue_depth = ?, state = ?, used = ?, queued = ?, last_at = ?," +
		" configured_units = ?, configured_depth = ?, last_step = ? WHERE pool_id = ? AND rev = ?"

	// Another call may have removed a row that was found to be old, and a new row may have its seq.
	deleteJob = "DELETE FROM pl_queue_jobs WHERE seq = ? AND ended_at < ? AND status NOT IN ('queued', 'running')"
)

// Commit implements [store.Queue]. A conflict asks for a reload: a file has one daemon, so steps conflict only if that
// daemon does not know the outcome of an earlier step.
func (s *Store) Commit(ctx context.Context, step *store.Step) error {
	if step.ID == "" {
		return errors.New("a step needs an id")
	}
	rows := 1 + len(step.Inserts) + len(step.Updates) + len(step.Messages) + len(step.Events) + len(step.Outbox)
	err := s.write(ctx, rows, func(w *writer) error { return w.applyStep(step) })
	if e, ok := errors.AsType[*sqlite.Error](err); ok && neverStorable(e.Code()&0xff) {
		return &store.RefusedError{Err: err}
	}
	return err
}

// neverStorable reports whether a result code says that a value can never be stored: it exceeds SQLite's limits or has
// the wrong type.
func neverStorable(code int) bool {
	return code == sqliteTooBig || code == sqliteMismatch || code == sqliteRange
}

// More of SQLite's primary result codes.
const (
	sqliteTooBig   = 18
	sqliteMismatch = 20
	sqliteRange    = 25
)

func (w *writer) applyStep(step *store.Step) error {
	applied, err := w.advance(step)
	if applied || err != nil {
		return err
	}
	if err := w.insert(step.PoolID, step.Inserts); err != nil {
		return err
	}
	for i := range step.Updates {
		if err := w.update(step.PoolID, &step.Updates[i]); err != nil {
			return err
		}
	}
	if err := w.deliver(step.Messages); err != nil {
		return err
	}
	if err := w.append(step.Events); err != nil {
		return err
	}
	return w.enqueue(step.Outbox)
}

// advance updates the pool's row, if the row has the rev before the step's.
func (w *writer) advance(step *store.Step) (applied bool, err error) {
	r := &step.Row
	row := append(poolValues(r, step.ID, step.PoolID), r.Rev-1)
	updated, err := w.updatePool.run(row...)
	if updated == 1 || err != nil {
		return false, wrapPool(err, step.PoolID)
	}
	stored, err := w.pool(step.PoolID)
	switch {
	case err != nil:
		return false, err
	case stored.LastStep == step.ID:
		return true, nil
	case stored.Rev == 0 && r.Rev == 1:
		_, err = w.insertPool.run(row[:len(row)-1]...)
		return false, wrapPool(err, step.PoolID)
	}
	return false, &store.Conflict{Row: stored, Reload: true}
}

// AdvanceRev implements [store.Queue].
func (s *Store) AdvanceRev(ctx context.Context, pool string, row ledger.Pool) error {
	return s.write(ctx, 1, func(w *writer) error { return w.advanceRev(pool, row) })
}

func (w *writer) advanceRev(pool string, row ledger.Pool) error {
	stored, err := w.pool(pool)
	if err != nil || stored.Rev >= row.Rev {
		return err
	}
	if stored.Rev == 0 {
		_, err = w.insertPool.run(poolValues(&row, row.LastStep, pool)...)
		return wrapPool(err, pool)
	}
	old := stored.Rev
	stored.Rev, stored.LastStep = row.Rev, row.LastStep
	if stored.LastAt.Before(row.LastAt.Time) {
		stored.LastAt = row.LastAt
	}
	_, err = w.updatePool.run(append(poolValues(&stored, row.LastStep, pool), old)...)
	return wrapPool(err, pool)
}

// poolValues returns the values of poolColumns, then the pool's id.
func poolValues(r *ledger.Pool, lastStep, pool string) []driver.Value {
	return []driver.Value{
		r.Rev, r.MaxUnits, int64(r.MaxQueueDepth), string(r.State), r.Used, int64(r.Queued), r.LastAt.Micro(),
		r.ConfiguredUnits, int64(r.ConfiguredDepth), lastStep, pool,
	}
}

func (w *writer) pool(id string) (ledger.Pool, error) {
	v, err := w.readPool.row(id)
	if err != nil || v == nil {
		return ledger.Pool{}, wrapPool(err, id)
	}
	n := func(i int) int64 { n, _ := v[i].(int64); return n }
	s := func(i int) string { s, _ := v[i].(string); return s }
	return ledger.Pool{
		Rev: n(0), MaxUnits: n(1), MaxQueueDepth: int(n(2)), State: park.PoolState(s(3)), Used: n(4), Queued: int(n(5)),
		LastAt: park.FromMicro(n(6)), ConfiguredUnits: n(7), ConfiguredDepth: int(n(8)), LastStep: s(9),
	}, nil
}

func wrapPool(err error, pool string) error {
	if err != nil {
		return fmt.Errorf("pool %s: %w", pool, err)
	}
	return nil
}
