package sqlite

import (
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"

	"modernc.org/sqlite"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// To bind a value costs more than most of what SQLite does with it, and much of a usual task has no value. So there are
// two statements for inserts and for updates: one for all, and one for the plain ones.

const (
	updateJob = "UPDATE pl_queue_jobs SET status = ?, rank = ?, attempt = ?, started_at = ?, ended_at = ?, node = ?, result = ?," +
		" strikes = ?, cancelled = ?, not_before = ?, lease_ttl = ?, lease = ?, reason = ?, message = ?" +
		" WHERE pool_id = ? AND task_id = ?"
	updatePlainJob = "UPDATE pl_queue_jobs SET status = ?, rank = ?, attempt = ?, started_at = ?, ended_at = ?, node = ?, result = ?," +
		" strikes = 0, cancelled = 0, not_before = 0, lease_ttl = 0, lease = '', reason = '', message = ''" +
		" WHERE pool_id = ? AND task_id = ?"
)

const plainColumns = "task_id, tenant, status, priority, rank, units, attempt, started_at, deadline, timeout, digest, mailbox_key," +
	" node, payload"

// sharedByJobs are the columns that jobs of one time and pool have in common.
func sharedByJobs() []shared { return []shared{{"pool_id", 0}, {"submitted_at", 0}, {"late", 0}} }

func insertJobs() insertion {
	return insertion{
		into:   "pl_queue_jobs",
		shared: sharedByJobs(),
		columns: plainColumns + ", strikes, cancelled, ended_at, not_before, lease_ttl, max_attempts, backoff, lease, reason," +
			" message, work_dir, command, result",
	}
}

func insertPlainJobs() insertion {
	return insertion{
		into: "pl_queue_jobs", shared: sharedByJobs(), columns: plainColumns,
		fixed: []fixed{
			{"strikes", "0"},
			{"cancelled", "0"},
			{"ended_at", "0"},
			{"not_before", "0"},
			{"lease_ttl", "0"},
			{"max_attempts", "0"},
			{"backoff", "0"},
			{"lease", "''"},
			{"reason", "''"},
			{"message", "''"},
			{"work_dir", "''"},
			{"command", "NULL"},
			{"result", "NULL"},
		},
	}
}

// insert inserts the tasks of a step in their order, with one kind of statement for as many as follow each other.
func (w *writer) insert(pool string, records []ledger.Record) error {
	for len(records) > 0 {
		first := &records[0]
		plain := isPlainJob(first)
		n := 1
		for n < len(records) && isPlainJob(&records[n]) == plain && records[n].SubmittedAt.Micro() == first.SubmittedAt.Micro() {
			n++
		}
		err := w.insertAlike(pool, records[:n], plain)
		if e, ok := errors.AsType[*sqlite.Error](err); ok && e.Code() == sqliteNotUnique {
			err = fmt.Errorf("%w: %w", store.ErrTaken, err)
		}
		if err != nil {
			return fmt.Errorf("insert tasks of pool %s: %w", pool, err)
		}
		records = records[n:]
	}
	return nil
}

func (w *writer) insertAlike(pool string, records []ledger.Record, plain bool) error {
	submitted, late := w.clocks.jobs.stamp(records[0].SubmittedAt)
	head := func(args []driver.Value, _ int) []driver.Value { return append(args, pool, submitted, late) }
	if plain {
		return w.plainJobRows.insert(len(records), head, func(args []driver.Value, i int) []driver.Value {
			return appendPlainJob(args, &records[i])
		})
	}
	return w.jobRows.insert(len(records), head, func(args []driver.Value, i int) []driver.Value {
		r := &records[i]
		var command []byte
		if len(r.Command) > 0 {
			command, _ = json.Marshal(r.Command)
		}
		return append(appendPlainJob(args, r),
			int64(r.Strikes), flag(r.Cancelled), r.EndedAt.Micro(), r.NotBefore.Micro(), int64(r.LeaseTTL),
			int64(r.Retry.MaxAttempts), int64(r.Retry.Backoff), r.Lease, r.Reason, r.Message, r.WorkDir,
			bytesOrNull(command), bytesOrNull(r.Result))
	})
}

func appendPlainJob(args []driver.Value, r *ledger.Record) []driver.Value {
	return append(args, r.TaskID, r.Tenant, string(r.Status), int64(r.Priority), r.Rank, r.Units, int64(r.Attempt),
		r.StartedAt.Micro(), intOrNull(r.Deadline.Micro()), int64(r.Timeout), int64(r.Digest), r.MailboxKey, r.Node,
		bytesOrNull(r.Payload))
}

// isPlainJob reports whether all that the statement for plain jobs leaves out is not set.
func isPlainJob(r *ledger.Record) bool {
	return isPlainState(&r.State) && r.EndedAt.IsZero() && len(r.Result) == 0 &&
		r.Retry == park.Retry{} && r.WorkDir == "" && len(r.Command) == 0
}

func isPlainState(s *ledger.State) bool {
	return s.Strikes == 0 && !s.Cancelled && s.NotBefore.IsZero() && s.LeaseTTL == 0 && s.Lease == "" && s.Reason == "" &&
		s.Message == ""
}

func (w *writer) update(pool string, u *store.Update) error {
	s := &u.State
	args := append(w.args[:0], string(s.Status), s.Rank, int64(s.Attempt), s.StartedAt.Micro(), s.EndedAt.Micro(), s.Node,
		bytesOrNull(s.Result))
	how := w.updatePlainJob
	if !isPlainState(s) {
		how = w.updateJob
		args = append(args, int64(s.Strikes), flag(s.Cancelled), s.NotBefore.Micro(), int64(s.LeaseTTL), s.Lease, s.Reason, s.Message)
	}
	w.args = append(args, pool, u.TaskID)
	changed, err := how.run(w.args...)
	return exactly(changed, err, "update", pool, u.TaskID)
}
