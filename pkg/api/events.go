package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// reconnectMs is how long a browser waits before it connects again.
const reconnectMs = 1000

// streamEvents sends events as they happen (https://html.spec.whatwg.org/multipage/server-sent-events.html).
// An event's id is where a broken stream goes on.
func (c *call) streamEvents() error {
	q := c.query()
	query := q.audit()
	if q.err != nil {
		return q.err
	}
	if last := c.r.Header.Get("Last-Event-ID"); last != "" {
		if _, _, _, err := park.ParseEventID(last); err != nil {
			return park.Errorf(park.InvalidRequest, "Last-Event-ID %v", err)
		}
		query.Cursor = last
	}
	// Once the stream has begun it is too late to refuse it.
	if t := c.who.tenant; t != "" && query.Tenant != "" && query.Tenant != t {
		return tenantView{tenant: t}.only(query.Tenant)
	}
	c.w.Header().Set("Content-Type", "text/event-stream")
	s := stream{call: c, conn: http.NewResponseController(c.w)}
	if !s.send(fmt.Appendf(nil, "retry: %d\n\n", reconnectMs)) || c.r.Method == http.MethodHead {
		return nil
	}
	ctx, _, done := c.patient()
	defer done()
	s.follow(ctx, c.watch(ctx, query))
	return nil
}

// watch passes events on until ctx ends or the service has no more.
func (c *call) watch(ctx context.Context, q park.AuditQuery) <-chan park.Event {
	events := make(chan park.Event)
	go func() {
		defer close(events)
		for e, err := range c.svc.Watch(ctx, q) {
			if err != nil {
				if ctx.Err() == nil {
					c.api.cfg.Log.Warn("stream of events broke off", "error", err)
				}
				return
			}
			select {
			case events <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	return events
}

type stream struct {
	*call
	conn *http.ResponseController
	buf  bytes.Buffer
}

func (s *stream) follow(ctx context.Context, events <-chan park.Event) {
	alive := time.NewTicker(s.api.cfg.Heartbeat)
	defer alive.Stop()
	for {
		select {
		case e, ok := <-events:
			if !ok || !s.event(&e) {
				return
			}
		case <-alive.C:
			if !s.send([]byte(": alive\n\n")) {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (s *stream) event(e *park.Event) bool {
	b, err := json.Marshal(e)
	if err != nil {
		s.api.cfg.Log.Error("event not encoded", "event", e.EventID, "error", err)
		return false
	}
	s.buf.Reset()
	fmt.Fprintf(&s.buf, "id: %s\nevent: %s\ndata: %s\n\n", e.EventID, e.Action, b)
	return s.send(s.buf.Bytes())
}

// send returns false when nobody reads any more.
func (s *stream) send(b []byte) bool {
	s.limitWrite()
	_, err := s.w.Write(b)
	return err == nil && s.conn.Flush() == nil
}
