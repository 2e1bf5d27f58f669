package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// FuzzRequests sends anything to any route. No request brings the daemon down or is its fault, and what is refused is
// refused with a problem that says why.
func FuzzRequests(f *testing.F) {
	for _, seed := range []string{
		"GET /audit?task=a&pool=cpu&since=2026-12-01T10:00:00Z&limit=3&cursor=cpu:1:0", "GET /pools/cpu/tasks?status=queued&limit=9&cursor=17",
		"GET /mailbox/acme/box?since=12&wait=0s", "DELETE /mailbox/acme/box?upTo=99", "GET /pools/cpu/tasks/a?wait=1ms",
		"PATCH /pools/cpu", "POST /pools/cpu/tasks", "POST /pools/cpu/tasks:batch", "PUT /leases/a.1.b.c", "POST /leases/a.1.b.c/complete",
		"POST /pools/gpu/leases", "GET /pools/%2e%2e/tasks/%00", "GET /pools/cpu/tasks/a/log?follow=maybe",
	} {
		f.Add(seed, []byte(sample))
	}
	h := newAPI(f, Config{}).Socket()
	f.Fuzz(func(t *testing.T, line string, body []byte) {
		method, target, _ := strings.Cut(line, " ")
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, method, "http://localhost"+target, bytes.NewReader(body))
		if err != nil || !strings.HasPrefix(target, "/") {
			return
		}
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 && ctx.Err() == nil {
			t.Fatalf("%s: %d %s", line, w.Code, w.Body)
		}
		kind := w.Header().Get("Content-Type")
		if w.Code >= 400 && strings.HasPrefix(kind, "application/problem+json") {
			var p struct{ Code, Detail string }
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Code == "" || p.Detail == "" {
				t.Fatalf("%s: %d %s", line, w.Code, w.Body)
			}
		}
	})
}
