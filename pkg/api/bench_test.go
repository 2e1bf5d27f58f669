package api

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/parkd-dev/parkd/pkg/park"
)

// taker takes every task, at no cost.
type taker struct{ park.Service }

func (taker) Submit(_ context.Context, pool string, tasks []park.Submission) ([]park.SubmitResult, error) {
	out := make([]park.SubmitResult, len(tasks))
	for i := range tasks {
		out[i].Accepted = park.Accepted{TaskID: tasks[i].TaskID, PoolID: pool, Status: park.Queued, Position: 7, SubmittedAt: tasks[i].CreatedAt}
	}
	return out, nil
}

// nobody reads answers.
type nobody struct{ header http.Header }

func (n nobody) Header() http.Header         { return n.header }
func (n nobody) Write(b []byte) (int, error) { return len(b), nil }
func (n nobody) WriteHeader(int)             {}

// BenchmarkSubmit is what the API itself costs: one task, and a thousand in a batch (per task).
func BenchmarkSubmit(b *testing.B) {
	h := newAPI(b, Config{Service: taker{}}).Socket()
	run := func(path, body string) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			r := ask{method: "POST", path: path, body: body}.request()
			rd := strings.NewReader(body)
			for b.Loop() {
				rd.Reset(body)
				r.Body = readCloser{rd}
				h.ServeHTTP(nobody{http.Header{}}, r)
			}
		}
	}
	b.Run("one", run("/pools/gpu/tasks", sample))
	b.Run("batch of 1000", run("/pools/gpu/tasks:batch", `{"tasks":[`+strings.Repeat(sample+",", 999)+sample+`]}`))
	b.Run("nothing", func(b *testing.B) {
		r := ask{method: "GET", path: "/livez"}.request()
		for b.Loop() {
			h.ServeHTTP(nobody{http.Header{}}, r)
		}
	})
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }
