package api

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

const (
	// reconnectMs is how long a browser waits before it reconnects.
	reconnectMs = 1000
	// minFlushInterval is the least time between two writes of a stream, times the number of streams, up to maxFlushInterval:
	// if many streams follow a busy daemon, a write carries many events, and a single stream gets each event at once.
	minFlushInterval = time.Millisecond
	maxFlushInterval = 50 * time.Millisecond
	// maxBuffered is how many bytes a stream buffers at most before it writes.
	maxBuffered = 64 << 10
	// catchUpPage is how many events of the log are read at once, and catchUpPages is after how many reads a stream checks
	// again where the feed is.
	catchUpPage  = 1000
	catchUpPages = 4
	// maxSeen is how many events a stream may be ahead of the feed.
	maxSeen = 4 * catchUpPages * catchUpPage
)

// streamEvents sends events as they happen (https://html.spec.whatwg.org/multipage/server-sent-events.html). A broken
// stream continues after the id of its last event.
func (c *call) streamEvents() error {
	query, err := c.streamQuery()
	if err != nil {
		return err
	}
	if err := c.acquire(&c.budgets.streams); err != nil {
		return err
	}
	ctx, _, done := c.closingContext()
	defer done()
	h := c.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // otherwise a proxy might buffer events
	if c.r.Method == http.MethodHead {
		c.writeHeader(http.StatusOK)
		return nil
	}
	// It joins before the answer begins, so that the stream has everything that happens after that.
	s := stream{call: c, conn: http.NewResponseController(c.w), query: query}
	next, cursor := c.api.feed.join()
	defer c.api.feed.leave()
	if s.next, s.behind = next, query.Cursor != "" || !query.Since.IsZero(); !s.behind {
		s.query.Cursor = cursor
	}
	c.writeHeader(http.StatusOK)
	if s.send(fmt.Appendf(nil, "retry: %d\n%s\n", reconnectMs, s.position())) {
		s.follow(ctx)
		c.limitWrite() // net/http writes the end of the body
	}
	return nil
}

