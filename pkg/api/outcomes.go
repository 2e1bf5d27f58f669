package api

import (
	"errors"
	"net/http"
	"strings"

	"github.com/parkd-dev/parkd/pkg/park"
)

func (c *call) readMailbox() error {
	q := c.queryParams()
	query := park.MailboxQuery{
		Tenant: c.r.PathValue("tenant"), Key: c.r.PathValue("mailboxKey"), Limit: q.limit(), Wait: q.wait(),
	}
	if err := q.err(); err != nil {
		return err
	}
	if err := checkMailbox(query.Tenant, query.Key); err != nil {
		return err
	}
	// A value that is not a time is a message's id, which the mailbox checks.
	if since := q.Get("since"); since != "" {
		at, err := parseTime(since)
		if err != nil {
			query.After = since
		}
		query.Since = at
	}
	ctx, closing, done, err := c.waitContext(query.Wait)
	if err != nil {
		return err
	}
	defer done()
	page, err := c.svc.Mailbox(ctx, query)
	if err != nil && closing() {
		query.Wait = 0
		page, err = c.svc.Mailbox(c.r.Context(), query)
	}
	if err != nil {
		return withParameter("since", err)
	}
	if page.Messages == nil {
		page.Messages = []park.Message{}
	}
	return c.ok(page)
}

// withParameter prefixes a mailbox's error about an id with the name of the parameter.
func withParameter(parameter string, err error) error {
	if e, ok := errors.AsType[*park.Error](err); ok && e.Code == park.InvalidRequest && !strings.HasPrefix(e.Detail, parameter) {
		return park.Errorf(park.InvalidRequest, "%s: %s", parameter, e.Detail)
	}
	return err
}

func checkMailbox(tenant, key string) error {
	if err := park.CheckName("tenant", tenant); err != nil {
		return err
	}
	return park.CheckName("mailboxKey", key)
}

func (c *call) trimMailbox() error {
	tenant, key, upTo := c.r.PathValue("tenant"), c.r.PathValue("mailboxKey"), c.query.Get("upTo")
	if upTo == "" {
		return park.Errorf(park.InvalidRequest, "upTo is required: the id of the last message to remove")
	}
	if err := checkMailbox(tenant, key); err != nil {
		return err
	}
	if err := c.svc.TrimMailbox(c.r.Context(), tenant, key, upTo); err != nil {
		return withParameter("upTo", err)
	}
	c.writeHeader(http.StatusNoContent)
	return nil
}

func (q *queryParams) audit() park.AuditQuery {
	return park.AuditQuery{
		TaskID: q.Get("task"), PoolID: q.Get("pool"), Tenant: q.Get("tenant"), Action: parseParam(q, "action", park.ParseAction),
		Since: q.time("since"), Until: q.time("until"), Cursor: q.Get("cursor"), Changes: q.boolean("changes"),
	}
}

func (c *call) readAudit() error {
	q := c.queryParams()
	query := q.audit()
	query.Limit = q.limit()
	if err := q.err(); err != nil {
		return err
	}
	page, err := c.svc.Audit(c.r.Context(), query)
	if err != nil {
		return err
	}
	if page.Events == nil {
		page.Events = []park.Event{}
	}
	return c.ok(page)
}
