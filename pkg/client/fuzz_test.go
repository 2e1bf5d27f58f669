package client

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/parkd-dev/parkd/pkg/park"
)

// answers is a network on which every request gets the same answer.
type answers struct {
	status int
	kind   string
	body   []byte
}

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	h := http.Header{"Content-Type": {a.kind}, "Retry-After": {a.kind}}
	return &http.Response{StatusCode: a.status, Header: h, Body: io.NopCloser(bytes.NewReader(a.body)), Request: r}, nil
}

// FuzzAnswers lets the daemon send any answer.
func FuzzAnswers(f *testing.F) {
	f.Add(uint16(200), "application/json", []byte(`{"results":[{"status":409,"code":"queue_full","detail":"x","retryAfterSecs":3},{"taskId":"a","status":"queued","position":2}]}`))
	f.Add(uint16(200), "text/event-stream", []byte(": alive\n\nid: gpu:1:0\nevent: submit\ndata: {\"eventId\":\"gpu:1:0\",\"action\":\"submit\"}\n\n"))
	f.Add(uint16(503), "application/problem+json", []byte(`{"status":503,"code":"storage_unavailable","detail":"gone"}`))
	f.Add(uint16(302), "5", []byte("<html>"))
	f.Fuzz(func(t *testing.T, status uint16, kind string, body []byte) {
		c, err := New(Config{URL: "http://localhost"})
		if err != nil {
			t.Fatal(err)
		}
		c.http.Transport = answers{int(200 + status%400), kind, body}
		ctx := context.Background()
		if r, err := c.Submit(ctx, "gpu", make([]park.Submission, 2)); err == nil && len(r) != 2 {
			t.Errorf("%d results of 2 tasks", len(r))
		}
		_, _ = c.Submit(ctx, "gpu", make([]park.Submission, 1))
		_, _ = c.Tasks(ctx, "gpu", park.TaskQuery{})
		_, _ = c.Pools(ctx)
		_, _ = c.Audit(ctx, park.AuditQuery{})
		_, _ = c.Mailbox(ctx, park.MailboxQuery{Tenant: "a", Key: "b"})
		_, _ = c.Lease(ctx, "gpu", park.LeaseRequest{})
		for _, err := range c.Watch(ctx, park.AuditQuery{}) {
			if err != nil {
				break
			}
		}
	})
}