// streamQuery returns the query of a stream. It must find all errors, since a stream that has begun can no longer be
// refused.
func (c *call) streamQuery() (park.AuditQuery, error) {
	q := c.queryParams()
	query := q.audit()
	from := "cursor"
	last := c.r.Header["Last-Event-Id"]
	if len(last) > 1 {
		q.faults = append(q.faults, "Last-Event-ID is given "+strconv.Itoa(len(last))+" times")
	} else if len(last) == 1 && last[0] != "" {
		// A browser that reconnects sends this header together with its original URL.
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
	if t := c.caller.tenant; t != "" {
		if err := (tenantView{tenant: t}).checkTenant(query.Tenant); err != nil {
			return query, err
		}
		query.Tenant = t
	}
	if query.Cursor == "" {
		return query, nil
	}
	// Only the log knows whether there is such an event.
	probe := query
	probe.Limit = 1
	_, err := c.svc.Audit(c.r.Context(), probe)
	if park.CodeOf(err) == park.InvalidRequest {
		return query, park.Errorf(park.InvalidRequest, "%s", strings.Replace(err.Error(), "cursor", from, 1))
	}
	return query, err
}

// stream is one reader of the feed. A slow reader does not delay the others.
type stream struct {
	*call
	conn      *http.ResponseController
	query     park.AuditQuery // its cursor also advances over events that are not selected
	next      int64           // number of the next event of the feed
	behind    bool            // the next events are only in the log
	readAhead sentEvents      // events read from the log that may also be in the feed
	out       bytes.Buffer
	broken    bool // the client no longer reads
}

// follow sends the selected events until ctx ends, and then those that are left in the feed.
func (s *stream) follow(ctx context.Context) {
	alive := time.NewTicker(s.api.cfg.Heartbeat)
	defer alive.Stop()
	for ending := false; ; {
		if s.behind && !s.catchUp(ctx) {
			return
		}
		before := s.next
		var more <-chan struct{}
		var ok bool
		if s.next, more, ok = s.api.feed.since(s.next, s.deliver); !ok {
			s.behind = true
			continue
		}
		if !s.flush() || ending {
			return
		}
		if s.next > before {
			ending = !sleep(ctx, s.api.feed.writeInterval())
			continue
		}
		select {
		case <-more:
		case <-alive.C:
			if !s.keepAlive() {
				return
			}
		case <-ctx.Done():
			ending = true
		}
	}
}

// deliver sends an event of the feed if the query selects it and it was not sent before.
func (s *stream) deliver(i *item) {
	if s.readAhead.has(&i.Event) {
		return
	}
	e, frame := &i.Event, i.frame
	if s.caller.tenant != "" && i.TaskID != park.ShownTaskID(i.TaskID) {
		shown := shownEvent(i.Event)
		e, frame = &shown, nil
	}
	wanted := selects(&s.query, e)
	if wanted || !s.readAhead.any() { // otherwise the event may be before the cursor
		s.query.Cursor = i.EventID
	}
	if !wanted {
		return
	}
	if frame == nil {
		frame = s.api.frame(e)
	}
	s.buffer(frame)
}

func (s *stream) buffer(frame []byte) {
	s.out.Write(frame)
	if s.out.Len() >= maxBuffered {
		s.flush()
	}
}

// catchUp sends the events in the log after the cursor. It stops near the end of the log, from where the feed
// continues. The events that are in both are remembered, even if the stream falls behind again before the feed has
// passed them. It returns false if the stream ends.
func (s *stream) catchUp(ctx context.Context) bool {
	for pages := catchUpPages + 1; pages > catchUpPages; {
		s.next, pages = s.api.feed.nextNumber(), 0
		for more := true; more; pages++ {
			page, err := s.page(ctx)
			if err != nil {
				return false
			}
			for i := range page.Events {
				e := &page.Events[i]
				s.buffer(s.api.frame(e))
				s.query.Cursor = e.EventID
				s.readAhead.add(e.EventID)
			}
			if more = page.Next != ""; !s.flush() || ctx.Err() != nil {
				return false
			}
		}
	}
	s.behind = false
	return true
}

// sentEvents holds the newest events that a stream has read from the log and that the feed has not passed yet. The
// zero value is ready to use.
type sentEvents struct {
	ids   map[string]bool
	order []string
}

func (s *sentEvents) any() bool { return len(s.order) > 0 }
func (s *sentEvents) clear()    { *s = sentEvents{} }

func (s *sentEvents) add(id string) {
	if s.ids == nil {
		s.ids = make(map[string]bool)
	}
	s.ids[id] = true
	if s.order = append(s.order, id); len(s.order) > maxSeen {
		delete(s.ids, s.order[0])
		s.order = s.order[1:]
	}
}

// has reports whether the feed's event was read from the log before. The last event read from the log clears the set.
// If the feed began after it, the next event of its pool does: events have an order only within a pool.
func (s *sentEvents) has(e *park.Event) bool {
	if !s.any() {
		return false
	}
	had, last := s.ids[e.EventID], s.order[len(s.order)-1]
	if e.EventID == last || !had && comesAfter(e, last) {
		s.clear()
	}
	return had
}

// comesAfter reports whether an event belongs to the pool of the event with the given id, and comes after it.
func comesAfter(e *park.Event, id string) bool {
	pool, rev, ord, err := park.ParseEventID(id)
	return err == nil && e.PoolID == pool && (e.Rev > rev || e.Rev == rev && e.Ord > ord)
}

// page reads a page of the log. The stream waits while the log cannot be read.
func (s *stream) page(ctx context.Context) (park.EventPage, error) {
	q := s.query
	q.Limit = catchUpPage
	if q.Cursor == "" && q.Since.IsZero() {
		q.Since = park.At(s.start) // the stream begins at the start of the request
	}
	for {
		page, err := s.svc.Audit(ctx, q)
		if err == nil || !park.Passing(err) {
			return page, err
		}
		if !s.keepAlive() || !sleep(ctx, retryInterval) {
			return page, err
		}
	}
}

// keepAlive shows that the stream is alive, and its position.
func (s *stream) keepAlive() bool { return s.send([]byte(s.position() + ": alive\n\n")) }

// position returns the id up to which the stream has read. A client that selects few events continues from there, and
// not from the last event that it got. A tenant must not see even the ids of other tenants' events.
func (s *stream) position() string {
	if s.query.Cursor == "" || s.caller.tenant != "" {
		return ""
	}
	return "id: " + s.query.Cursor + "\n"
}

// flush sends what is buffered. It returns false if the client no longer reads.
func (s *stream) flush() bool {
	if s.out.Len() > 0 && !s.broken {
		s.broken = !s.send(s.out.Bytes())
	}
	s.out.Reset()
	return !s.broken
}

// send returns false if the client no longer reads.
func (s *stream) send(b []byte) bool {
	s.limitWrite()
	_, err := s.w.Write(b)
	return err == nil && s.conn.Flush() == nil
}
