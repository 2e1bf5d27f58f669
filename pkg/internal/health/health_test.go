package health

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// TestHealthOfStores: what failed last and what worked last count, for reads apart from all else.
func TestHealthOfStores(t *testing.T) {
	var failures []string
	s := New([]park.Backend{park.File}, func(b park.Backend, asked string) { failures = append(failures, fmt.Sprint(b, " ", asked)) })
	h := s.all[park.File]
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	failed, refused := errors.New("not now"), park.Errorf(park.InvalidRequest, "no")
	for i, c := range []struct {
		do           func()
		down, unread bool
	}{
		{func() {}, false, false},
		{func() { s.Failed(park.File, Step) }, true, false},
		{func() { _ = s.Read(t.Context(), park.File, nil) }, true, false},
		{func() { _ = s.Read(t.Context(), park.File, failed) }, true, true},
		{func() { s.Works(park.File) }, false, true},
		{func() { _ = s.Read(t.Context(), park.File, store.ErrNoEvent) }, false, false},
		{func() { _ = s.Read(gone, park.File, failed) }, false, false},
		{func() { _ = s.Read(t.Context(), park.File, refused) }, false, false},
		{func() { s.Failed(park.Postgres, Step); s.Works(park.Postgres) }, false, false},
		{func() { _ = s.Read(t.Context(), park.Postgres, failed) }, false, false},
		{func() { s.Failed(park.File, Read) }, false, true},
		{func() { _ = s.Read(gone, park.File, refused) }, false, true},
	} {
		if c.do(); h.down.Load() != c.down || h.unread.Load() != c.unread || s.Up(park.File) != (!c.down && !c.unread) {
			t.Errorf("step %d: down %t, unread %t, up %t", i, h.down.Load(), h.unread.Load(), s.Up(park.File))
		}
		if !s.Up(park.Postgres) {
			t.Errorf("step %d: a store that is not known is down", i)
		}
	}
	if err := s.Read(t.Context(), park.File, refused); !errors.Is(err, refused) {
		t.Errorf("a read returns %v", err)
	}
	if want := []string{"file step", "file read", "file read"}; !slices.Equal(failures, want) {
		t.Errorf("failures are %q, want %q", failures, want)
	}
}
