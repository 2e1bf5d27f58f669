package client_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/parkd-dev/parkd/pkg/park"
)

// TestWatchGoesOnWhereItWas checks that a watch misses nothing if its connection breaks before the first event.
func TestWatchGoesOnWhereItWas(t *testing.T) {
	const date, since = "Mon, 30 Nov 2026 12:00:00 GMT", "2026-11-30T12:00:00.000000Z"
	for begins, want := range map[string]struct{ id, since string }{
		"id: gpu:7:1\n\n":    {"gpu:7:1", ""}, // the daemon says where it is
		": a sign of life\n": {"", since},     // it may not, but says when it is
	} {
		var asked int
		c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
			if asked++; asked == 1 {
				w.Header().Set("Date", date)
				_, _ = io.WriteString(w, begins)
				return
			}
			if id, since := r.Header.Get("Last-Event-Id"), r.FormValue("since"); id != want.id || since != want.since {
				t.Errorf("after %q the watch goes on behind event %q, since %q", begins, id, since)
			}
			_, _ = io.WriteString(w, `data: {"eventId":"gpu:8:0","poolId":"gpu","rev":8,"action":"submit","taskId":"a"}`+"\n\n")
		})
		for e, err := range c.Watch(t.Context(), park.AuditQuery{}) {
			if err == nil && e.TaskID == "a" {
				break
			}
		}
		if asked != 2 {
			t.Errorf("after %q the daemon was asked %d times", begins, asked)
		}
	}
}
