package memory

import (
	"context"
	"math"
	"strconv"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// The evidence: stored rows and messages, page by page.

// Row implements [store.Evidence].
func (s *Store) Row(ctx context.Context, id string) (ledger.Pool, error) {
	p := s.findPool(id)
	if p == nil || ctx.Err() != nil {
		return ledger.Pool{}, ctx.Err()
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.row, nil
}

// KeptTasks implements [store.Evidence].
func (s *Store) KeptTasks(ctx context.Context, id, after string, limit int) ([]park.KeptTask, string, error) {
	found, next, err := s.List(ctx, id, park.TaskQuery{Cursor: after, Limit: limit})
	kept := make([]park.KeptTask, len(found))
	for i := range found {
		kept[i] = found[i].Evidence()
	}
	return kept, next, err
}

// KeptMessages implements [store.Evidence].
func (s *Store) KeptMessages(ctx context.Context, id, after string, limit int) ([]park.KeptMessage, string, error) {
	n, err := parseCursor(after, 0)
	if err != nil {
		return nil, "", err
	}
	m := &s.mail
	m.mu.RLock()
	defer m.mu.RUnlock()
	var kept []park.KeptMessage
	n, l := m.all.From(min(n, math.MaxInt64-1) + 1)
	for ; l != nil && len(kept) < limit; n, l = m.all.From(n + 1) {
		if l.pool.name != id {
			continue
		}
		msg := l.message(n)
		k := park.KeptMessage{
			TaskID: msg.TaskID, Tenant: msg.Tenant, MailboxKey: msg.Key, Status: msg.Status, Attempt: msg.Attempt, Reason: msg.Reason,
			CreatedAt: msg.CreatedAt, Trimmed: l.trimmed, Said: ledger.OutcomeDigest(msg.Message, msg.Payload),
		}
		kept = append(kept, k)
	}
	if l == nil {
		return kept, "", ctx.Err()
	}
	return kept, strconv.FormatInt(n-1, 10), ctx.Err()
}

// Marks implements [store.Evidence].
func (s *Store) Marks(ctx context.Context, pool string) (m store.Marks, err error) {
	s.mu.RLock()
	m.Tasks.Before = s.prunedBefore
	s.mu.RUnlock()
	s.mail.mu.RLock()
	m.Messages.Before = s.mail.prunedBefore
	s.mail.mu.RUnlock()
	s.audit.mu.RLock()
	m.Log = s.audit.pruned[pool]
	s.audit.mu.RUnlock()
	return m, ctx.Err()
}

// advance moves a mark forward.
func advance(mark *park.Time, to park.Time) {
	if mark.Before(to.Time) {
		*mark = to
	}
}
