package sqlite

import (
	"context"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Pages of tasks and of messages as one text each.

// minPackedRows is how many rows a page needs for it to be read as a text.
const minPackedRows = 100

// unlessLong returns an expression for a value, or for the end of a row if the value is long. A text with such an end
// cannot be split, so the page is read row by row.
func unlessLong(value string) string {
	return "CASE WHEN octet_length(message) + coalesce(octet_length(" + value + "), 0) > 512 THEN x'1e' ELSE coalesce(" + value + ", '') END"
}

func packedTasks() string { return packedQuery(taskValues+", "+unlessLong("result"), taskPage) }
func packedMessages() string {
	return packedQuery(messageValues+", "+unlessLong("payload"), messagePage)
}

// packedTasks reads a page of tasks with a seq below the given one. It returns [errPacked] if the page has to be read
// row by row.
func (s *Store) packedTasks(ctx context.Context, pool string, below int64, limit int) ([]park.KeptTask, string, error) {
	var rows int
	var text string
	if err := s.db.QueryRowContext(ctx, packedTasks(), pool, below, limit).Scan(&rows, &text); err != nil {
		return nil, "", err
	}
	u, err := newUnpacker(text, rows, 21)
	if err != nil {
		return nil, "", err
	}
	page := make([]park.KeptTask, 0, rows)
	for last := below; u.rowsLeft > 0; last = below {
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
		page = append(page, k)
	}
	return page, nextCursor(rows == limit, below), u.err()
}

// packedMessages reads a page of messages with a seq above the given one, as packedTasks does.
func (s *Store) packedMessages(ctx context.Context, pool string, above int64, limit int) ([]park.KeptMessage, string, error) {
	var rows int
	var text string
	if err := s.db.QueryRowContext(ctx, packedMessages(), above, pool, limit).Scan(&rows, &text); err != nil {
		return nil, "", err
	}
	u, err := newUnpacker(text, rows, 11)
	if err != nil {
		return nil, "", err
	}
	page := make([]park.KeptMessage, 0, rows)
	for last := above; u.rowsLeft > 0; last = above {
		if above = u.int(); above <= last {
			return nil, "", errPacked
		}
		k := park.KeptMessage{
			TaskID: u.next(), Tenant: u.next(), MailboxKey: u.next(), Status: park.Status(u.next()), Attempt: int(u.int()), Reason: u.next(),
			CreatedAt: park.FromMicro(u.int()), Trimmed: u.int() != 0,
		}
		message := u.next()
		k.Said = ledger.OutcomeDigest(message, []byte(u.last()))
		page = append(page, k)
	}
	return page, nextCursor(rows == limit, above), u.err()
}
