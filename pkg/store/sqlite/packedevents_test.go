package sqlite

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// TestPackedEvents reads a log as texts and row by row, from many positions, with the same result. Some values have the
// characters that end values and rows in a text, some steps are missing, and another pool has events in between.
func TestPackedEvents(t *testing.T) {
	s := openTemp(t)
	at := time.Unix(1_800_000_000, 0)
	var all []park.Event
	for rev := int64(1); rev < 60; rev++ {
		var step []park.Event
		if rev%7 == 0 && rev < 50 {
			rev += 20 // there are no events of these steps
		}
		for ord := range []int{1, 3, 300, 128, 2}[rev%5] {
			e := park.Event{
				PoolID: "gpu", Rev: rev, Ord: ord, At: park.At(at.Add(time.Duration(rev) * time.Second)), Action: park.ActSubmit, TaskID: fmt.Sprintf("t%d-%d", rev, ord),
				Tenant: "acme", Units: int64(ord), Attempt: ord % 3, Node: "n",
			}
			if ord%4 == 1 {
				e.Detail = []byte(`{"priority":"high"}`)
			}
			if rev%11 == 0 && ord == 2 {
				e.Node, e.Detail = "a\x1fb\x1ec", []byte("{\"x\":\x1f\"\x1e\"}")
			}
			step = append(step, e)
		}
		all = append(all, step...)
		other := step[0]
		other.PoolID = "cpu"
		if err := s.Append(t.Context(), append(step, other)); err != nil {
			t.Fatal(err)
		}
	}
	queries := []park.AuditQuery{{}, {Until: all[len(all)/2].At}, {Until: all[0].At}}
	for i := 0; i < len(all); i += 37 {
		id := park.EventID("gpu", all[i].Rev, all[i].Ord)
		queries = append(queries, park.AuditQuery{Cursor: id}, park.AuditQuery{Since: all[i].At}, park.AuditQuery{Cursor: id, Until: all[len(all)-1].At})
		queries = append(queries, park.AuditQuery{Cursor: park.EventID("cpu", all[i].Rev, 0)})
	}
	for _, q := range queries {
		for _, limit := range []int{minPackedEvents, 1000, 17} {
			q.PoolID, q.Limit = "gpu", limit
			r, err := s.scanRange(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.packedEvents(t.Context(), q, r)
			if err != nil {
				t.Fatal(err)
			}
			query, args := eventsQuery(q, r)
			rows, err := s.db.QueryContext(t.Context(), query, args...)
			if err != nil {
				t.Fatal(err)
			}
			want, err := events(rows)
			if err != nil || len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
				t.Fatalf("%+v: %d events as texts, %d row by row: %v", q, len(got), len(want), err)
			}
		}
	}
}

// TestPackedEventsLimit reads a log whose first steps have one event each and whose later steps have many. The result
// has exactly the requested number of events, with none missing.
func TestPackedEventsLimit(t *testing.T) {
	s := openTemp(t)
	at := time.Unix(1_800_000_000, 0)
	var events []park.Event
	for rev := int64(1); rev <= 700; rev++ {
		n := 1
		if rev > 600 {
			n = 512
		}
		for ord := range n {
			events = append(events, park.Event{
				PoolID: "gpu", Rev: rev, Ord: ord, At: park.At(at.Add(time.Duration(rev) * time.Second)), Action: park.ActSubmit,
				TaskID: fmt.Sprintf("t%d-%d", rev, ord), Tenant: "acme", Units: 1,
			})
		}
	}
	if err := s.Append(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	q := park.AuditQuery{PoolID: "gpu", Limit: minPackedEvents}
	for read := 0; read < len(events); {
		got, err := s.Events(t.Context(), q)
		if want := min(q.Limit, len(events)-read); err != nil || len(got) != want || cap(got) > q.Limit {
			t.Fatalf("read %d events into room for %d, not %d: %v", len(got), cap(got), want, err)
		}
		for i := range got {
			if got[i].Rev != events[read+i].Rev || got[i].Ord != events[read+i].Ord {
				t.Fatalf("rev %d place %d follows at %d, not rev %d place %d", got[i].Rev, got[i].Ord, read+i, events[read+i].Rev, events[read+i].Ord)
			}
		}
		read += len(got)
		q.Cursor = got[len(got)-1].EventID
	}
}

// TestUnpack checks that a text that cannot be split is recognized.
func TestUnpack(t *testing.T) {
	for _, c := range []struct {
		text         string
		rows, values int
		ok           bool
	}{
		{"", 0, 3, true},
		{"a\x1f\x1fc\x1ed\x1fe\x1f", 2, 3, true},
		{"a\x1f\x1fc\x1f", 1, 3, false},
		{"a\x1f\x1fc\x1e", 1, 3, false},
		{"a\x1fc", 1, 3, false},
	} {
		if _, err := newUnpacker(c.text, c.rows, c.values); (err == nil) != c.ok {
			t.Errorf("%q as %d rows of %d values: %v", c.text, c.rows, c.values, err)
		}
	}
}
