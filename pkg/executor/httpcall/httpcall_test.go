package httpcall

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

func run(t *testing.T, c Config, h http.HandlerFunc) park.Outcome {
	t.Helper()
	s := httptest.NewServer(h)
	defer s.Close()
	c.URL = s.URL + "/secret-path"
	x, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return x.Run(t.Context(), park.Assignment{
		PoolID: "llm", TaskID: "t-1", Tenant: "ac me", Units: 8, Attempt: 2, Payload: json.RawMessage(`{"prompt":"hi"}`),
	})
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestReply(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   park.Outcome
	}{
		"json":         {200, " {\"text\":\"hello\"}\n", park.Outcome{Status: park.Completed, Result: []byte(`{"text":"hello"}`)}},
		"text":         {201, "hello", park.Outcome{Status: park.Completed, Result: []byte(`"hello"`)}},
		"empty":        {204, "", park.Outcome{Status: park.Completed}},
		"spaces":       {200, " hello\n", park.Outcome{Status: park.Completed, Result: []byte(`" hello\n"`)}},
		"server error": {503, "model is loading", park.Failure(ReasonStatus, "the reply is 503 Service Unavailable: model is loading")},
		"client error": {422, "\xffbad", park.Failure(ReasonStatus, "the reply is 422 Unprocessable Entity: \uFFFDbad")},
		"too large":    {200, strings.Repeat("x", 101), park.Failure(ReasonTooLarge, "the reply has more than 100 bytes: max_reply_bytes of the pool's executor allows more")},
		"just fits":    {200, strings.Repeat("1", 100), park.Outcome{Status: park.Completed, Result: []byte(strings.Repeat("1", 100))}},
	} {
		t.Run(name, func(t *testing.T) {
			got := run(t, Config{MaxReply: 100}, answer(c.status, c.body))
			if got.Status != c.want.Status || got.Reason != c.want.Reason || got.Message != c.want.Message || string(got.Result) != string(c.want.Result) {
				t.Errorf("got %+v (%s)", got, got.Result)
			}
		})
	}
}

func TestRequest(t *testing.T) {
	var seen *http.Request
	var body []byte
	run(t, Config{Headers: map[string]string{"authorization": "Bearer k", "Parkd-Units": "9", "host": "model"}}, func(_ http.ResponseWriter, r *http.Request) {
		seen = r
		body, _ = io.ReadAll(r.Body)
	})
	if seen.Method != http.MethodPost || seen.URL.Path != "/secret-path" || string(body) != `{"prompt":"hi"}` || seen.Host != "model" {
		t.Errorf("%s %s of %s with %s", seen.Method, seen.URL, seen.Host, body)
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer k", "Content-Type": "application/json", "Parkd-Task-Id": "t-1", "Parkd-Pool": "llm",
		"Parkd-Tenant": "ac%20me", "Parkd-Attempt": "2", "Parkd-Units": "9", "Idempotency-Key": "llm/t-1",
	} {
		if got := seen.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// TestStoredID: the model gets the id that the tenant gave, and an idempotency key from the id under which the task is
// stored.
func TestStoredID(t *testing.T) {
	x, err := New(Config{URL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := x.request(t.Context(), park.Assignment{PoolID: "llm", TaskID: park.TenantTaskID("t-1", "acme"), Tenant: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	if shown, key := r.Header.Get("Parkd-Task-Id"), r.Header.Get("Idempotency-Key"); shown != "t-1" || key != "llm/t-1@acme" {
		t.Errorf("the model is told %q and %q", shown, key)
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	got := run(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	if got.Reason != ReasonStatus || elsewhere.Load() != 0 {
		t.Errorf("%+v, %d requests elsewhere", got, elsewhere.Load())
	}
}

func TestSecretsStayInside(t *testing.T) {
	x, err := New(Config{URL: "http://127.0.0.1:1/key-4711", Headers: map[string]string{"X-Key": "key-4711"}})
	if err != nil {
		t.Fatal(err)
	}
	got := x.Run(t.Context(), park.Assignment{})
	if got.Status != park.Failed || strings.Contains(got.Message, "4711") {
		t.Errorf("%+v", got)
	}
	if _, err := New(Config{URL: "127.0.0.1/key-4711"}); err == nil || strings.Contains(err.Error(), "4711") {
		t.Error(err)
	}
}

func TestStops(t *testing.T) {
	for cause, reason := range map[error]string{park.ErrTimeout: park.ReasonTimeout, park.ErrCancelled: park.ReasonExecutorError} {
		here, gone := make(chan struct{}), make(chan struct{})
		s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			close(here)
			<-r.Context().Done()
			close(gone)
		}))
		x, err := New(Config{URL: s.URL})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			<-here
			cancel(cause)
		}()
		if got := x.Run(ctx, park.Assignment{}); got.Status != park.Failed || got.Reason != reason {
			t.Errorf("%v: %+v", cause, got)
		}
		select {
		case <-gone:
		case <-time.After(2 * time.Minute):
			t.Error("the server does not see that the request is over")
		}
		s.Close()
	}
}
