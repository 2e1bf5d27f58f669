package postgres

import (
	"context"
	"math"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// Query is a statement with arguments.
type Query struct {
	SQL  string
	Args []any
	// Rows is how many rows it may return.
	Rows int
}

// HotQueries returns the statements that run while nodes serve, for a database with tasks t-1, t-2 and so on in pool
// gpu.
func HotQueries() map[string]Query {
	since := park.FromMicro(500_000_000)
	all := map[string]Query{
		"pool":         {readPool, []any{"gpu"}, 1},
		"load":         {loadTasks, []any{"gpu"}, 100},
		"sizes":        {readSizes, []any{"gpu", []string{"t-1", "t-500", "nobody"}}, 3},
		"tasks":        {readTasks, []any{"gpu", []string{"t-1", "t-500", "nobody"}}, 3},
		"mailbox":      {readMessages, []any{"acme", "alice", int64(0), int64(math.MaxInt64), int64(0), 50}, 50},
		"last event":   {lastEvent, []any{int64(math.MaxInt64)}, 1},
		"event":        {seqOfEvent, []any{"gpu", 500, 0}, 1},
		"probe":        {probeStep, []any{"gpu", 500}, 1},
		"last step":    {lastStep, []any{"gpu"}, 1},
		"segments":     {matchSegments, []any{int64(1), int64(2)}, 1},
		"outbox":       {readOutbox, []any{"notify/gpu", int64(1), 100}, 100},
		"revs":         {readRevs, []any{[]string{"gpu"}}, 1},
		"nodes":        {readNodes, nil, 1},
		"leases":       {readLeases, []any{"gpu", []string{"t-1"}}, 1},
		"turn":         {requestTurn, []any{"gpu", "node", []byte(nil), false}, 1},
		"changes":      {readChanges, []any{"gpu", int64(0)}, 1},
		"old tasks":    {pruneTasks, []any{"gpu", int64(0), pruneChunk, int64(0), 100}, 1},
		"old messages": {pruneMessages, []any{int64(0), 100}, 1},
		"old events":   {pruneEvents, []any{int64(0), 100}, 1},
	}
	for name, q := range map[string]park.TaskQuery{
		"list": {}, "list queued": {Status: park.Queued}, "list failed": {Status: park.Failed},
		"list completed": {Status: park.Completed}, "list running": {Status: park.Running}, "list of a tenant": {Tenant: "acme"}, "list on": {Cursor: "400"},
	} {
		q.Limit = 50
		sql, args, _ := listQuery("gpu", q)
		all[name] = Query{sql, args, 51}
	}
	for name, q := range map[string]park.AuditQuery{
		"audit": {}, "audit of a task": {TaskID: "t-7"}, "audit of a pool": {PoolID: "gpu"}, "audit of a tenant": {Tenant: "acme"},
		"rejections": {Action: park.ActReject}, "audit of a task and pool": {TaskID: "t-7", PoolID: "gpu"},
		"audit of a tenant and pool": {Tenant: "acme", PoolID: "gpu"}, "ends of a tenant": {Tenant: "acme", Action: park.ActComplete},
		"failures of a tenant and pool": {Tenant: "acme", PoolID: "gpu", Action: park.ActFail},
	} {
		q.Limit = 100
		sql, args := eventsQuery(q, scanRange{}, math.MaxInt64)
		all[name] = Query{sql, args, 100}
		if q.TaskID != "" || q.Action != "" {
			continue
		}
		q.Since = since
		r := scanRange{fromSeq: 1_000_000} // the value for Since in a history of a million tasks
		if readsBySteps(q) {
			r = scanRange{fromRev: 500_000}
		}
		sql, args = eventsQuery(q, r, math.MaxInt64)
		all[name+" since"] = Query{sql, args, 100}
	}
	// The range after the cursor of another pool's event.
	sql, args := eventsQuery(park.AuditQuery{PoolID: "gpu", Limit: 100}, scanRange{fromSeq: 1_000_000, fromRev: 500_000}, math.MaxInt64)
	all["audit of a pool after another's event"] = Query{sql, args, 100}
	return all
}

// Setting returns a setting of a connection.
func (s *Store) Setting(ctx context.Context, name string) (value string, err error) {
	err = s.withRetry(ctx, func(ctx context.Context) error {
		return s.pool.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(&value)
	})
	return value, err
}

// Flush makes the store's sessions report their reads to the server's statistics, which they otherwise do once a
// second.
func (s *Store) Flush(ctx context.Context) error {
	for _, c := range s.pool.AcquireAllIdle(ctx) {
		_, err := c.Exec(ctx, "SELECT pg_stat_force_next_flush()")
		c.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// DecodeReply decodes the server's reply about the changes of a pool.
func DecodeReply(pool string, reply []byte) (*store.Conflict, error) {
	n, err := decodeReply(pool, reply)
	return n.conflict, err
}
