package sqlite

import (
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"

	"modernc.org/sqlite"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/store"
)

const updateJob = "UPDATE pl_queue_jobs SET status = ?, rank = ?, attempt = ?, started_at = ?, ended_at = ?, node = ?, result = ?," +
	" strikes = ?, cancelled = ?, not_before = ?, lease_ttl = ?, lease = ?, reason = ?, message = ?" +
	" WHERE pool_id = ? AND task_id = ?"

func insertJobs() insertion {
	return insertion{
		into: "pl_queue_jobs",
		// The tasks of one statement have the same pool and time of submission.
		shared: []sharedColumn{{"pool_id", 0}, {"submitted_at", 0}, {"late", 0}},
		columns: "task_id, tenant, status, priority, rank, units, attempt, started_at, deadline, timeout, digest, mailbox_key," +
			" node, payload, strikes, cancelled, ended_at, not_before, lease_ttl, max_attempts, backoff, lease, reason," +
			" message, work_dir, command, result",
	}
}

// insert inserts the tasks of a step in their order. Consecutive tasks of one time share statements.
func (w *writer) insert(pool string, records []ledger.Record) error {
	for len(records) > 0 {
		n := 1
		for n < len(records) && records[n].SubmittedAt.Micro() == records[0].SubmittedAt.Micro() {
			n++
		}
		err := w.insertOfOneTime(pool, records[:n])
		if e, ok := errors.AsType[*sqlite.Error](err); ok && e.Code() == sqliteNotUnique {
			err = fmt.Errorf("%w: %w", store.ErrTaskExists, err)
		}
		if err != nil {
			return fmt.Errorf("insert tasks of pool %s: %w", pool, err)
		}
		records = records[n:]
	}
	return nil
}

func (w *writer) insertOfOneTime(pool string, records []ledger.Record) error {
	submitted, late := w.clocks.jobs.stamp(records[0].SubmittedAt)
	head := func(args []driver.Value, _ int) []driver.Value { return append(args, pool, submitted, late) }
	return w.jobRows.insert(len(records), head, func(args []driver.Value, i int) []driver.Value {
		r := &records[i]
		var command []byte
		if len(r.Command) > 0 {
			command, _ = json.Marshal(r.Command)
		}
		return append(args, r.TaskID, r.Tenant, string(r.Status), int64(r.Priority), r.Rank, r.Units, int64(r.Attempt),
			r.StartedAt.Micro(), intOrNull(r.Deadline.Micro()), int64(r.Timeout), int64(r.Digest), r.MailboxKey, r.Node,
			bytesOrNull(r.Payload), int64(r.Failures), flag(r.Cancelled), r.EndedAt.Micro(), r.NotBefore.Micro(),
			int64(r.LeaseTTL), int64(r.Retry.MaxAttempts), int64(r.Retry.Backoff), r.Lease, r.Reason, r.Message, r.WorkDir,
			bytesOrNull(command), bytesOrNull(r.Result))
	})
}

func (w *writer) update(pool string, u *store.Update) error {
	s := &u.State
	w.args = append(w.args[:0], string(s.Status), s.Rank, int64(s.Attempt), s.StartedAt.Micro(), s.EndedAt.Micro(), s.Node,
		bytesOrNull(s.Result), int64(s.Failures), flag(s.Cancelled), s.NotBefore.Micro(), int64(s.LeaseTTL), s.Lease,
		s.Reason, s.Message, pool, u.TaskID)
	changed, err := w.updateJob.run(w.args...)
	return exactlyOne(changed, err, "update", pool, u.TaskID)
}
