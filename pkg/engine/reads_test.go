package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env/envtest"
	"github.com/parkd-dev/parkd/pkg/internal/portion"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

func (s *fakeRows) Messages(_ context.Context, q park.MailboxQuery) (all []park.Message, err error) {
	from := 0
	_, _ = fmt.Sscan(q.After, &from)
	n, err := s.page(from, q.Limit)
	for i := range n {
		all = append(all, park.Message{ID: fmt.Sprint(from + i + 1), Payload: make([]byte, s.bytes)})
	}
	return all, err
}

// mailboxEngine is an engine with two pools and one store of mailboxes.
func mailboxEngine(t *testing.T, s *fakeRows, largest int64) *Engine {
	p := testLoop(t, ledger.Pool{State: park.Active})
	small := testLoop(t, ledger.Pool{State: park.Active})
	p.MailboxBackend, small.MailboxBackend, p.MaxResultBytes, small.MaxResultBytes = park.InMemory, park.InMemory, largest, 1
	e := p.eng
	e.poolIDs, e.pools, e.stores = []string{"cpu", "small"}, map[string]*pool{"cpu": p.pool, "small": small.pool}, map[park.Backend]store.Store{park.InMemory: s}
	return e
}

// TestPagesOfMailboxes end where as many are read as were asked for, where there are no more, or where they are large.
func TestPagesOfMailboxes(t *testing.T) {
	const even = portion.MaxBytes/64 - portion.RowBytes // of which as many as are read at once fill an answer
	for i, c := range []struct {
		rows, bytes, limit int
		largest            int64
		asked              []int
		next               string
	}{
		{100, 1, 0, 0, []int{50}, "50"},
		{10, 1, 5, 0, []int{5}, "5"},
		{10, 1, 20, 0, []int{10 + 10}, "10"},
		{64, 1, 100, 0, []int{64, 36}, "64"},
		{2000, 1, 2000, 0, []int{64, 256, 680}, "1000"},
		{200, even, 200, 0, []int{64}, "64"},
		{200, even - 1, 200, 0, []int{64, 64}, "128"},
		{200, 1, 20, 16 << 20, []int{4, 16}, "20"},
	} {
		s := &fakeRows{rows: c.rows, bytes: c.bytes}
		e := mailboxEngine(t, s, c.largest)
		page, err := e.Mailbox(t.Context(), park.MailboxQuery{Limit: c.limit})
		if err != nil || page.Next != c.next || fmt.Sprint(len(page.Messages)) != c.next || !slices.Equal(s.asked, c.asked) || e.hub.Joined() {
			t.Errorf("%d: %d messages, next %q, asked for %v, %v", i, len(page.Messages), page.Next, s.asked, err)
		}
	}
	s := &fakeRows{rows: 1, err: errors.New("away")}
	if page, err := mailboxEngine(t, s, 0).Mailbox(t.Context(), park.MailboxQuery{Limit: -1}); park.CodeOf(err) != park.InvalidRequest || len(page.Messages)+len(s.asked) != 0 {
		t.Errorf("a limit below nothing: %v", err)
	}
	if page, err := mailboxEngine(t, s, 0).Mailbox(t.Context(), park.MailboxQuery{}); park.CodeOf(err) != park.StorageUnavailable || len(page.Messages) != 0 {
		t.Errorf("away: %v", err)
	}
}

