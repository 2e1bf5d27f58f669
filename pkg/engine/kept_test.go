package engine

import (
	"testing"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

func TestKeptLimit(t *testing.T) {
	for n, want := range map[int]int{-1: maxEvidencePage, 0: maxEvidencePage, 1: 1, maxEvidencePage: maxEvidencePage, maxEvidencePage + 1: maxEvidencePage} {
		if got := evidenceLimit(n); got != want {
			t.Errorf("of %d: %d", n, got)
		}
	}
}

// TestOwedSince: what is owed is as old as what it is about.
func TestOwedSince(t *testing.T) {
	m, e := &park.Message{CreatedAt: park.FromMicro(1)}, &park.Event{At: park.FromMicro(2)}
	for want, p := range map[int64]store.OutboxEntry{
		1: {Message: m, Since: park.FromMicro(3)}, 2: {Event: e, Since: park.FromMicro(3)}, 3: {Since: park.FromMicro(3)},
	} {
		if got := owedSince(&p); got.Micro() != want {
			t.Errorf("%+v is owed since %s", p, got)
		}
	}
}
