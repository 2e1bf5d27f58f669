package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

const (
	lightColumns = "seq, pool_id, task_id, tenant, status, priority, rank, units, attempt, strikes, cancelled, submitted_at," +
		" started_at, ended_at, not_before, deadline, timeout, lease_ttl, max_attempts, backoff, digest," +
		" mailbox_key, node, lease, reason, message"
	listColumns = lightColumns + ", work_dir, command, result"
	allColumns  = listColumns + ", payload"

	readPool = "SELECT rev, max_units, max_queue_depth, state, used, queued, last_at, configured_units, configured_depth," +
		" last_step FROM pl_pools WHERE pool_id = $1"
	// Each live task belongs to a batch, and pl_batches has the batches with live tasks.
	batches   = "(SELECT batch << 24 AS first FROM pl_batches WHERE pool_id = $1) AS b, LATERAL (SELECT * FROM pl_queue_jobs"
	inBatch   = "seq BETWEEN first AND first + 16777215"
	loadTasks = "SELECT " + lightColumns + " FROM " + batches + " WHERE pool_id = $1 AND status IN ('queued', 'running') AND " + inBatch + " OFFSET 0) AS j"
	// The state of an ended task must be durable, so that it is final even if the server is lost.
	readTasks = "SELECT " + allColumns + ", CASE WHEN status NOT IN ('queued', 'running') THEN (SELECT pl_durable()) END FROM pl_queue_jobs WHERE pool_id = $1 AND task_id = ANY ($2)"
	// The length of a bytea is in its row, even if the value is in a TOAST table.
	readSizes = "SELECT task_id, coalesce(octet_length(payload), 0) + octet_length(work_dir) + coalesce(octet_length(command), 0)" +
		" FROM pl_queue_jobs WHERE pool_id = $1 AND task_id = ANY ($2)"
)

const advanceRev = "SELECT pl_lift($1, $2, $3, $4, $5, $6, $7, $8, $9)"

// AdvanceRev implements [store.Queue].
func (s *Store) AdvanceRev(ctx context.Context, pool string, r ledger.Pool) error {
	err := s.withRetry(ctx, func(ctx context.Context) error {
		_, err := s.pool.Exec(ctx, advanceRev, pool, r.Rev, r.MaxUnits, r.MaxQueueDepth, string(r.State), r.LastAt.Micro(),
			r.ConfiguredUnits, r.ConfiguredDepth, r.LastStep)
		return err
	})
	if err != nil {
		return fmt.Errorf("advance pool %s to rev %d: %w", pool, r.Rev, err)
	}
	return nil
}

// Load implements [store.Queue].
func (s *Store) Load(ctx context.Context, pool string) (store.Snapshot, error) {
	return store.CollectSnapshot(ctx, s, pool)
}

// Walk implements [store.Walker]. The beginning of the answer has the same timeout as other calls.
func (s *Store) Walk(ctx context.Context, pool string, each func(*ledger.Record)) (ledger.Pool, error) {
	row, err := s.walk(ctx, pool, each)
	if err != nil {
		return ledger.Pool{}, fmt.Errorf("load pool %s: %w", pool, reword(err))
	}
	return row, nil
}

func (s *Store) walk(ctx context.Context, pool string, each func(*ledger.Record)) (row ledger.Pool, err error) {
	quick, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := s.Check(quick); err != nil {
		return row, err
	}
	// One snapshot, so that the row and the tasks are of the same step.
	tx, err := s.pool.BeginTx(quick, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return row, err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		defer cancel()
		_ = tx.Rollback(end)
	}()
	if row, err = scanPool(tx.QueryRow(quick, s.catalog.Load().qualify(readPool), pool)); err != nil || row == (ledger.Pool{}) {
		return row, err
	}
	limit := callTimeout + time.Duration(row.Queued)*loadTime
	if _, err := tx.Exec(quick, fmt.Sprintf("SET LOCAL statement_timeout = %d", limit.Milliseconds())); err != nil {
		return row, err
	}
	long, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	rows, err := tx.Query(long, s.catalog.Load().qualify(loadTasks), pool)
	if err != nil {
		return row, err
	}
	return row, eachRecord(rows, func(s *recordScanner) { each(&s.record) })
}

// loadTime is how long one of very many tasks may take in a load.
const loadTime = 50 * time.Microsecond

// scanPool returns the zero row for a pool without a step.
func scanPool(row pgx.Row) (r ledger.Pool, err error) {
	var at int64
	err = row.Scan(&r.Rev, &r.MaxUnits, &r.MaxQueueDepth, (*string)(&r.State), &r.Used, &r.Queued, &at, &r.ConfiguredUnits,
		&r.ConfiguredDepth, &r.LastStep)
	if errors.Is(err, pgx.ErrNoRows) {
		return ledger.Pool{}, nil
	}
	r.LastAt = park.FromMicro(at)
	return r, err
}

