package cmd

import (
	"context"
	"errors"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/replay"
)

// onItsWay is how long the message of an ended task may take to its mailbox before it is missed.
const onItsWay = time.Minute

// verifyMail holds the mailboxes against the pool's ended tasks.
func verifyMail(ctx context.Context, svc park.Service, pool string, since park.Time, now time.Time) error {
	mail := replay.NewMail(pool)
	q := park.TaskQuery{Limit: mostEvents}
	for {
		page, err := svc.Tasks(ctx, pool, q)
		if err != nil {
			return err
		}
		for _, t := range page.Tasks {
			if !t.CompletedAt.Before(since.Time) {
				mail.Ended(t)
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	for _, b := range mail.Boxes() {
		messages, err := allMessages(ctx, svc, b)
		if err != nil {
			return err
		}
		if err := mail.Check(b, messages, now.Add(-onItsWay)); err != nil {
			return placed(ctx, svc, err)
		}
	}
	return nil
}

func allMessages(ctx context.Context, svc park.Service, b replay.Box) (all []park.Message, err error) {
	q := park.MailboxQuery{Tenant: b.Tenant, Key: b.Key, Limit: mostEvents}
	for {
		page, err := svc.Mailbox(ctx, q)
		if err != nil || len(page.Messages) == 0 {
			return all, err
		}
		for _, m := range page.Messages {
			m.Payload, m.Message = nil, ""
			all = append(all, m)
		}
		q.After = page.Next
	}
}

// placed looks up the rev of an offence: that of the task's last event.
func placed(ctx context.Context, svc park.Service, err error) error {
	o, ok := errors.AsType[*replay.Offence](err)
	if !ok {
		return err
	}
	q := park.AuditQuery{PoolID: o.PoolID, TaskID: o.TaskID}
	if err := eachEvent(ctx, svc, q, 0, func(e park.Event) error {
		o.Rev, o.Ord = e.Rev, e.Ord
		return nil
	}); err != nil {
		return err
	}
	return o
}
