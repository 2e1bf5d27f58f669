package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

const (
	commitStep  = "SELECT pl_commit($1::pl_step, $2::pl_job[], $3::pl_change[], $4::pl_message[], $5::pl_event[], $6::pl_parcel[])"
	readChanges = "SELECT pl_changes($1::text, $2::bigint)"
)

// Commit implements [store.Queue]. It is one call of a function in the server, and so one round trip and one flush. A
// step that was committed before is recognized, even if many steps of other nodes came after it, up to the number of
// steps that the database keeps.
func (s *Store) Commit(ctx context.Context, step *store.Step) error {
	if step.ID == "" {
		return errors.New("a step needs an id")
	}
	reply, err := s.callCommit(ctx, step)
	if isDuplicateNumber(err) && s.catalog.Swap(nil) != nil {
		reply, err = s.callCommit(ctx, step) // after another check of how new rows are numbered
	}
	if isDuplicateNumber(err) {
		return park.Errorf(park.Internal, "the database gives new rows the numbers of existing ones (was a dump restored while nodes were running?): %v", err)
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.ConstraintName == "pl_queue_jobs_pkey" {
		err = fmt.Errorf("%w: %w", store.ErrTaskExists, err)
	}
	if !step.InDoubt && isUnstorable(err) {
		err = &store.RefusedError{Err: err}
	}
	if err != nil {
		return fmt.Errorf("commit rev %d of pool %s: %w", step.Row.Rev, step.PoolID, err)
	}
	if step.NodesWaiting = 0; reply == nil {
		return nil
	}
	n, err := decodeReply(step.PoolID, reply)
	if err != nil {
		return fmt.Errorf("commit rev %d of pool %s: %w", step.Row.Rev, step.PoolID, err)
	}
	if n.committed {
		step.NodesWaiting = n.waiting
		return nil
	}
	n.conflict.NodesAhead = n.waiting
	return n.conflict
}

func (s *Store) callCommit(ctx context.Context, step *store.Step) ([]byte, error) {
	return s.callFunction(ctx, commitStep, &step.InDoubt, func(n *catalog) ([][]byte, error) {
		parcels, err := n.parcels(step.Outbox)
		args := [][]byte{
			n.step(step), n.jobs(step.Inserts), n.changes(step.Updates), n.messages(step.Messages), n.events(step.Events, leadBits(step.PoolID, step.Row.Rev, step.Events)), parcels,
		}
		size := 0
		for _, a := range args {
			size += len(a)
		}
		if size > maxStepBytes {
			return nil, errTooLarge
		}
		return args, err
	})
}

// isDuplicateNumber reports whether a new row has the number of another row. The id of an existing task is another
// error.
func isDuplicateNumber(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "23505" && pg.ConstraintName != "pl_queue_jobs_pkey"
}

// maxStepBytes limits the arguments of a step. The server accepts less than 1 GiB in one message. After a larger one it
// closes the connection, and the step would be in doubt.
const maxStepBytes = 512 << 20

// isUnstorable reports whether a step can never be stored: its data are invalid or exceed the server's limits.
func isUnstorable(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.SeverityUnlocalized == "ERROR" && (pg.Code[:2] == "22" || pg.Code[:2] == "54") || errors.Is(err, errTooLarge)
}

var errTooLarge = fmt.Errorf("the step has more than %d bytes", maxStepBytes)

// ChangesSince implements [store.Shared].
func (s *Store) ChangesSince(ctx context.Context, pool string, rev int64) (*store.Conflict, error) {
	var n stepReply
	err := s.withRetry(ctx, func(ctx context.Context) error {
		rows, err := s.pool.Query(ctx, readChanges, pgx.QueryResultFormats{pgx.BinaryFormatCode}, pool, rev)
		if err != nil {
			return err
		}
		n, err = pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (stepReply, error) { return decodeReply(pool, row.RawValues()[0]) })
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the changes after rev %d of pool %s: %w", rev, pool, err)
	}
	if n.conflict.Row.Rev == rev {
		return nil, nil
	}
	return n.conflict, nil
}

// AwaitDurable implements [store.Shared].
func (s *Store) AwaitDurable(ctx context.Context) error {
	err := s.withRetry(ctx, func(ctx context.Context) error {
		return s.uncancelled(ctx, func(c *pgx.Conn) error {
			_, err := c.Exec(ctx, s.catalog.Load().qualify("SELECT pl_durable()"))
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("wait until the data read are durable: %w", err)
	}
	return nil
}

func (n *catalog) step(s *store.Step) []byte {
	w := newEncoder(n.oid["pl_step"], 13, 1)
	r := &s.Row
	w.nextRow()
	w.text(s.PoolID)
	w.text(s.ID)
	w.text(s.Node)
	w.int(r.Rev)
	w.int(r.MaxUnits)
	w.int(int64(r.MaxQueueDepth))
	w.text(string(r.State))
	w.int(r.Used)
	w.int(int64(r.Queued))
	w.int(r.LastAt.Micro())
	w.int(r.ConfiguredUnits)
	w.int(int64(r.ConfiguredDepth))
	w.int(countLive(s.Inserts))
	return w.record()
}

func countLive(records []ledger.Record) (n int64) {
	for i := range records {
		if !records[i].Status.Ended() {
			n++
		}
	}
	return n
}

func (n *catalog) jobs(records []ledger.Record) []byte {
	w := newEncoder(n.oid["pl_job"], 28, len(records))
	for i := range records {
		r := &records[i]
		var command []byte
		if len(r.Command) > 0 {
			command, _ = json.Marshal(r.Command)
		}
		w.nextRow()
		w.text(r.TaskID)
		w.text(r.Tenant)
		w.text(string(r.Status))
		w.int(int64(r.Priority))
		w.int(r.Rank)
		w.int(r.Units)
		w.int(int64(r.Attempt))
		w.int(int64(r.Failures))
		w.bool(r.Cancelled)
		w.int(r.SubmittedAt.Micro())
		w.int(r.StartedAt.Micro())
		w.int(r.EndedAt.Micro())
		w.int(r.NotBefore.Micro())
		w.int(r.Deadline.Micro())
		w.int(int64(r.Timeout))
		w.int(int64(r.LeaseTTL))
		w.int(int64(r.Retry.MaxAttempts))
		w.int(int64(r.Retry.Backoff))
		w.int(int64(r.Digest))
		w.text(r.MailboxKey)
		w.text(r.Node)
		w.text(r.Lease)
		w.text(r.Reason)
		w.text(r.Message)
		w.text(r.WorkDir)
		w.bytes(command)
		w.bytes(r.Result)
		w.bytes(r.Payload)
	}
	return w.array()
}

func (n *catalog) changes(updates []store.Update) []byte {
	w := newEncoder(n.oid["pl_change"], 15, len(updates))
	for i := range updates {
		s := &updates[i].State
		w.nextRow()
		w.text(updates[i].TaskID)
		w.text(string(s.Status))
		w.int(s.Rank)
		w.int(int64(s.Attempt))
		w.int(int64(s.Failures))
		w.bool(s.Cancelled)
		w.int(s.StartedAt.Micro())
		w.int(s.EndedAt.Micro())
		w.int(s.NotBefore.Micro())
		w.int(int64(s.LeaseTTL))
		w.text(s.Node)
		w.text(s.Lease)
		w.text(s.Reason)
		w.text(s.Message)
		w.bytes(s.Result)
	}
	return w.array()
}

// messages encodes messages and whether each leads a block. If their times differ, all lead.
func (n *catalog) messages(messages []park.Message) []byte {
	mixedTimes := slices.ContainsFunc(messages, func(m park.Message) bool { return !m.CreatedAt.Equal(messages[0].CreatedAt.Time) })
	w := newEncoder(n.oid["pl_message"], 11, len(messages))
	for i := range messages {
		m := &messages[i]
		w.nextRow()
		w.text(m.Tenant)
		w.text(m.Key)
		w.text(m.PoolID)
		w.text(m.TaskID)
		w.text(string(m.Status))
		w.text(m.Reason)
		w.text(m.Message)
		w.int(int64(m.Attempt))
		w.int(m.CreatedAt.Micro())
		w.bytes(m.Payload)
		w.bool(i%blockSize == 0 || mixedTimes)
	}
	return w.array()
}

// events encodes events with their lead bits. If bits is nil, all events lead.
func (n *catalog) events(events []park.Event, bits []uint8) []byte {
	w := newEncoder(n.oid["pl_event"], 12, len(events))
	for i := range events {
		e := &events[i]
		w.nextRow()
		w.text(e.PoolID)
		w.int(e.Rev)
		w.int(int64(e.Ord))
		w.int(e.At.Micro())
		w.text(string(e.Action))
		w.text(e.TaskID)
		w.text(e.Tenant)
		w.int(e.Units)
		w.int(int64(e.Attempt))
		w.text(e.Node)
		w.bytes(e.Detail)
		if bits != nil {
			w.int(int64(bits[i]))
		} else {
			w.int(leadAll)
		}
	}
	return w.array()
}

func (n *catalog) parcels(parcels []store.OutboxEntry) ([]byte, error) {
	w := newEncoder(n.oid["pl_parcel"], 5, len(parcels))
	for i := range parcels {
		p := &parcels[i]
		content, payload, err := p.Encode()
		if err != nil {
			return nil, fmt.Errorf("parcel for %s: %w", p.Dest, err)
		}
		w.nextRow()
		w.text(p.Dest)
		w.int(int64(p.Attempts))
		w.int(p.Since.Micro())
		w.bytes(content)
		w.bytes(payload)
	}
	return w.array(), nil
}
