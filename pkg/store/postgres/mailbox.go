package postgres

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

const (
	deliverMessages = "SELECT pl_relay($1::pl_message[], '{}'::pl_event[])"
	// The inner query finds the page in the index alone, however many older messages there are.
	readMessages = "SELECT seq, (SELECT pl_final()), pool_id, task_id, status, reason, message, attempt, created_at, payload" +
		" FROM pl_mailbox_messages WHERE seq = ANY (ARRAY(SELECT seq FROM pl_mailbox_messages" +
		" WHERE tenant = $1 AND mailbox_key = $2 AND NOT trimmed AND seq > $3 AND seq < $4 AND created_at >= $5" +
		" ORDER BY seq LIMIT $6)) ORDER BY seq"
	trimMailbox = "WITH gone AS (UPDATE pl_mailbox_messages SET trimmed = true, payload = NULL, message = ''" +
		" WHERE tenant = $1 AND mailbox_key = $2 AND NOT trimmed AND seq <= $3) SELECT pl_durable()"
)

// Deliver implements [store.Mailbox].
func (s *Store) Deliver(ctx context.Context, messages []park.Message) error {
	if len(messages) == 0 {
		return nil
	}
	_, err := s.callFunction(ctx, deliverMessages, new(bool), func(n *catalog) ([][]byte, error) { return [][]byte{n.messages(messages)}, nil })
	if err != nil {
		return fmt.Errorf("deliver %d messages: %w", len(messages), err)
	}
	return nil
}

// Messages implements [store.Mailbox].
func (s *Store) Messages(ctx context.Context, q park.MailboxQuery) ([]park.Message, error) {
	after, err := store.ParseMessageID(q.After)
	if err != nil {
		return nil, err
	}
	since := int64(-1 << 62)
	if !q.Since.IsZero() {
		since = q.Since.Micro()
	}
	found, err := readInOrder(ctx, s, func(ctx context.Context, below int64) ([]park.Message, []int64, int64, error) {
		rows, err := s.pool.Query(ctx, readMessages, storable(q.Tenant), storable(q.Key), after, below, since, q.Limit)
		if err != nil {
			return nil, nil, 0, err
		}
		return messages(rows, q)
	})
	if err != nil {
		return nil, fmt.Errorf("read mailbox %s/%s: %w", q.Tenant, q.Key, err)
	}
	return found, nil
}

func messages(rows pgx.Rows, q park.MailboxQuery) (found []park.Message, seqs []int64, final int64, err error) {
	defer rows.Close()
	for rows.Next() {
		m := park.Message{Tenant: q.Tenant, Key: q.Key}
		var seq, created int64
		err := rows.Scan(&seq, &final, &m.PoolID, &m.TaskID, (*string)(&m.Status), &m.Reason, &m.Message, &m.Attempt, &created,
			(*[]byte)(&m.Payload))
		if err != nil {
			return nil, nil, 0, err
		}
		m.ID, m.CreatedAt = strconv.FormatInt(seq, 10), park.FromMicro(created)
		found, seqs = append(found, m), append(seqs, seq)
	}
	return found, seqs, final, rows.Err()
}

// Trim implements [store.Mailbox].
func (s *Store) Trim(ctx context.Context, tenant, key, upTo string) error {
	last, err := store.ParseMessageID(upTo)
	if err != nil {
		return err
	}
	err = s.withRetry(ctx, func(ctx context.Context) error {
		return s.uncancelled(ctx, func(c *pgx.Conn) error {
			_, err := c.Exec(ctx, s.catalog.Load().qualify(trimMailbox), storable(tenant), storable(key), last)
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("trim mailbox %s/%s: %w", tenant, key, err)
	}
	return nil
}