// TestWaitingForMail: who waits has what comes in time, and nothing once it is over; nobody is left behind in the hub.
func TestWaitingForMail(t *testing.T) {
	for name, c := range map[string]struct {
		wait, passes time.Duration // and how much of it passes in each wait
		comes        int           // in which wait a message comes; 0: in none
		gone, away   bool
		waits        []time.Duration
		messages     int
		code         park.Code
	}{
		"does not wait":     {waits: nil},
		"something comes":   {wait: time.Minute, passes: time.Second, comes: 1, waits: []time.Duration{time.Minute}, messages: 1},
		"comes later":       {wait: time.Minute, passes: time.Second, comes: 2, waits: []time.Duration{time.Minute, 59 * time.Second}, messages: 1},
		"nothing comes":     {wait: time.Minute, passes: time.Minute, waits: []time.Duration{time.Minute}},
		"the store fails":   {wait: time.Minute, passes: time.Minute, away: true, code: park.StorageUnavailable},
		"the caller leaves": {wait: time.Minute, passes: time.Minute, gone: true, waits: []time.Duration{time.Minute}},
	} {
		s := &fakeRows{}
		e := mailboxEngine(t, s, 0)
		w := e.env.Machine.(*envtest.Simulator)
		w.OnWait = func() {
			w.Pass(c.passes)
			if n := len(w.Waited) + 1; n == c.comes || n > 5 {
				s.rows = 1
			}
		}
		ctx := t.Context()
		if c.gone {
			ctx = cancelledContext()
		}
		if c.away {
			s.err = errors.New("away")
		}
		page, err := e.Mailbox(ctx, park.MailboxQuery{Tenant: "t", Key: "box", Wait: c.wait})
		var waits []time.Duration
		for _, one := range w.Waited {
			waits = append(waits, one.For)
		}
		if len(page.Messages) != c.messages || !slices.Equal(waits, c.waits) || e.hub.Joined() {
			t.Errorf("%s: %d messages, waited %v", name, len(page.Messages), waits)
		}
		if errors.Is(err, context.Canceled) != c.gone || c.code != "" && park.CodeOf(err) != c.code || err != nil && c.code == "" && !c.gone {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// fakeAudit is an audit log with events of the pool cpu.
type fakeAudit struct {
	store.Store
	events  []park.Event
	asked   []park.AuditQuery
	ends    int   // how often its end was asked for
	readErr error // of reads
	lastErr error // of its end
}

// auditOf returns a log with one event for each letter: u for an update, any other for a start.
func auditOf(actions string) *fakeAudit {
	l := &fakeAudit{}
	l.append(actions)
	return l
}

func (l *fakeAudit) append(actions string) {
	for _, a := range actions {
		ev := park.Event{EventID: fmt.Sprintf("cpu:%d:0", len(l.events)+1), Action: park.ActStart}
		if a == 'u' {
			ev.Action = park.ActUpdate
		}
		l.events = append(l.events, ev)
	}
}

func (l *fakeAudit) Events(_ context.Context, q park.AuditQuery) ([]park.Event, error) {
	if l.asked = append(l.asked, q); len(l.asked) > 20 {
		return nil, errors.New("asked for ever")
	}
	from := slices.IndexFunc(l.events, func(ev park.Event) bool { return ev.EventID == q.Cursor })
	if from < 0 && q.Cursor != "" {
		return nil, store.ErrNoEvent
	}
	return l.events[from+1 : min(from+1+q.Limit, len(l.events))], l.readErr
}

func (l *fakeAudit) LastEvent(context.Context) (string, error) {
	if l.ends++; len(l.events) == 0 || l.lastErr != nil {
		return "", l.lastErr
	}
	return l.events[len(l.events)-1].EventID, nil
}

// engine returns an engine with this log.
func (l *fakeAudit) engine(t *testing.T) *Engine {
	p := testLoop(t, ledger.Pool{State: park.Active})
	p.rev.Store(50)
	p.eng.audit, p.eng.pools = l, map[string]*pool{"cpu": p.pool}
	return p.eng
}

// TestPagesOfTheLog hold what is asked for, however much else lies between it.
func TestPagesOfTheLog(t *testing.T) {
	for i, c := range []struct {
		log   string
		q     park.AuditQuery
		want  string // the numbers of the events
		next  string
		reads int
	}{
		{"", park.AuditQuery{Limit: 2}, "", "", 1},
		{"s", park.AuditQuery{Limit: 2}, "1", "", 1},
		{"ss", park.AuditQuery{Limit: 2}, "12", "cpu:2:0", 1},
		{"ssss", park.AuditQuery{Limit: 2}, "12", "cpu:2:0", 1},
		{"ssss", park.AuditQuery{Limit: 2, Cursor: "cpu:3:0"}, "4", "", 1},
		{"sus", park.AuditQuery{Limit: 2}, "13", "cpu:3:0", 2},
		{"sussss", park.AuditQuery{Limit: 2}, "13", "cpu:3:0", 2},
		{"su", park.AuditQuery{Limit: 2}, "1", "", 2},
		{"uuuuuus", park.AuditQuery{Limit: 2}, "7", "", 4},
		{"su", park.AuditQuery{Limit: 2, Changes: true}, "12", "cpu:2:0", 1},
	} {
		l := auditOf(c.log)
		page, err := l.engine(t).Audit(t.Context(), c.q)
		got := ""
		for _, ev := range page.Events {
			got += strings.Split(ev.EventID, ":")[1]
		}
		if err != nil || got != c.want || page.Next != c.next || len(l.asked) != c.reads {
			t.Errorf("%d: %q, next %q, after %d reads, %v", i, got, page.Next, len(l.asked), err)
		}
	}
	for limit, want := range map[int]int{0: defaultLimit, maxEvents: maxEvents, maxEvents + 1: maxEvents} {
		l := auditOf("s")
		if _, err := l.engine(t).Audit(t.Context(), park.AuditQuery{Limit: limit}); err != nil || l.asked[0].Limit != want {
			t.Errorf("of %d it reads %d: %v", limit, l.asked[0].Limit, err)
		}
	}
	for _, q := range []park.AuditQuery{{Limit: -1}, {Cursor: "x"}} {
		l := auditOf("s")
		if _, err := l.engine(t).Audit(t.Context(), q); park.CodeOf(err) != park.InvalidRequest || len(l.asked) != 0 {
			t.Errorf("%+v: %v", q, err)
		}
	}
	l := auditOf("s")
	l.readErr = errors.New("away")
	if page, err := l.engine(t).Audit(t.Context(), park.AuditQuery{}); park.CodeOf(err) != park.StorageUnavailable || len(page.Events) != 0 {
		t.Errorf("away: %v", err)
	}
}

// TestCursorsOfPrunedEvents: where nothing is left of a pool, one that may have been its reads what there is.
func TestCursorsOfPrunedEvents(t *testing.T) {
	for cursor, c := range map[string]struct {
		left  string
		fails error
		code  park.Code
	}{
		"cpu:49:0":  {"", nil, ""},
		"cpu:50:0":  {"", nil, ""},
		"cpu:51:0":  {"", nil, park.InvalidRequest},
		"gone:1:0":  {"", nil, park.InvalidRequest},
		"cpu:48:0":  {"s", nil, park.InvalidRequest},
		"cpu:47:00": {"s", errors.New("away"), park.Internal},
	} {
		l := auditOf(c.left)
		l.readErr = c.fails
		q := park.AuditQuery{Cursor: cursor, Limit: 7, Tenant: "t"}
		_, err := l.engine(t).readEvents(t.Context(), &q)
		if err == nil && (c.code != "" || q.Cursor != "") || err != nil && park.CodeOf(err) != c.code {
			t.Errorf("%s: %v", cursor, err)
		}
		if last := l.asked[len(l.asked)-1]; c.code == "" && (len(l.asked) != 3 || last.Limit != 7 || last.Tenant != "t" || l.asked[1].PoolID != "cpu" || l.asked[1].Cursor != "") {
			t.Errorf("%s: asked for %+v", cursor, l.asked)
		}
	}
}

// TestWatching begins where it is asked to, tells of each event once, and goes on behind what nobody asks for.
func TestWatching(t *testing.T) {
	for name, c := range map[string]struct {
		log   string
		q     park.AuditQuery
		comes []string // in each wait; then the caller leaves
		want  string
		reads []string // the cursors
		ends  int      // how often the end of the log is looked for
	}{
		"from now on":     {"ss", park.AuditQuery{}, []string{"s", "", "ss"}, "345", []string{"2", "2", "3", "3", "3", "5"}, 1},
		"of an empty log": {"", park.AuditQuery{}, []string{"sus"}, "13", []string{"", "", "3"}, 1},
		"since a time":    {"ss", park.AuditQuery{Since: park.At(time.Unix(1, 0))}, []string{"s"}, "123", []string{"", "2", "2", "3"}, 0},
		"after an event":  {"ss", park.AuditQuery{Cursor: "cpu:1:0"}, []string{"s"}, "23", []string{"1", "2", "2", "3"}, 0},
		"with updates":    {"s", park.AuditQuery{Cursor: "cpu:1:0", Changes: true}, []string{"us"}, "23", []string{"1", "1", "3"}, 0},
		"of a task":       {"s", park.AuditQuery{TaskID: "t"}, []string{"s"}, "2", []string{"1", "1", "2"}, 4},
		"of a pool":       {"s", park.AuditQuery{PoolID: "cpu"}, []string{"s"}, "2", []string{"1", "1", "2"}, 4},
		"of a tenant":     {"s", park.AuditQuery{Tenant: "t"}, []string{"s"}, "2", []string{"1", "1", "2"}, 4},
		"of one kind":     {"u", park.AuditQuery{Action: park.ActStart}, []string{"us"}, "3", []string{"1", "1", "3"}, 4},
	} {
		l := auditOf(c.log)
		e := l.engine(t)
		ctx, leave := context.WithCancel(t.Context())
		e.env.Machine.(*envtest.Simulator).OnWait = func() {
			if len(c.comes) == 0 {
				leave()
				return
			}
			l.append(c.comes[0])
			c.comes = c.comes[1:]
		}
		got := ""
		var err error
		for ev, failed := range e.Watch(ctx, c.q) {
			if err = failed; err == nil {
				got += strings.Split(ev.EventID, ":")[1]
			}
			if e.hub.Joined() {
				t.Errorf("%s: it waits while it tells", name)
			}
		}
		leave()
		var reads []string
		for _, q := range l.asked {
			_, at, _ := strings.Cut(q.Cursor, ":")
			at, _, _ = strings.Cut(at, ":")
			if reads = append(reads, at); q.Limit != watchPage {
				t.Errorf("%s: reads %d at once", name, q.Limit)
			}
		}
		if got != c.want || !slices.Equal(reads, c.reads) || l.ends != c.ends || !errors.Is(err, context.Canceled) || e.hub.Joined() {
			t.Errorf("%s: %q, read from %q, looked for the end %d times, %v", name, got, reads, l.ends, err)
		}
	}
}

// TestWatchingEnds where nobody listens any more, and where the log cannot be read.
func TestWatchingEnds(t *testing.T) {
	l := auditOf("ssss")
	n := 0
	for range l.engine(t).Watch(t.Context(), park.AuditQuery{Cursor: "cpu:1:0"}) {
		if n++; n == 2 {
			break
		}
	}
	if n != 2 || len(l.asked) != 1 {
		t.Errorf("%d events after %d reads", n, len(l.asked))
	}
	away := errors.New("away")
	for name, c := range map[string]struct {
		q     park.AuditQuery
		fails func(l *fakeAudit)
		want  string
		reads int
	}{
		"no cursor":      {park.AuditQuery{Cursor: "x"}, func(*fakeAudit) {}, "must be an event's id", 0},
		"no end":         {park.AuditQuery{}, func(l *fakeAudit) { l.lastErr = away }, "away", 0},
		"no end later":   {park.AuditQuery{Cursor: "cpu:1:0", PoolID: "cpu"}, func(l *fakeAudit) { l.lastErr = away }, "away", 0},
		"no events":      {park.AuditQuery{Cursor: "cpu:1:0"}, func(l *fakeAudit) { l.readErr = away }, "away", 1},
		"no such event":  {park.AuditQuery{Cursor: "cpu:7:0"}, func(*fakeAudit) {}, "must be an event of this log", 2},
		"none of a pool": {park.AuditQuery{Cursor: "cpu:7:0", PoolID: "cpu"}, func(*fakeAudit) {}, "must be an event of this log", 2},
	} {
		l := auditOf("s")
		c.fails(l)
		e := l.engine(t)
		e.env.Machine.(*envtest.Simulator).OnWait = e.stop
		var errs []error
		for ev, err := range e.Watch(t.Context(), c.q) {
			if errs = append(errs, err); ev.EventID != "" {
				t.Errorf("%s: it tells of %s", name, ev.EventID)
			}
		}
		if len(errs) != 1 || errs[0] == nil || !strings.Contains(errs[0].Error(), c.want) || len(l.asked) != c.reads {
			t.Errorf("%s: %v after %d reads", name, errs, len(l.asked))
		}
	}
}
