package engine

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/portion"
	"github.com/parkd-dev/parkd/pkg/internal/topic"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// defaultMessages is the default number of messages of a page of a mailbox.
const defaultMessages = 50

// Mailbox implements [park.MailboxService].
func (e *Engine) Mailbox(ctx context.Context, q park.MailboxQuery) (park.MessagePage, error) {
	if q.Limit == 0 {
		q.Limit = defaultMessages
	}
	limit, err := checkLimit(q.Limit, maxLimit)
	if err != nil {
		return park.MessagePage{}, err
	}
	q.Limit = limit
	deadline := e.env.Mono() + q.Wait
	for {
		woken, leave := e.hub.Join(topic.Mailbox(q.Tenant, q.Key))
		page, err := e.mailboxPage(ctx, q)
		left := deadline - e.env.Mono()
		if err != nil || len(page.Messages) > 0 || left <= 0 {
			leave()
			return page, err
		}
		err = e.waitOn(ctx, woken, e.hubWait(left))
		leave()
		if err != nil {
			return page, err
		}
	}
}

// mailboxPage reads a page of messages, which ends early if their payloads are large.
func (e *Engine) mailboxPage(ctx context.Context, q park.MailboxQuery) (park.MessagePage, error) {
	largest := park.DefaultMaxResult
	for _, p := range e.pools {
		largest = max(largest, p.maxResult())
	}
	page := park.MessagePage{Next: q.After}
	part := portion.Of(largest)
	for limit := q.Limit; ; {
		q.Limit = min(part.Next(), limit-len(page.Messages))
		more, err := e.readMailbox(ctx, q)
		if err != nil {
			return park.MessagePage{}, err
		}
		size := 0
		for i := range more.Messages {
			size += portion.RowBytes + len(more.Messages[i].Payload)
		}
		page.Messages = append(page.Messages, more.Messages...)
		page.Next, q.After = more.Next, more.Next
		if part.Read(len(more.Messages), size); len(more.Messages) < q.Limit || len(page.Messages) >= limit || part.Full() {
			return page, nil
		}
	}
}

// Audit implements [park.AuditService].
func (e *Engine) Audit(ctx context.Context, q park.AuditQuery) (park.EventPage, error) {
	var err error
	if q.Limit, err = checkLimit(q.Limit, maxEvents); err != nil {
		return park.EventPage{}, err
	}
	if err := checkCursor(q.Cursor); err != nil {
		return park.EventPage{}, err
	}
	var page park.EventPage
	for {
		events, err := e.readEvents(ctx, &q)
		if err != nil {
			return park.EventPage{}, e.readError(ctx, "audit log", err)
		}
		for _, ev := range events {
			if len(page.Events) < q.Limit && q.Selects(ev.Action) {
				page.Events = append(page.Events, ev)
			}
		}
		switch {
		case len(page.Events) == q.Limit:
			page.Next = page.Events[q.Limit-1].EventID
			return page, nil
		case len(events) < q.Limit:
			return page, nil
		}
		q.Cursor = events[len(events)-1].EventID
	}
}

// readEvents reads the log. A cursor that is no event of the log is rejected: a read from the oldest event on would
// look like events after the cursor. The exception: if all events of the cursor's pool are pruned, the cursor may have
// been one of them, and the read starts with what is left.
func (e *Engine) readEvents(ctx context.Context, q *park.AuditQuery) ([]park.Event, error) {
	events, err := e.audit.Events(ctx, *q)
	_ = e.health.Read(ctx, e.cfg.Audit, err)
	if !errors.Is(err, store.ErrNoEvent) {
		return events, err
	}
	pool, rev, _, _ := park.ParseEventID(q.Cursor)
	if p := e.pools[pool]; p != nil && rev <= p.rev.Load() {
		oldest, err := e.audit.Events(ctx, park.AuditQuery{PoolID: pool, Limit: 1})
		if err != nil {
			return nil, err
		}
		if len(oldest) == 0 {
			q.Cursor = ""
			return e.audit.Events(ctx, *q)
		}
	}
	return nil, park.Errorf(park.InvalidRequest, "cursor must be an event of this log, but it has no event %q", q.Cursor)
}

// watchPage is how many events a watch reads at once.
const watchPage = 500

// Watch implements [park.AuditService]. A watch without a start begins with the call, not with the first read of an
// event.
func (e *Engine) Watch(ctx context.Context, q park.AuditQuery) iter.Seq2[park.Event, error] {
	var startErr error
	if q.Cursor == "" && q.Since.IsZero() {
		q.Cursor, startErr = e.audit.LastEvent(ctx)
	} else {
		startErr = checkCursor(q.Cursor)
	}
	q.Limit = watchPage
	return func(yield func(park.Event, error) bool) {
		q, err := q, startErr
		for err == nil {
			woken, leave := e.hub.Join(topic.Audit())
			var events []park.Event
			var end string
			if events, end, err = e.readNewEvents(ctx, q); err == nil && len(events) == 0 {
				if end != "" {
					q.Cursor = end // no event up to there matches, so it need not be read again
				}
				err = e.waitOn(ctx, woken, e.hubWait(time.Hour))
			}
			leave()
			for i := range events {
				if q.Selects(events[i].Action) && !yield(events[i], nil) {
					return
				}
				q.Cursor = events[i].EventID
			}
		}
		yield(park.Event{}, err)
	}
}

// LastEvent returns the id of the newest event of the audit log, "" for an empty log.
func (e *Engine) LastEvent(ctx context.Context) (string, error) { return e.audit.LastEvent(ctx) }

// readNewEvents reads on. It also returns where the log ended before the read.
func (e *Engine) readNewEvents(ctx context.Context, q park.AuditQuery) (events []park.Event, end string, err error) {
	if q.TaskID != "" || q.PoolID != "" || q.Tenant != "" || q.Action != "" {
		if end, err = e.audit.LastEvent(ctx); err != nil {
			return nil, "", err
		}
	}
	events, err = e.readEvents(ctx, &q)
	return events, end, err
}
