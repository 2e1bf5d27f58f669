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

// defaultMessages is how many messages a read of a mailbox returns where it does not say.
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
		rung, leave := e.hub.Join(topic.Mailbox(q.Tenant, q.Key))
		page, err := e.mailPage(ctx, q)
		left := deadline - e.env.Mono()
		if err != nil || len(page.Messages) > 0 || left <= 0 {
			leave()
			return page, err
		}
		err = e.linger(ctx, rung, e.patience(left))
		leave()
		if err != nil {
			return page, err
		}
	}
}

// mailPage reads a page of messages, which ends early where their payloads are large.
func (e *Engine) mailPage(ctx context.Context, q park.MailboxQuery) (park.MessagePage, error) {
	largest := park.DefaultMaxResult
	for _, p := range e.pools {
		largest = max(largest, p.maxResult())
	}
	page := park.MessagePage{Next: q.After}
	part := portion.Of(largest)
	for most := q.Limit; ; {
		q.Limit = min(part.Next(), most-len(page.Messages))
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
		if part.Read(len(more.Messages), size); len(more.Messages) < q.Limit || len(page.Messages) >= most || part.Full() {
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
		events, err := e.logged(ctx, &q)
		if err != nil {
			return park.EventPage{}, e.unread(ctx, "audit log", err)
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

// logged reads the log. A cursor that is no event of it is refused: to begin again from the oldest would be taken for what
// came after it. Only where all events of its pool are pruned, and it may have been one of them, that is what is left.
func (e *Engine) logged(ctx context.Context, q *park.AuditQuery) ([]park.Event, error) {
	events, err := e.audit.Events(ctx, *q)
	_ = e.health.Read(ctx, e.cfg.Audit, err)
	if !errors.Is(err, store.ErrNoEvent) {
		return events, err
	}
	pool, rev, _, _ := park.ParseEventID(q.Cursor)
	if p := e.pools[pool]; p != nil && rev <= p.rev.Load() {
		left, err := e.audit.Events(ctx, park.AuditQuery{PoolID: pool, Limit: 1})
		if err != nil {
			return nil, err
		}
		if len(left) == 0 {
			q.Cursor = ""
			return e.audit.Events(ctx, *q)
		}
	}
	return nil, park.Errorf(park.InvalidRequest, "cursor must be an event of this log, and there is none with the id %q", q.Cursor)
}

// watchPage is how many events a watcher reads at once.
const watchPage = 500

// Watch implements [park.AuditService]. A watch that begins now begins with the call, not with the first event
// that is asked for.
func (e *Engine) Watch(ctx context.Context, q park.AuditQuery) iter.Seq2[park.Event, error] {
	var began error
	if q.Cursor == "" && q.Since.IsZero() {
		q.Cursor, began = e.audit.LastEvent(ctx)
	} else {
		began = checkCursor(q.Cursor)
	}
	q.Limit = watchPage
	return func(yield func(park.Event, error) bool) {
		q, err := q, began
		for err == nil {
			rung, leave := e.hub.Join(topic.Audit())
			var events []park.Event
			var end string
			if events, end, err = e.watched(ctx, q); err == nil && len(events) == 0 {
				if end != "" {
					q.Cursor = end // nothing up to there is asked for, and it need not be looked at again
				}
				err = e.linger(ctx, rung, e.patience(time.Hour))
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

// watched reads on, and returns what was the end of the log before it did.
func (e *Engine) watched(ctx context.Context, q park.AuditQuery) (events []park.Event, end string, err error) {
	if q.TaskID != "" || q.PoolID != "" || q.Tenant != "" || q.Action != "" {
		if end, err = e.audit.LastEvent(ctx); err != nil {
			return nil, "", err
		}
	}
	events, err = e.logged(ctx, &q)
	return events, end, err
}
