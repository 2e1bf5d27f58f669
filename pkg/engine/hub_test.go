package engine

import (
	"testing"

	"github.com/parkd-dev/parkd/pkg/park"
)

// TestMarks are ids of messages in one store or several, as they are given out and as they come back.
func TestMarks(t *testing.T) {
	one, several := []park.Backend{park.File}, []park.Backend{park.InMemory, park.File}
	memory := []park.Backend{park.InMemory, "other"}
	for _, c := range []struct {
		id   string
		of   []park.Backend
		want string // "-" for an error
	}{
		{"", several, ""},
		{"17", one, "file=17"},
		{"any", one, "file=any"},
		{"17", several, "file=17"},
		{"any", several, "-"},
		{"17", []park.Backend{park.InMemory}, "in_memory=17"},
		{"any", memory, "-"},
		{"17", memory, "other=17"},
		{"file=17,in_memory=4", several, "file=17,in_memory=4"},
		{"in_memory=@5,file=", several, "in_memory=@5"},
		{"file=17", memory, "file=17"}, // of a backend that no pool has any more
		{"other=1", memory, "other=1"},
		{"other=1", several, "-"},
		{"file=17,4", several, "-"},
	} {
		marks, err := parseCursors(c.id, c.of)
		got := formatCursors(marks)
		if err != nil {
			got = "-"
			if park.CodeOf(err) != park.InvalidRequest {
				t.Errorf("%q: %v", c.id, err)
			}
		}
		if got != c.want {
			t.Errorf("%q of %v is %q, not %q", c.id, c.of, got, c.want)
		}
	}
	q := park.MailboxQuery{After: "9", Since: park.FromMicro(3)}
	if got := storeCursor("17").apply(q); got.After != "17" || got.Since != q.Since {
		t.Errorf("after a message: %+v", got)
	}
	if got := cursorAt(park.FromMicro(5)).apply(q); got.After != "" || got.Since != park.FromMicro(5) {
		t.Errorf("from a time on: %+v", got)
	}
	for m, want := range map[storeCursor]bool{"": false, "5": false, "@x": false, "@5": true} {
		if at, ok := m.time(); ok != want || ok && at != park.FromMicro(5) {
			t.Errorf("%q is the time %s, %t", m, at, ok)
		}
	}
}
