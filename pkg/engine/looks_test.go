package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/cluster"
	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/internal/env/envtest"
	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// fakeRows is a store with a number of tasks, messages and events of a given size, whose reads can fail.
type fakeRows struct {
	store.Store
	rows, bytes int
	err         error
	asked       []int // how many rows each read asked for
}

func (s *fakeRows) page(from, limit int) (int, error) {
	if s.asked = append(s.asked, limit); len(s.asked) > 50 {
		return 0, errors.New("asked for ever")
	}
	return min(limit, s.rows-from), s.err
}

func (s *fakeRows) List(_ context.Context, _ string, q park.TaskQuery) (records []ledger.Record, next string, err error) {
	from := 0
	_, _ = fmt.Sscan(q.Cursor, &from)
	n, err := s.page(from, q.Limit)
	for range n {
		records = append(records, ledger.Record{State: ledger.State{Status: park.Completed, Result: make([]byte, s.bytes)}})
	}
	if from+n < s.rows {
		next = fmt.Sprint(from + n)
	}
	return records, next, err
}

// TestPagesOfTasks end where as many are read as were asked for, where there are no more, or where they are large.
func TestPagesOfTasks(t *testing.T) {
	for i, c := range []struct {
		rows, bytes, limit int
		asked              []int
		got                int
		next               string
	}{
		{10, 1, 5, []int{5}, 5, "5"},
		{10, 1, 10, []int{10}, 10, ""},
		{10, 1, 20, []int{20}, 10, ""},
		{100, 1, 100, []int{64, 36}, 100, ""},
		{200, 1, 100, []int{64, 36}, 100, "100"},
		{200, 256 << 10, 200, []int{64}, 64, "64"},
		{200, 64 << 10, 200, []int{64, 127}, 191, "191"}, // the second is as many as a read is meant to hold
	} {
		p := testLoop(t, ledger.Pool{State: park.Active})
		s := &fakeRows{rows: c.rows, bytes: c.bytes}
		p.queue = s
		records, next, err := p.list(t.Context(), park.TaskQuery{Limit: c.limit})
		if err != nil || len(records) != c.got || next != c.next || !slices.Equal(s.asked, c.asked) {
			t.Errorf("%d: %d tasks, next %q, asked for %v, %v", i, len(records), next, s.asked, err)
		}
		s.err = errors.New("away")
		if _, _, err := p.list(t.Context(), park.TaskQuery{Limit: 1}); !errors.Is(err, s.err) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// TestErrorsOfReads: callers are told what they may know, and hear of their own end as such.
func TestErrorsOfReads(t *testing.T) {
	p := testLoop(t, ledger.Pool{State: park.Active})
	secret, own := errors.New("secret"), park.Errorf(park.InvalidRequest, "cursor")
	for name, tell := range map[string]func(ctx context.Context, err error) error{
		"pool": func(ctx context.Context, err error) error { return poolReadError(ctx, p.pool, err) },
		"log":  func(ctx context.Context, err error) error { return p.eng.readError(ctx, "audit log", err) },
	} {
		if err := tell(t.Context(), secret); park.CodeOf(err) != park.StorageUnavailable || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "does not answer") {
			t.Errorf("%s: %v", name, err)
		}
		if err := tell(t.Context(), own); !errors.Is(err, error(own)) {
			t.Errorf("%s: %v", name, err)
		}
		if err := tell(cancelledContext(), secret); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		if err := tell(t.Context(), saidError{secret}); !strings.HasSuffix(err.Error(), "cannot be used: disk full") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := p.eng.writeError(t.Context(), "mailbox", secret); park.CodeOf(err) != park.OutcomeUnknown {
		t.Error(err)
	}
	if err := p.eng.writeError(t.Context(), "mailbox", own); !errors.Is(err, error(own)) {
		t.Error(err)
	}
}

// saidError is an error with a reason of the store's server.
type saidError struct{ error }

func (saidError) ServerMessage() string { return "disk full" }

// TestPatienceAmongOthers: who waits among other nodes looks again from time to time.
func TestPatienceAmongOthers(t *testing.T) {
	e := &Engine{}
	if got := e.hubWait(time.Hour); got != time.Hour {
		t.Errorf("alone it waits for %s", got)
	}
	e.nodes = map[park.Backend]*cluster.Node{park.InMemory: nil}
	for d, want := range map[time.Duration]time.Duration{time.Hour: hubPollInterval, hubPollInterval / 2: hubPollInterval / 2} {
		if got := e.hubWait(d); got != want {
			t.Errorf("of %s it waits for %s", d, got)
		}
	}
}

// TestManySubmissions: what a step fails with is the result of what was in it, and true of all where nothing was taken.
func TestManySubmissions(t *testing.T) {
	away, unknown := errNotAccepted("cpu"), errOutcomeUnknown("cpu")
	ops := make([]lot.Op, 2*maxOps+3)
	for i, c := range []struct {
		answers []error // by step
		room    int
		want    []park.Code // of each step; nil where the call fails
		call    park.Code
	}{
		{[]error{nil, nil, nil}, 3, []park.Code{"", "", ""}, ""},
		{[]error{nil, away, nil}, 3, []park.Code{"", park.StorageUnavailable, ""}, ""},
		{[]error{away, away, away}, 3, nil, park.StorageUnavailable},
		{[]error{away, unknown, away}, 3, []park.Code{park.StorageUnavailable, park.OutcomeUnknown, park.StorageUnavailable}, ""},
		{[]error{nil}, 1, []park.Code{"", park.StorageUnavailable, park.StorageUnavailable}, ""},
		{[]error{away}, 1, nil, park.StorageUnavailable},
		{nil, 0, nil, park.StorageUnavailable},
	} {
		p := idleLoop(t, true)
		p.eng.cfg.Patience = time.Minute
		p.messages = make(chan message, c.room)
		m := envtest.NewSimulator(t)
		m.OnWait = func() {
			for len(p.messages) == c.room && c.room > 0 && len(c.answers) > 0 {
				for _, err := range c.answers {
					r := (<-p.messages).base()
					a := reply{err: err}
					if err == nil {
						a.results = make([]lot.Result, len(r.ops))
					}
					r.reply <- a
				}
				c.answers = nil
				for range c.room { // and there is no more room
					p.messages <- &operations{}
				}
			}
		}
		p.eng.env = env.New(m)
		results, err := p.doMany(t.Context(), ops)
		if park.CodeOf(err) != c.call || err == nil && len(results) != len(ops) {
			t.Errorf("%d: %d results, %v", i, len(results), err)
			continue
		}
		for k, want := range c.want {
			from := k * maxOps
			for j, r := range results[from:min(from+maxOps, len(results))] {
				if code := codeOf(r.Err); code != want {
					t.Fatalf("%d: operation %d: %q, want %q", i, from+j, code, want)
				}
			}
		}
	}
	p := idleLoop(t, true)
	if _, err := p.doMany(cancelledContext(), make([]lot.Op, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("whose caller is gone: %v", err)
	}
}

func codeOf(e *park.Error) park.Code {
	if e == nil {
		return ""
	}
	return e.Code
}

// TestSubmitted tells what became of a task.
func TestSubmitted(t *testing.T) {
	p := idleLoop(t, true)
	at := park.At(time.Unix(1, 0))
	got := p.submitResult(&ledger.Spec{TaskID: "a"}, &lot.Result{Status: park.Queued, Position: 3, SubmittedAt: at})
	if got.Err != nil || got.Accepted != (park.Accepted{TaskID: "a", PoolID: "cpu", Status: park.Queued, Position: 3, SubmittedAt: at}) {
		t.Errorf("%+v", got)
	}
	if got = p.submitResult(&ledger.Spec{TaskID: "a"}, &lot.Result{Err: errOutcomeUnknown("x")}); codeOf(got.Err) != park.OutcomeUnknown || got.Err.TaskID != "a" {
		t.Errorf("%+v", got)
	}
	p.messages <- &operations{}
	p.eng.cfg.Patience = -time.Second
	if _, err := p.submit(t.Context(), park.Submission{TaskID: "a"}); park.CodeOf(err) != park.StorageUnavailable {
		t.Errorf("one that finds no room: %v", err)
	}
	if r, err := p.submit(t.Context(), park.Submission{TaskID: "a", Payload: json.RawMessage(`x`)}); err != nil || codeOf(r.Err) != park.InvalidRequest {
		t.Errorf("one that is none: %+v %v", r, err)
	}
}
