package engine

import (
	"context"
	"fmt"

	"github.com/parkd-dev/parkd/pkg/internal/relay"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// What the stores of a pool keep, read from the stores alone.

// maxEvidencePage is the maximum number of items of a page.
const maxEvidencePage = 20_000

// evidenceStore returns a store as [store.Evidence].
func (e *Engine) evidenceStore(b park.Backend) (store.Evidence, error) {
	if s, ok := e.stores[b].(store.Evidence); ok {
		return s, nil
	}
	return nil, park.Errorf(park.InvalidRequest, "the store %s does not support verification", b.Kind())
}

// Evidence implements [park.EvidenceService].
func (e *Engine) Evidence(ctx context.Context, pool string) (park.Evidence, error) {
	p, err := e.pool(pool)
	if err != nil {
		return park.Evidence{}, err
	}
	queue, err := e.evidenceStore(p.QueueBackend)
	if err != nil {
		return park.Evidence{}, err
	}
	row, err := queue.Row(ctx, p.ID)
	if err = e.health.Read(ctx, p.QueueBackend, err); err != nil {
		return park.Evidence{}, e.readError(ctx, "pool", err)
	}
	if row == (ledger.Pool{}) {
		row = p.initialRow()
	}
	ev := park.Evidence{
		PoolID: p.ID, Rev: row.Rev, LastAt: row.LastAt, MaxUnits: row.MaxUnits, MaxQueueDepth: row.MaxQueueDepth, State: row.State,
		UsedUnits: row.Used, QueueDepth: row.Queued, QueueBackend: p.QueueBackend.Kind(), MailboxBackend: p.MailboxBackend.Kind(),
		AuditBackend: e.cfg.Audit.Kind(), EventsApart: !p.localAudit, MessagesApart: !p.localMail, Retention: park.Duration(e.cfg.Retention),
	}
	if err := p.readOwed(ctx, &ev); err != nil {
		return park.Evidence{}, e.readError(ctx, "outbox", err)
	}
	if err := e.readMarks(ctx, p, &ev); err != nil {
		return park.Evidence{}, err
	}
	if first := p.firstLoaded.Load(); first != nil {
		// A store in memory has nothing from before the daemon started, while the queue has.
		at := park.FromMicro(first.LastAt.Micro() + 1)
		if e.cfg.Audit.Kind() == park.InMemory && !p.localAudit && ev.Log.Rev <= first.Rev {
			ev.Log = park.Mark{Rev: first.Rev, Before: at, Memory: true}
		}
		if p.MailboxBackend.Kind() == park.InMemory && !p.localMail && ev.Messages.Before.Before(at.Time) {
			ev.Messages = park.Mark{Before: at, Memory: true}
		}
	}
	return ev, nil
}

// readMarks reads what was removed from each store.
func (e *Engine) readMarks(ctx context.Context, p *pool, ev *park.Evidence) error {
	marks := make(map[park.Backend]store.Marks)
	for _, b := range []park.Backend{p.QueueBackend, p.MailboxBackend, e.cfg.Audit} {
		s, err := e.evidenceStore(b)
		if err != nil {
			return err
		}
		m, err := s.Marks(ctx, p.ID)
		if err = e.health.Read(ctx, b, err); err != nil {
			return e.readError(ctx, "marks", err)
		}
		marks[b] = m
	}
	ev.ToldSince = marks[p.QueueBackend].ToldSince
	ev.Tasks, ev.Messages, ev.Log = marks[p.QueueBackend].Tasks, marks[p.MailboxBackend].Messages, marks[e.cfg.Audit].Log
	return nil
}

// readOwed reads which entries have not been delivered to other stores yet.
func (p *pool) readOwed(ctx context.Context, ev *park.Evidence) error {
	for _, o := range []struct {
		dest  string
		local bool
		since *park.Time
	}{
		{relay.Audit(p.eng.cfg.Audit), p.localAudit, &ev.EventsOwed},
		{relay.Mailbox(p.MailboxBackend), p.localMail, &ev.MessagesOwed},
	} {
		if o.local {
			continue
		}
		// Include postponed entries.
		entries, err := p.queue.Outbox(ctx, o.dest, park.At(p.eng.env.Wall().Add(10*relay.LastRetry)), 1)
		if err = p.eng.health.Read(ctx, p.QueueBackend, err); err != nil {
			return fmt.Errorf("read the outbox: %w", err)
		}
		if len(entries) > 0 {
			*o.since = owedSince(&entries[0])
		}
	}
	return nil
}

func owedSince(p *store.OutboxEntry) park.Time {
	switch {
	case p.Message != nil:
		return p.Message.CreatedAt
	case p.Event != nil:
		return p.Event.At
	}
	return p.Since
}

// KeptEvents implements [park.EvidenceService].
func (e *Engine) KeptEvents(ctx context.Context, pool string, q park.KeptQuery) (page park.KeptPage[park.Event], err error) {
	if _, err := e.pool(pool); err != nil {
		return page, err
	}
	query := park.AuditQuery{PoolID: pool, Changes: true, Since: q.Since, Cursor: q.Cursor, Limit: evidenceLimit(q.Limit)}
	if err := checkCursor(q.Cursor); err != nil {
		return page, err
	}
	if cursorPool, _, _, _ := park.ParseEventID(q.Cursor); q.Cursor != "" && cursorPool != pool {
		// The log would continue after that event, and skip earlier events of this pool as if they had been read.
		return page, park.Errorf(park.InvalidRequest, "cursor must be an event of pool %s, not %q", pool, q.Cursor)
	}
	if page.Items, err = e.readEvents(ctx, &query); err != nil {
		return page, e.readError(ctx, "audit log", err)
	}
	if n := len(page.Items); n == query.Limit {
		last := &page.Items[n-1]
		page.Next = park.EventID(pool, last.Rev, last.Ord)
	}
	return page, nil
}

// KeptTasks implements [park.EvidenceService].
func (e *Engine) KeptTasks(ctx context.Context, pool string, q park.KeptQuery) (page park.KeptPage[park.KeptTask], err error) {
	p, err := e.pool(pool)
	if err != nil {
		return page, err
	}
	return evidencePage(ctx, e, p.QueueBackend, "queue", pool, q, store.Evidence.KeptTasks)
}

// KeptMessages implements [park.EvidenceService].
func (e *Engine) KeptMessages(ctx context.Context, pool string, q park.KeptQuery) (page park.KeptPage[park.KeptMessage], err error) {
	p, err := e.pool(pool)
	if err != nil {
		return page, err
	}
	return evidencePage(ctx, e, p.MailboxBackend, "mailbox", pool, q, store.Evidence.KeptMessages)
}

// evidencePage reads a page of what a store keeps.
func evidencePage[T any](
	ctx context.Context, e *Engine, backend park.Backend, what, pool string, q park.KeptQuery,
	read func(store.Evidence, context.Context, string, string, int) ([]T, string, error),
) (page park.KeptPage[T], err error) {
	s, err := e.evidenceStore(backend)
	if err != nil {
		return page, err
	}
	page.Items, page.Next, err = read(s, ctx, pool, q.Cursor, evidenceLimit(q.Limit))
	if err = e.health.Read(ctx, backend, err); err != nil {
		return park.KeptPage[T]{}, e.readError(ctx, what, err)
	}
	return page, nil
}

func evidenceLimit(n int) int {
	if n <= 0 {
		return maxEvidencePage
	}
	return min(n, maxEvidencePage)
}
