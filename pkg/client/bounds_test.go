package client_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/loadtest/transport"
	"github.com/parkd-dev/parkd/pkg/park"
)

// endless answers without end until the client closes the connection.
func endless(w http.ResponseWriter, _ *http.Request) {
	block := []byte(strings.Repeat(" ", 1<<20))
	for {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

func clientOf(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := client.New(client.Config{URL: s.URL, Token: "0123456789abcdef"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestAnswersAreBounded checks that each kind of request gives up on an endless answer.
func TestAnswersAreBounded(t *testing.T) {
	c := clientOf(t, endless)
	client.Limit(c, 4<<20)
	_, pools := c.Pools(t.Context())
	_, mailbox := c.Mailbox(t.Context(), park.MailboxQuery{Tenant: "default", Key: "a"})
	trim := c.TrimMailbox(t.Context(), "default", "a", "1")
	k := transport.NewConn(t.Context())
	defer k.Close()
	_, post := c.WithTransport(k).Submit(t.Context(), "a", make([]park.Submission, 2))
	for name, err := range map[string]error{"pools": pools, "mailbox": mailbox, "trim": trim, "a connection of its own": post} {
		if !errors.Is(err, client.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLargeProblem checks that only the beginning of an endless error is read.
func TestLargeProblem(t *testing.T) {
	c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		endless(w, r)
	})
	if _, err := c.Pools(t.Context()); err == nil {
		t.Error("an error is taken for an answer")
	}
}

// TestNoRedirects checks that the client follows no redirect, so that the token goes to no other server.
func TestNoRedirects(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the client went elsewhere") }))
	defer elsewhere.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		c := clientOf(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, status) })
		if _, err := c.Pools(t.Context()); err == nil || !strings.Contains(err.Error(), "may not be a parkd daemon") {
			t.Errorf("%d: %v", status, err)
		}
	}
}

// TestRestsWithinReason checks that a wait too long for a duration becomes the longest duration.
func TestRestsWithinReason(t *testing.T) {
	for given, want := range map[string]time.Duration{"7": 7 * time.Second, "9223372036854775807": park.MaxDuration, "-1": 0, "x": 0} {
		c := clientOf(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.Header().Set("Retry-After", given)
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, `{"code":"queue_full"}`)
		})
		_, err := c.Pools(t.Context())
		if e, ok := errors.AsType[*park.Error](err); !ok || e.RetryAfter != want {
			t.Errorf("%s: %v", given, fmt.Sprint(err))
		}
	}
}
