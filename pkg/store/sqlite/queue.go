package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

const (
	lightColumns = "seq, pool_id, task_id, tenant, status, priority, rank, units, attempt, strikes, cancelled, submitted_at," +
		" started_at, ended_at, not_before, coalesce(deadline, 0), timeout, lease_ttl, max_attempts, backoff, digest," +
		" mailbox_key, node, lease, reason, message"
	listColumns = lightColumns + ", work_dir, command, result"
	allColumns  = listColumns + ", payload"

	// The second term lets SQLite use the index, which has no completed tasks.
	loadTasks = "SELECT " + lightColumns + " FROM pl_queue_jobs INDEXED BY pl_queue_jobs_status" +
		" WHERE pool_id = ? AND status <> 'completed' AND status IN ('queued', 'running')"
	readTasks = "SELECT " + allColumns + " FROM pl_queue_jobs INDEXED BY pl_queue_jobs_task" +
		" WHERE pool_id = ? AND task_id IN (SELECT value FROM json_each(?))"
	// The length of a BLOB is in the row's header, so its overflow pages are not read.
	readSizes = "SELECT task_id, coalesce(length(payload), 0) + length(work_dir) + coalesce(length(command), 0) FROM pl_queue_jobs INDEXED BY pl_queue_jobs_task" +
		" WHERE pool_id = ? AND task_id IN (SELECT value FROM json_each(?))"
)

// Load implements [store.Queue].
func (s *Store) Load(ctx context.Context, pool string) (store.Snapshot, error) {
	return store.CollectSnapshot(ctx, s, pool)
}

// Walk implements [store.Walker].
func (s *Store) Walk(ctx context.Context, pool string, each func(*ledger.Record)) (ledger.Pool, error) {
	row, err := s.walk(ctx, pool, each)
	if err != nil {
		return ledger.Pool{}, fmt.Errorf("load pool %s: %w", pool, err)
	}
	return row, nil
}

// walk reads the row and the tasks in one transaction, so that both are of the same step.
func (s *Store) walk(ctx context.Context, pool string, each func(*ledger.Record)) (r ledger.Pool, err error) {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return r, err
	}
	defer func() { _ = tx.Rollback() }()
	if r, err = scanPool(tx.QueryRowContext(ctx, readPool, pool)); err != nil || r.Rev == 0 {
		return r, err
	}
	rows, err := tx.QueryContext(ctx, loadTasks, pool)
	if err != nil {
		return r, err
	}
	return r, eachRecord(rows, func(s *recordScanner) { each(&s.record) })
}

// Records implements [store.Queue].
func (s *Store) Records(ctx context.Context, pool string, ids []string) ([]ledger.Record, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	list, err := json.Marshal(ids)
	if err != nil {
		return nil, fmt.Errorf("read tasks of pool %s: %w", pool, err)
	}
	rows, err := s.db.QueryContext(ctx, readTasks, pool, string(list))
	if err != nil {
		return nil, fmt.Errorf("read tasks of pool %s: %w", pool, err)
	}
	found, _, err := records(rows, 0)
	if err != nil {
		return nil, fmt.Errorf("read tasks of pool %s: %w", pool, err)
	}
	return found, nil
}

// Sizes implements [store.Queue].
func (s *Store) Sizes(ctx context.Context, pool string, ids []string) (map[string]int, error) {
	sizes, err := s.sizes(ctx, pool, ids)
	if err != nil {
		return nil, fmt.Errorf("read the sizes of tasks of pool %s: %w", pool, err)
	}
	return sizes, nil
}

func (s *Store) sizes(ctx context.Context, pool string, ids []string) (map[string]int, error) {
	list, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.QueryContext(ctx, readSizes, pool, string(list))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	sizes := make(map[string]int, len(ids))
	for rows.Next() {
		var id string
		var n int
		if err := rows.Scan(&id, &n); err != nil {
			return nil, err
		}
		sizes[id] = n
	}
	return sizes, rows.Err()
}

