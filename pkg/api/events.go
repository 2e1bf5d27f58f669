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
	// reconnectMs is how long a browser waits before it connects again.
	reconnectMs = 1000
	// flushRest is the least time between two writes of a stream, for each of the streams, up to mostFlushRest: where many
	// follow a busy daemon a write carries many events, and one alone hears of each at once.
	flushRest     = time.Millisecond
	mostFlushRest = 50 * time.Millisecond
	// flushAt is how many bytes a stream gathers at most before it writes.
	flushAt = 64 << 10
	// catchUpPage is how many events are read of the log at once, and catchUpPages after how many such reads a stream looks
	// anew where the feed is.
	catchUpPage  = 1000
	catchUpPages = 4
	// maxSeen is how many events a stream may be ahead of the feed.
	maxSeen = 4 * catchUpPages * catchUpPage
)

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
	h := c.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // a proxy would keep events back
	if c.r.Method == http.MethodHead {
		c.begin(http.StatusOK)
		return nil
	}
	// Before the answer begins: what happens after that is in the stream.
	s := stream{call: c, conn: http.NewResponseController(c.w), query: query}
	next, cursor := c.api.feed.join()
	defer c.api.feed.leave()
	if s.next, s.behind = next, query.Cursor != "" || !query.Since.IsZero(); !s.behind {
		s.query.Cursor = cursor
	}
	c.begin(http.StatusOK)
	if s.send(fmt.Appendf(nil, "retry: %d\n%s\n", reconnectMs, s.place())) {
		s.follow(ctx)
		c.limitWrite() // the end is written as well
	}
	return nil
}

// streamed returns what is asked for. Once the stream has begun it is too late to refuse it.
func (c *call) streamed() (park.AuditQuery, error) {
	q := c.queryParams()
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
		if err := (tenantView{tenant: t}).only(query.Tenant); err != nil {
			return query, err
		}
		query.Tenant = t
	}
	if query.Cursor == "" {
		return query, nil
	}
	// Whether there is such an event, the log knows.
	probe := query
	probe.Limit = 1
	_, err := c.svc.Audit(c.r.Context(), probe)
	if park.CodeOf(err) == park.InvalidRequest {
		return query, park.Errorf(park.InvalidRequest, "%s", strings.Replace(err.Error(), "cursor", from, 1))
	}
	return query, err
}

// stream is one reader of the feed. Whoever reads slowly holds up nobody else.
type stream struct {
	*call
	conn   *http.ResponseController
	query  park.AuditQuery // its cursor moves on with all that was passed over
	next   int64           // number of the next event of the feed
	behind bool            // what comes next is in the log alone
	ahead  sent            // what was read from the log and may be in the feed too
	out    bytes.Buffer
	broken bool // nobody reads any more
}

// follow sends what is asked for until ctx ends, and then what is there.
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
		if s.next, more, ok = s.api.feed.since(s.next, s.take); !ok {
			s.behind = true
			continue
		}
		if !s.flush() || ending {
			return
		}
		if s.next > before {
			ending = !restFor(ctx, s.api.feed.pace())
			continue
		}
		select {
		case <-more:
		case <-alive.C:
			if !s.sign() {
				return
			}
		case <-ctx.Done():
			ending = true
		}
	}
}

// take sends an event of the feed if it is asked for and was not sent before.
func (s *stream) take(i *item) {
	if s.ahead.has(&i.Event) {
		return
	}
	e, frame := &i.Event, i.frame
	if s.who.tenant != "" && i.TaskID != park.ShownTaskID(i.TaskID) {
		shown := shownEvent(i.Event)
		e, frame = &shown, nil
	}
	wanted := wants(&s.query, e)
	if wanted || !s.ahead.any() { // or else this may be one of those before the cursor
		s.query.Cursor = i.EventID
	}
	if !wanted {
		return
	}
	if frame == nil {
		frame = s.api.frame(e)
	}
	s.put(frame)
}

func (s *stream) put(frame []byte) {
	s.out.Write(frame)
	if s.out.Len() >= flushAt {
		s.flush()
	}
}

// catchUp sends what the log has after the cursor. It ends near the end of the log, from where the feed goes on; what is
// in both is remembered, also where the stream falls behind once more before the feed has come so far. It returns false
// where the stream ends.
func (s *stream) catchUp(ctx context.Context) bool {
	for pages := catchUpPages + 1; pages > catchUpPages; {
		s.next, pages = s.api.feed.end(), 0
		for more := true; more; pages++ {
			page, err := s.page(ctx)
			if err != nil {
				return false
			}
			for i := range page.Events {
				e := &page.Events[i]
				s.put(s.api.frame(e))
				s.query.Cursor = e.EventID
				s.ahead.add(e.EventID)
			}
			if more = page.Next != ""; !s.flush() || ctx.Err() != nil {
				return false
			}
		}
	}
	s.behind = false
	return true
}

// sent is the newest events that a stream has read from the log, as long as the feed has not come past them. The zero value
// is ready to use.
type sent struct {
	ids   map[string]bool
	order []string
}

func (s *sent) any() bool { return len(s.order) > 0 }
func (s *sent) clear()    { *s = sent{} }

func (s *sent) add(id string) {
	if s.ids == nil {
		s.ids = make(map[string]bool)
	}
	s.ids[id] = true
	if s.order = append(s.order, id); len(s.order) > maxSeen {
		delete(s.ids, s.order[0])
		s.order = s.order[1:]
	}
}

// has reports whether the feed's event was read from the log before. With the last of them the feed has come past all, and
// where it began after that one, with the next of its pool: the order of events is known within a pool alone.
func (s *sent) has(e *park.Event) bool {
	if !s.any() {
		return false
	}
	had, last := s.ids[e.EventID], s.order[len(s.order)-1]
	if e.EventID == last || !had && comesAfter(e, last) {
		s.clear()
	}
	return had
}

// comesAfter reports whether an event is of the pool of the one with the given id, and after it.
func comesAfter(e *park.Event, id string) bool {
	pool, rev, ord, err := park.ParseEventID(id)
	return err == nil && e.PoolID == pool && (e.Rev > rev || e.Rev == rev && e.Ord > ord)
}

// page reads the log. While it cannot be read the stream waits.
func (s *stream) page(ctx context.Context) (park.EventPage, error) {
	q := s.query
	q.Limit = catchUpPage
	if q.Cursor == "" && q.Since.IsZero() {
		q.Since = park.At(s.at) // it was to begin then
	}
	for {
		page, err := s.svc.Audit(ctx, q)
		if err == nil || !park.Passing(err) {
			return page, err
		}
		if !s.sign() || !restFor(ctx, feedRest) {
			return page, err
		}
	}
}

// sign shows that the stream lives, and how far it has come.
func (s *stream) sign() bool { return s.send([]byte(s.place() + ": alive\n\n")) }

// place says how far the stream has come: whoever asks for few of the events goes on from there, and not from the last
// one that it was sent. One tenant is not told of another's events, not even by their ids.
func (s *stream) place() string {
	if s.query.Cursor == "" || s.who.tenant != "" {
		return ""
	}
	return "id: " + s.query.Cursor + "\n"
}

// flush sends what was gathered, and returns false when nobody reads any more.
func (s *stream) flush() bool {
	if s.out.Len() > 0 && !s.broken {
		s.broken = !s.send(s.out.Bytes())
	}
	s.out.Reset()
	return !s.broken
}

// send returns false when nobody reads any more.
func (s *stream) send(b []byte) bool {
	s.limitWrite()
	_, err := s.w.Write(b)
	return err == nil && s.conn.Flush() == nil
}