// Records implements [store.Queue].
func (s *Store) Records(ctx context.Context, pool string, ids []string) (found []ledger.Record, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	named := allStorable(ids)
	err = s.withRetry(ctx, func(ctx context.Context) error {
		return s.uncancelled(ctx, func(c *pgx.Conn) error {
			rows, err := c.Query(ctx, s.catalog.Load().qualify(readTasks), pool, named)
			if err != nil {
				return err
			}
			found, _, err = records(rows, 0)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read tasks of pool %s: %w", pool, err)
	}
	return found, nil
}

// Sizes implements [store.Queue].
func (s *Store) Sizes(ctx context.Context, pool string, ids []string) (sizes map[string]int, err error) {
	named := allStorable(ids)
	err = s.withRetry(ctx, func(ctx context.Context) error {
		rows, err := s.pool.Query(ctx, readSizes, pool, named)
		if err != nil {
			return err
		}
		sizes = make(map[string]int, len(ids))
		var id string
		var n int
		_, err = pgx.ForEachRow(rows, []any{&id, &n}, func() error {
			sizes[id] = n
			return nil
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the sizes of tasks of pool %s: %w", pool, err)
	}
	return sizes, nil
}

func allStorable(ids []string) []string {
	named := make([]string, len(ids))
	for i := range ids {
		named[i] = storable(ids[i])
	}
	return named
}

// List implements [store.Queue].
func (s *Store) List(ctx context.Context, pool string, q park.TaskQuery) (found []ledger.Record, next string, err error) {
	query, args, err := listQuery(pool, q)
	if err != nil {
		return nil, "", err
	}
	var last int64
	err = s.withRetry(ctx, func(ctx context.Context) error {
		rows, err := s.pool.Query(ctx, query, args...)
		if err != nil {
			return err
		}
		found, last, err = records(rows, q.Limit)
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("list tasks of pool %s: %w", pool, err)
	}
	if len(found) <= q.Limit {
		return found, "", nil
	}
	return found[:q.Limit], strconv.FormatInt(last, 10), nil
}

// listQuery asks for one task more than the page has, which shows whether there is a next page.
func listQuery(pool string, q park.TaskQuery) (string, []any, error) {
	var w where
	w.add("pool_id = ", pool)
	if q.Tenant != "" {
		w.add("tenant = ", storable(q.Tenant))
	}
	switch q.Status {
	case "":
	case park.Running, park.Completed:
		w.add("status = ", string(q.Status))
	default:
		w.add("odd = ", string(q.Status))
	}
	if q.Cursor != "" {
		below, err := parseCursor(q.Cursor, 0)
		if err != nil {
			return "", nil, err
		}
		w.add("seq < ", below)
	}
	from, order := "pl_queue_jobs"+w.clause(), "seq DESC"
	if q.Status == park.Running {
		w.terms = append(w.terms, inBatch)
		from = batches + w.clause() + " OFFSET 0) AS j" // $1 is the pool
		order = "first DESC, seq DESC"
	}
	return "SELECT " + listColumns + " FROM " + from + " ORDER BY " + order + " LIMIT " + w.arg(q.Limit+1), w.args, nil
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
func records(rows pgx.Rows, number int) (found []ledger.Record, seq int64, err error) {
	err = eachRecord(rows, func(s *recordScanner) {
		if found = append(found, s.record); len(found) == number {
			seq = s.seq
		}
	})
	return found, seq, err
}

// eachRecord reads all rows, one after the other, into the same record.
func eachRecord(rows pgx.Rows, each func(*recordScanner)) error {
	defer rows.Close()
	var s recordScanner
	dest := s.dest()[:len(rows.FieldDescriptions())]
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

// recordScanner is a row of pl_queue_jobs that becomes a record.
type recordScanner struct {
	record                                         ledger.Record
	seq, digest                                    int64
	priority                                       int16
	submitted, started, ended, notBefore, deadline int64
	command                                        []byte
	final                                          *bool
}

func (s *recordScanner) dest() []any {
	r := &s.record
	return []any{
		&s.seq, &r.PoolID, &r.TaskID, &r.Tenant, (*string)(&r.Status), &s.priority, &r.Rank, &r.Units, &r.Attempt,
		&r.Failures, &r.Cancelled, &s.submitted, &s.started, &s.ended, &s.notBefore, &s.deadline, (*int64)(&r.Timeout),
		(*int64)(&r.LeaseTTL), &r.Retry.MaxAttempts, (*int64)(&r.Retry.Backoff), &s.digest, &r.MailboxKey, &r.Node, &r.Lease,
		&r.Reason, &r.Message, &r.WorkDir, &s.command, (*[]byte)(&r.Result), (*[]byte)(&r.Payload), &s.final,
	}
}

func (s *recordScanner) finish() error {
	r := &s.record
	r.Priority, r.Digest = park.Priority(s.priority), uint64(s.digest)
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
