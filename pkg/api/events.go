package api

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// reconnectMs is how long a browser waits before it connects again.
const reconnectMs = 1000

// streamEvents sends events as they happen (https://html.spec.whatwg.org/multipage/server-sent-events.html).
// An event's id is where a broken stream goes on.
func (c *call) streamEvents() error {
	query, err := c.streamed()
	if err != nil {
		return err
	}
	if err := c.hold(&c.counters.streams); err != nil {
		return err
	}
	ctx, _, done := c.ending()
	defer done()
	// Before the answer begins: what happens after that is in the stream.
	watched := c.svc.Watch(ctx, query)
	h := c.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // a proxy would keep events back
	c.begin(http.StatusOK)
	s := stream{call: c, conn: http.NewResponseController(c.w)}
	if !s.send(fmt.Appendf(nil, "retry: %d\n\n", reconnectMs)) || c.r.Method == http.MethodHead {
		return nil
	}
	s.follow(ctx, c.receive(ctx, watched))
	c.limitWrite() // the end is written as well
	return nil
}

// streamed returns what is asked for. Once the stream has begun it is too late to refuse it.
func (c *call) streamed() (park.AuditQuery, error) {
	q := c.asked()
	query := q.audit()
	from := "cursor"
	last := c.r.Header["Last-Event-Id"]
	if len(last) > 1 {
		q.faults = append(q.faults, "Last-Event-ID is given "+strconv.Itoa(len(last))+" times")
	} else if len(last) == 1 && last[0] != "" {
		// A browser that connects again sends it beside the address that it began with.
		from, query.Cursor = "Last-Event-ID", last[0]
	}
	if query.Cursor != "" {
		if _, _, _, err := park.ParseEventID(query.Cursor); err != nil {
			q.faults = append(q.faults, from+" "+err.Error())
		}
	}
	if err := q.err(); err != nil {
		return query, err
	}
	if t := c.who.tenant; t != "" {
		return query, tenantView{tenant: t}.only(query.Tenant)
	}
	return query, nil
}

// receive passes events on until ctx ends or the service has no more. Whoever reads slowly holds up nobody but
// this one walk over the log.
func (c *call) receive(ctx context.Context, watched iter.Seq2[park.Event, error]) <-chan park.Event {
	events := make(chan park.Event)
	go func() {
		defer close(events)
		for e, err := range watched {
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
	s.buf.Reset()
	fmt.Fprintf(&s.buf, "id: %s\nevent: %s\ndata: ", e.EventID, e.Action)
	if err := encode(&s.buf, e); err != nil {
		s.api.cfg.Log.Error("event not encoded", "event", e.EventID, "error", err)
		return false
	}
	s.buf.WriteByte('\n') // a second one: encode has written the first
	return s.send(s.buf.Bytes())
}

// send returns false when nobody reads any more.
func (s *stream) send(b []byte) bool {
	s.limitWrite()
	_, err := s.w.Write(b)
	return err == nil && s.conn.Flush() == nil
}
