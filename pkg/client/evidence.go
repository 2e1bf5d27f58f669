package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/parkd-dev/parkd/pkg/internal/wire"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Evidence implements [park.EvidenceService].
func (c *Client) Evidence(ctx context.Context, pool string) (park.Evidence, error) {
	var ev park.Evidence
	err := c.call(ctx, request{method: http.MethodGet, path: path("pools", pool, "evidence")}, &ev)
	return ev, err
}

// KeptEvents implements [park.EvidenceService].
func (c *Client) KeptEvents(ctx context.Context, pool string, q park.KeptQuery) (park.KeptPage[park.Event], error) {
	page, err := readPage(ctx, c, path("pools", pool, "evidence", "events"), q, wire.GetEvent)
	for i := range page.Items {
		page.Items[i].PoolID = pool
	}
	return page, err
}

// KeptTasks implements [park.EvidenceService].
func (c *Client) KeptTasks(ctx context.Context, pool string, q park.KeptQuery) (park.KeptPage[park.KeptTask], error) {
	return readPage(ctx, c, path("pools", pool, "evidence", "tasks"), q, wire.GetTask)
}

// KeptMessages implements [park.EvidenceService].
func (c *Client) KeptMessages(ctx context.Context, pool string, q park.KeptQuery) (park.KeptPage[park.KeptMessage], error) {
	return readPage(ctx, c, path("pools", pool, "evidence", "messages"), q, wire.GetMessage)
}

func readPage[T any](ctx context.Context, c *Client, at string, q park.KeptQuery, get func(*wire.Reader, *T)) (park.KeptPage[T], error) {
	v := url.Values{}
	setTime(v, "since", q.Since)
	setLimit(v, q.Limit)
	set(v, "cursor", q.Cursor)
	var b []byte
	if err := c.call(ctx, request{method: http.MethodGet, path: at, query: v}, &b); err != nil {
		return park.KeptPage[T]{}, err
	}
	page, err := wire.Read(b, nil, get)
	if err != nil {
		return park.KeptPage[T]{}, notParkdError(c.base, err)
	}
	return page, nil
}
