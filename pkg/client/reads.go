package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Pools implements [park.PoolService].
func (c *Client) Pools(ctx context.Context) ([]park.Pool, error) {
	var answer struct {
		Pools []park.Pool `json:"pools"`
	}
	err := c.call(ctx, request{method: http.MethodGet, path: "/pools"}, &answer)
	return answer.Pools, err
}

// Pool implements [park.PoolService].
func (c *Client) Pool(ctx context.Context, id string) (park.Pool, error) {
	var p park.Pool
	err := c.call(ctx, request{method: http.MethodGet, path: path("pools", id)}, &p)
	return p, err
}

// SetPool implements [park.PoolService].
func (c *Client) SetPool(ctx context.Context, id string, patch park.PoolPatch) (park.Pool, error) {
	var p park.Pool
	err := c.call(ctx, request{method: http.MethodPatch, path: path("pools", id), body: patch}, &p)
	return p, err
}

// Mailbox implements [park.MailboxService].
func (c *Client) Mailbox(ctx context.Context, q park.MailboxQuery) (park.MessagePage, error) {
	v := url.Values{}
	set(v, "since", q.After)
	setTime(v, "since", q.Since)
	setLimit(v, q.Limit)
	setWait(v, q.Wait)
	var page park.MessagePage
	err := c.call(ctx, request{method: http.MethodGet, path: path("mailbox", q.Tenant, q.Key), query: v, wait: q.Wait}, &page)
	for i := range page.Messages {
		page.Messages[i].Tenant, page.Messages[i].Key = q.Tenant, q.Key
	}
	return page, err
}

// TrimMailbox implements [park.MailboxService].
func (c *Client) TrimMailbox(ctx context.Context, tenant, key, upTo string) error {
	v := url.Values{"upTo": {upTo}}
	return c.call(ctx, request{method: http.MethodDelete, path: path("mailbox", tenant, key), query: v}, nil)
}

// Audit implements [park.AuditService].
func (c *Client) Audit(ctx context.Context, q park.AuditQuery) (park.EventPage, error) {
	v := filters(q)
	setTime(v, "since", q.Since)
	setTime(v, "until", q.Until)
	set(v, "cursor", q.Cursor)
	setLimit(v, q.Limit)
	var page park.EventPage
	if err := c.call(ctx, request{method: http.MethodGet, path: "/audit", query: v}, &page); err != nil {
		return park.EventPage{}, err
	}
	for i := range page.Events {
		page.Events[i].Ord = ordOf(page.Events[i].EventID)
	}
	return page, nil
}

func filters(q park.AuditQuery) url.Values {
	v := url.Values{}
	set(v, "task", q.TaskID)
	set(v, "pool", q.PoolID)
	set(v, "tenant", q.Tenant)
	set(v, "action", string(q.Action))
	if q.Changes {
		v.Set("changes", "true")
	}
	return v
}

// ordOf returns an event's place within its step, which only the event's id has.
func ordOf(id string) int {
	_, _, n, err := park.ParseEventID(id)
	if err != nil {
		return 0
	}
	return n
}
