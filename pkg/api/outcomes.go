package api

import (
	"net/http"

	"github.com/parkd-dev/parkd/pkg/park"
)

func (c *call) readMailbox() error {
	q := c.query()
	query := park.MailboxQuery{
		Tenant: c.r.PathValue("tenant"), Key: c.r.PathValue("mailboxKey"), Limit: q.limit(), Wait: q.wait(),
	}
	if q.err != nil {
		return q.err
	}
	if err := checkAddress(query.Tenant, query.Key); err != nil {
		return err
	}
	// What is no time is a message's id; whether it is a good one, the mailbox knows.
	if since := q.text("since"); since != "" {
		at, err := park.ParseTime(since)
		if err != nil {
			query.After = since
		}
		query.Since = at
	}
	ctx, over, done := c.patient()
	defer done()
	page, err := c.svc.Mailbox(ctx, query)
	if err != nil && over() {
		query.Wait = 0
		page, err = c.svc.Mailbox(c.r.Context(), query)
	}
	if err != nil {
		return err
	}
	if page.Messages == nil {
		page.Messages = []park.Message{}
	}
	return c.ok(http.StatusOK, page)
}

func checkAddress(tenant, key string) error {
	if err := park.CheckName("tenant", tenant); err != nil {
		return err
	}
	return park.CheckName("mailboxKey", key)
}

func (c *call) trimMailbox() error {
	tenant, key, upTo := c.r.PathValue("tenant"), c.r.PathValue("mailboxKey"), c.query().text("upTo")
	if upTo == "" {
		return park.Errorf(park.InvalidRequest, "upTo is missing: the id of the last message to remove")
	}
	if err := checkAddress(tenant, key); err != nil {
		return err
	}
	if err := c.svc.TrimMailbox(c.r.Context(), tenant, key, upTo); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (q *query) audit() park.AuditQuery {
	return park.AuditQuery{
		TaskID: q.text("task"), PoolID: q.text("pool"), Tenant: q.text("tenant"), Action: parsed(q, "action", park.ParseAction),
		Since: q.time("since"), Until: q.time("until"), Cursor: q.text("cursor"),
	}
}

func (c *call) readAudit() error {
	q := c.query()
	query := q.audit()
	query.Limit = q.limit()
	if q.err != nil {
		return q.err
	}
	page, err := c.svc.Audit(c.r.Context(), query)
	if err != nil {
		return err
	}
	if page.Events == nil {
		page.Events = []park.Event{}
	}
	return c.ok(http.StatusOK, page)
}
