package sqlite_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/store"
)

func BenchmarkCommit(b *testing.B) { storetest.Bench(b, open) }

func BenchmarkAudit(b *testing.B) { storetest.BenchAudit(b, open) }

// BenchmarkCommitToRaw alternates between committing steps and writing the same rows with prepared statements and
// transactions only. The result is the ratio of the two times: the cost of a step over the cost of its rows.
func BenchmarkCommitToRaw(b *testing.B) {
	for _, n := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("tasks=%d", n), func(b *testing.B) {
			s, r := open(b), openRaw(b)
			row := storetest.BenchPool()
			var stored, bare time.Duration
			for i := 0; b.Loop(); i++ {
				for _, step := range storetest.BenchSteps("gpu", i, n, &row) {
					began := time.Now()
					if err := s.Commit(b.Context(), step); err != nil {
						b.Fatal(err)
					}
					half := time.Now()
					r.commit(b, step)
					stored += half.Sub(began)
					bare += time.Since(half)
				}
			}
			b.ReportMetric(stored.Seconds()/bare.Seconds(), "of-raw")
			b.ReportMetric(float64(stored.Microseconds())/float64(b.N*n), "store-µs/task")
			b.ReportMetric(float64(bare.Microseconds())/float64(b.N*n), "raw-µs/task")
		})
	}
}

// rawWriter writes rows with database/sql, one by one.
type rawWriter struct {
	begin, end                        *sql.Stmt
	pool, insert, update, event, mail *sql.Stmt
}

func openRaw(b *testing.B) *rawWriter {
	path := filepath.Join(b.TempDir(), "raw.db")
	if err := openAt(b, path).Close(); err != nil { // this creates the tables
		b.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"+
		"&_pragma=cache_size(-65536)&_pragma=wal_autocheckpoint(2000)")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	conn, err := db.Conn(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	prepare := func(query string) *sql.Stmt {
		s, err := conn.PrepareContext(b.Context(), query)
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	return &rawWriter{
		begin: prepare("BEGIN IMMEDIATE"), end: prepare("COMMIT"),
		pool: prepare("INSERT INTO pl_pools VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (pool_id) DO UPDATE SET" +
			" rev = excluded.rev, last_at = excluded.last_at, last_step = excluded.last_step"),
		insert: prepare("INSERT INTO pl_queue_jobs (pool_id, task_id, tenant, status, priority, rank, units, attempt, strikes," +
			" cancelled, submitted_at, late, started_at, ended_at, not_before, deadline, timeout, lease_ttl, max_attempts," +
			" backoff, digest, mailbox_key, node, lease, reason, message, work_dir, payload)" +
			" VALUES (?,?,?,?,0,?,?,?,0,0,?,0,?,0,0,NULL,0,0,0,0,?,?,?,'','','','',?)"),
		update: prepare("UPDATE pl_queue_jobs SET status = ?, attempt = ?, ended_at = ?, node = ?, reason = ?, message = ?, result = ?" +
			" WHERE pool_id = ? AND task_id = ?"),
		event: prepare("INSERT INTO pl_audit_events (pool_id, rev, ord, at, late, rest, lead, action, task_id, tenant, units, attempt, node)" +
			" VALUES (?,?,?,?,0,?,?,?,?,?,?,?,?)"),
		mail: prepare("INSERT INTO pl_mailbox_messages (tenant, mailbox_key, pool_id, task_id, status, reason, message, attempt," +
			" created_at, late, trimmed, payload) VALUES (?,?,?,?,?,'','',?,?,0,0,?)"),
	}
}

func (r *rawWriter) commit(b *testing.B, step *store.Step) {
	exec := func(s *sql.Stmt, args ...any) {
		if _, err := s.ExecContext(b.Context(), args...); err != nil {
			b.Fatal(err)
		}
	}
	exec(r.begin)
	w := &step.Row
	exec(r.pool, step.PoolID, w.Rev, w.MaxUnits, w.MaxQueueDepth, string(w.State), w.Used, w.Queued, w.LastAt.Micro(), 0, 0, w.LastStep)
	for i := range step.Inserts {
		t := &step.Inserts[i]
		exec(r.insert, t.PoolID, t.TaskID, t.Tenant, string(t.Status), t.Rank, t.Units, t.Attempt, t.SubmittedAt.Micro(),
			t.StartedAt.Micro(), int64(t.Digest), t.MailboxKey, t.Node, []byte(t.Payload))
	}
	for i := range step.Updates {
		t := &step.Updates[i]
		exec(r.update, string(t.State.Status), t.State.Attempt, t.State.EndedAt.Micro(), t.State.Node, t.State.Reason,
			t.State.Message, []byte(t.State.Result), step.PoolID, t.TaskID)
	}
	for i := range step.Messages {
		m := &step.Messages[i]
		exec(r.mail, m.Tenant, m.Key, m.PoolID, m.TaskID, string(m.Status), m.Attempt, m.CreatedAt.Micro(), []byte(m.Payload))
	}
	for i := range step.Events {
		e := &step.Events[i]
		lead := 0
		if i%128 == 0 {
			lead = 7
		} else if e.TaskID != step.Events[i-1].TaskID {
			lead = 4
		}
		exec(r.event, e.PoolID, e.Rev, e.Ord, e.At.Micro(), 1, lead, string(e.Action), e.TaskID, e.Tenant, e.Units, e.Attempt, e.Node)
	}
	exec(r.end)
}
