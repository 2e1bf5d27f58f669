package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strconv"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

const (
	readMessages = "SELECT seq, pool_id, task_id, status, reason, message, attempt, created_at, payload" +
		" FROM pl_mailbox_messages INDEXED BY pl_mailbox_messages_key" +
		" WHERE tenant = ? AND mailbox_key = ? AND trimmed = 0 AND seq >= ? AND created_at >= ? ORDER BY seq LIMIT ?"
	trimMailbox = "UPDATE pl_mailbox_messages INDEXED BY pl_mailbox_messages_key SET trimmed = 1, message = '', payload = NULL" +
		" WHERE tenant = ? AND mailbox_key = ? AND trimmed = 0 AND seq <= ?"
	deleteMessage = "DELETE FROM pl_mailbox_messages WHERE seq = ? AND created_at < ?"
)

func insertMessages() insertion {
	return insertion{
		into:     "pl_mailbox_messages",
		shared:   []sharedColumn{{"pool_id", 0}, {"created_at", 0}, {"late", 0}, {"trimmed", 0}},
		columns:  "tenant, mailbox_key, task_id, status, reason, message, attempt, payload",
		conflict: " ON CONFLICT (pool_id, task_id, created_at) DO NOTHING",
	}
}

// Deliver implements [store.Mailbox].
func (s *Store) Deliver(ctx context.Context, messages []park.Message) error {
	if len(messages) == 0 {
		return nil
	}
	return s.write(ctx, len(messages), func(w *writer) error { return w.deliver(messages) })
}

func (w *writer) deliver(messages []park.Message) error {
	for len(messages) > 0 {
		first := &messages[0]
		n := 1
		for n < len(messages) && messages[n].PoolID == first.PoolID && messages[n].CreatedAt.Micro() == first.CreatedAt.Micro() {
			n++
		}
		if err := w.deliverGroup(messages[:n]); err != nil {
			return fmt.Errorf("deliver messages of pool %s: %w", first.PoolID, err)
		}
		messages = messages[n:]
	}
	return nil
}

// deliverGroup adds messages of one pool and time.
func (w *writer) deliverGroup(messages []park.Message) error {
	created, late := w.clocks.messages.stamp(messages[0].CreatedAt)
	return w.messageRows.insert(len(messages), func(args []driver.Value, _ int) []driver.Value {
		return append(args, messages[0].PoolID, created, late, flag(false))
	}, func(args []driver.Value, i int) []driver.Value {
		m := &messages[i]
		return append(args, m.Tenant, m.Key, m.TaskID, string(m.Status), m.Reason, m.Message, int64(m.Attempt),
			bytesOrNull(m.Payload))
	})
}

// Messages implements [store.Mailbox].
func (s *Store) Messages(ctx context.Context, q park.MailboxQuery) ([]park.Message, error) {
	after, err := store.ParseMessageID(q.After)
	if err != nil {
		return nil, err
	}
	start := after + 1
	since := int64(-1 << 62)
	if !q.Since.IsZero() {
		since = q.Since.Micro()
		first, err := messageTimes().firstSeq(ctx, s.db, since)
		if err != nil {
			return nil, fmt.Errorf("read mailbox %s/%s: %w", q.Tenant, q.Key, err)
		}
		start = max(start, first)
	}
	found, err := s.messages(ctx, q, start, since)
	if err != nil {
		return nil, fmt.Errorf("read mailbox %s/%s: %w", q.Tenant, q.Key, err)
	}
	return found, nil
}

func (s *Store) messages(ctx context.Context, q park.MailboxQuery, start, since int64) ([]park.Message, error) {
	rows, err := s.db.QueryContext(ctx, readMessages, q.Tenant, q.Key, start, since, q.Limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found []park.Message
	for rows.Next() {
		m := park.Message{Tenant: q.Tenant, Key: q.Key}
		var seq, created int64
		err := rows.Scan(&seq, &m.PoolID, &m.TaskID, (*string)(&m.Status), &m.Reason, &m.Message, &m.Attempt, &created,
			(*[]byte)(&m.Payload))
		if err != nil {
			return nil, err
		}
		m.ID, m.CreatedAt = strconv.FormatInt(seq, 10), park.FromMicro(created)
		found = append(found, m)
	}
	return found, rows.Err()
}

// Trim implements [store.Mailbox].
func (s *Store) Trim(ctx context.Context, tenant, key, upTo string) error {
	last, err := store.ParseMessageID(upTo)
	if err != nil {
		return err
	}
	return s.write(ctx, 1, func(w *writer) error {
		if _, err := w.trimMailbox.run(tenant, key, last); err != nil {
			return fmt.Errorf("trim mailbox %s/%s: %w", tenant, key, err)
		}
		return nil
	})
}
