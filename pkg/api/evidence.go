package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/parkd-dev/parkd/pkg/internal/wire"
	"github.com/parkd-dev/parkd/pkg/park"
)

// The evidence of a pool, with which its stores can be checked against each other. It is for operators only.

func (c *call) evidence() error {
	ev, err := c.svc.Evidence(c.r.Context(), c.r.PathValue("poolId"))
	if err != nil {
		return err
	}
	return c.ok(ev)
}

func (c *call) keptEvents() error { return keptPage(c, c.svc.KeptEvents, wire.PutEvent) }
func (c *call) keptTasks() error  { return keptPage(c, c.svc.KeptTasks, wire.PutTask) }

func (c *call) keptMessages() error { return keptPage(c, c.svc.KeptMessages, wire.PutMessage) }

// keptPage answers with a page of evidence. Only one of the three routes has the parameter since.
func keptPage[T any](
	c *call, read func(context.Context, string, park.KeptQuery) (park.KeptPage[T], error), put func(*wire.Writer, *T),
) error {
	q := c.queryParams()
	query := park.KeptQuery{Since: q.time("since"), Cursor: q.Get("cursor"), Limit: q.limit()}
	if err := q.err(); err != nil {
		return err
	}
	page, err := read(c.r.Context(), c.r.PathValue("poolId"), query)
	if err != nil {
		return err
	}
	buf := c.api.buffer()
	defer c.api.release(buf)
	buf.Write(wire.Append(buf.AvailableBuffer(), page, put))
	h := c.w.Header()
	h.Set("Content-Type", wire.ContentType)
	h.Set("Content-Length", strconv.Itoa(buf.Len()))
	c.writeHeader(http.StatusOK)
	if c.r.Method != http.MethodHead {
		_, _ = c.w.Write(buf.Bytes())
	}
	return nil
}