// List implements [store.Queue].
func (s *Store) List(ctx context.Context, pool string, q park.TaskQuery) ([]ledger.Record, string, error) {
	query, args, err := listQuery(pool, q)
	if err != nil {
		return nil, "", err
	}
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, "", fmt.Errorf("list tasks of pool %s: %w", pool, err)
	}
	found, last, err := records(rows, q.Limit)
	if err != nil {
		return nil, "", fmt.Errorf("list tasks of pool %s: %w", pool, err)
	}
	if len(found) <= q.Limit {
		return found, "", nil
	}
	return found[:q.Limit], strconv.FormatInt(last, 10), nil
}

// listQuery asks for one task more than the page has, which shows whether there is a next page.
func listQuery(pool string, q park.TaskQuery) (query string, args []any, err error) {
	index, where := "pl_queue_jobs_pool", "pool_id = ?"
	args = []any{pool}
	if q.Tenant != "" {
		index, where = "pl_queue_jobs_tenant", where+" AND tenant = ?"
		args = append(args, q.Tenant)
	}
	if q.Status != "" {
		where += " AND status = ?"
		args = append(args, string(q.Status))
	}
	if q.Status != "" && q.Status != park.Completed {
		index, where = "pl_queue_jobs_status", where+" AND status <> 'completed'"
	}
	if q.Cursor != "" {
		below, err := parseCursor(q.Cursor, 0)
		if err != nil {
			return "", nil, err
		}
		where += " AND seq < ?"
		args = append(args, below)
	}
	query = "SELECT " + listColumns + " FROM pl_queue_jobs INDEXED BY " + index + " WHERE " + where + " ORDER BY seq DESC LIMIT ?"
	return query, append(args, q.Limit+1), nil
}

// parseCursor parses the cursor of a page. It returns first if there is none.
func parseCursor(cursor string, first int64) (int64, error) {
	if cursor == "" {
		return first, nil
	}
	seq, err := strconv.ParseInt(cursor, 10, 64)
	if err != nil || seq < 1 {
		return 0, park.Errorf(park.InvalidRequest, "cursor must be the next value of an earlier page, not %q", cursor)
	}
	return seq, nil
}

// records reads all rows. It also returns the seq of the row with this number, counted from 1, or 0.
func records(rows *sql.Rows, number int) (found []ledger.Record, seq int64, err error) {
	err = eachRecord(rows, func(s *recordScanner) {
		if found = append(found, s.record); len(found) == number {
			seq = s.seq
		}
	})
	return found, seq, err
}

// eachRecord reads all rows, one after the other, into the same record.
func eachRecord(rows *sql.Rows, each func(*recordScanner)) error {
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	var s recordScanner
	dest := s.dest()[:len(columns)]
	for rows.Next() {
		s.record = ledger.Record{}
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		if err := s.finish(); err != nil {
			return err
		}
		each(&s)
	}
	return rows.Err()
}

// recordScanner scans a row of pl_queue_jobs into a record.
type recordScanner struct {
	record                                         ledger.Record
	seq, digest                                    int64
	submitted, started, ended, notBefore, deadline int64
	command                                        []byte
}

func (s *recordScanner) dest() []any {
	r := &s.record
	return []any{
		&s.seq, &r.PoolID, &r.TaskID, &r.Tenant, (*string)(&r.Status), (*int8)(&r.Priority), &r.Rank, &r.Units, &r.Attempt,
		&r.Failures, &r.Cancelled, &s.submitted, &s.started, &s.ended, &s.notBefore, &s.deadline, (*int64)(&r.Timeout),
		(*int64)(&r.LeaseTTL), &r.Retry.MaxAttempts, (*int64)(&r.Retry.Backoff), &s.digest, &r.MailboxKey, &r.Node, &r.Lease,
		&r.Reason, &r.Message, &r.WorkDir, &s.command, (*[]byte)(&r.Result), (*[]byte)(&r.Payload),
	}
}

func (s *recordScanner) finish() error {
	r := &s.record
	r.Digest = uint64(s.digest)
	r.SubmittedAt, r.StartedAt, r.EndedAt = park.FromMicro(s.submitted), park.FromMicro(s.started), park.FromMicro(s.ended)
	r.NotBefore, r.Deadline = park.FromMicro(s.notBefore), park.FromMicro(s.deadline)
	if len(s.command) == 0 {
		return nil
	}
	if err := json.Unmarshal(s.command, &r.Command); err != nil {
		return fmt.Errorf("command of task %s: %w", r.TaskID, err)
	}
	s.command = nil
	return nil
}
