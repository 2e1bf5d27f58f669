package sqlite

import (
	"context"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Pages of tasks and of messages as one text each.

// manyKept is a page that is worth a text.
const manyKept = 100

// unlessLong is what a row says, or the end of a row where that is long: then the text cannot be taken apart, and the page
// is read row by row.
func unlessLong(said string) string {
	return "CASE WHEN octet_length(message) + coalesce(octet_length(" + said + "), 0) > 512 THEN x'1e' ELSE coalesce(" + said + ", '') END"
}

func packedTasks() string    { return packing(taskValues+", "+unlessLong("result"), taskPage) }
func packedMessages() string { return packing(messageValues+", "+unlessLong("payload"), messagePage) }

// packedTasks reads a page of tasks with a seq below one. Its error is [errPacked] where that has to be done row by row.
func (s *Store) packedTasks(ctx context.Context, pool string, below int64, limit int) ([]park.KeptTask, string, error) {
	var rows int
	var text string
	if err := s.db.QueryRowContext(ctx, packedTasks(), pool, below, limit).Scan(&rows, &text); err != nil {
		return nil, "", err
	}
	u, err := unpack(text, rows, 21)
	if err != nil {
		return nil, "", err
	}
	kept := make([]park.KeptTask, 0, rows)
	for last := below; u.left > 0; last = below {
		if below = u.int(); below >= last {
			return nil, "", errPacked
		}
		k := park.KeptTask{
			TaskID: u.next(), Tenant: u.next(), MailboxKey: u.next(), Status: park.Status(u.next()), Priority: park.Priority(u.int()), Units: u.int(), Rank: u.int(),
			Attempt: int(u.int()), Strikes: int(u.int()), MaxAttempts: int(u.int()), Node: u.next(), Reason: u.next(), Deadline: park.FromMicro(u.int()),
			SubmittedAt: park.FromMicro(u.int()), StartedAt: park.FromMicro(u.int()), EndedAt: park.FromMicro(u.int()),
			NotBefore: park.FromMicro(u.int()), Cancelled: u.int() != 0,
		}
		message := u.next()
		k.Said = ledger.OutcomeDigest(message, []byte(u.last()))
		kept = append(kept, k)
	}
	return kept, further(rows == limit, below), u.err()
}

// packedMessages is packedTasks for messages with a seq above one.
func (s *Store) packedMessages(ctx context.Context, pool string, above int64, limit int) ([]park.KeptMessage, string, error) {
	var rows int
	var text string
	if err := s.db.QueryRowContext(ctx, packedMessages(), above, pool, limit).Scan(&rows, &text); err != nil {
		return nil, "", err
	}
	u, err := unpack(text, rows, 11)
	if err != nil {
		return nil, "", err
	}
	kept := make([]park.KeptMessage, 0, rows)
	for last := above; u.left > 0; last = above {
		if above = u.int(); above <= last {
			return nil, "", errPacked
		}
		k := park.KeptMessage{
			TaskID: u.next(), Tenant: u.next(), MailboxKey: u.next(), Status: park.Status(u.next()), Attempt: int(u.int()), Reason: u.next(),
			CreatedAt: park.FromMicro(u.int()), Trimmed: u.int() != 0,
		}
		message := u.next()
		k.Said = ledger.OutcomeDigest(message, []byte(u.last()))
		kept = append(kept, k)
	}
	return kept, further(rows == limit, above), u.err()
}
