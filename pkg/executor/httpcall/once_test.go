package httpcall

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// TestOneAttemptIsOnePost: an upstream that reads a request and closes the connection without a reply gets it once, whatever
// headers the operator adds, and however many connections earlier tasks have left.
func TestOneAttemptIsOnePost(t *testing.T) {
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key", "X-Other"} {
		t.Run(name, func(t *testing.T) {
			const many = 8
			var posts atomic.Int32
			var dead atomic.Bool
			var together sync.WaitGroup
			together.Add(many)
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if !dead.Load() {
					together.Done() // so that each has a connection of its own
					together.Wait()
					return
				}
				posts.Add(1)
				c, _, err := http.NewResponseController(w).Hijack()
				if err == nil {
					_ = c.Close()
				}
			}))
			defer s.Close()
			x, err := New(Config{URL: s.URL, Headers: map[string]string{name: "k"}})
			if err != nil {
				t.Fatal(err)
			}
			var all sync.WaitGroup
			for range many {
				all.Go(func() {
					if o := x.Run(context.Background(), park.Assignment{Payload: []byte(`{}`)}); o.Status != park.Completed {
						t.Errorf("%+v", o)
					}
				})
			}
			all.Wait()
			dead.Store(true)
			if o := x.Run(t.Context(), park.Assignment{Payload: []byte(`{}`)}); o.Status != park.Failed {
				t.Errorf("%+v", o)
			}
			if n := posts.Load(); n != 1 {
				t.Errorf("one attempt was posted %d times", n)
			}
		})
	}
}

func TestBinaryReply(t *testing.T) {
	for name, c := range map[string]struct{ kind, body, want string }{
		"image":          {"image/png", "\x89PNG\r\n", `{"mediaType":"image/png","base64":"iVBORw0K"}`},
		"image of text":  {"image/x-portable-bitmap", "P1 1 1 0", `{"mediaType":"image/x-portable-bitmap","base64":"UDEgMSAxIDA="}`},
		"sound":          {"audio/wav", "RIFF", `{"mediaType":"audio/wav","base64":"UklGRg=="}`},
		"bytes":          {"application/octet-stream", "1", `{"mediaType":"application/octet-stream","base64":"MQ=="}`},
		"vector image":   {"image/svg+xml", "<svg/>", `"\u003csvg/\u003e"`},
		"old text":       {"text/plain; charset=iso-8859-1", "\xe9", `{"mediaType":"text/plain; charset=iso-8859-1","base64":"6Q=="}`},
		"said wrong":     {"text/plain", "\x89PNG\r\n\x1a\n", `{"mediaType":"text/plain","base64":"iVBORw0KGgo="}`},
		"not said":       {"", "\x89PNG\r\n\x1a\n", `{"mediaType":"image/png","base64":"iVBORw0KGgo="}`},
		"said in a mess": {"/;;", "\x01\xfe\xfd", `{"mediaType":"application/octet-stream","base64":"Af79"}`},
		"json":           {"application/json", "{\"a\":1}\n", `{"a":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			o := run(t, Config{}, func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Content-Type"] = []string{c.kind}
				if c.kind == "" {
					w.Header()["Content-Type"] = nil // the server guesses otherwise
				}
				_, _ = io.WriteString(w, c.body)
			})
			if o.Status != park.Completed || string(o.Result) != c.want {
				t.Errorf("%+v %s", o, o.Result)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		status int
		header string
		want   time.Duration
	}{
		"seconds":       {503, "120", 2 * time.Minute},
		"too many":      {429, " 7 ", 7 * time.Second},
		"a time":        {503, "Tue, 01 Dec 2026 12:00:30 GMT", 30 * time.Second},
		"a time before": {503, "Tue, 01 Dec 2026 11:00:30 GMT", 0},
		"nonsense":      {503, "soon", 0},
		"negative":      {503, "-5", 0},
		"huge":          {503, "99999999999999999999", 0},
		"not said":      {503, "", 0},
		"another":       {500, "120", 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := retryAfter(&http.Response{StatusCode: c.status, Header: http.Header{"Retry-After": {c.header}}}, now)
			if got != c.want {
				t.Errorf("%s", got)
			}
		})
	}
	o := run(t, Config{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "90")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	if o.Status != park.Failed || o.RetryAfter != 90*time.Second {
		t.Errorf("%+v", o)
	}
}
