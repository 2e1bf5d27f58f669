package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

const week = 7 * 24 * time.Hour

// prunable is a store that notes before which time it is to forget tasks, or events if all else is kept for ever.
type prunable struct {
	store.Store
	name  string
	calls *[]string
}

func (s *prunable) note(kind string, before park.Time) (int, error) {
	*s.calls = append(*s.calls, fmt.Sprintf("%s %s %s", s.name, kind, before))
	return 0, nil
}

func (s *prunable) PruneEvents(_ context.Context, before park.Time, _ int) (int, error) {
	if before.IsZero() {
		return s.note("events", before)
	}
	return 0, nil
}

func (*prunable) PruneMessages(context.Context, park.Time, int) (int, error) { return 0, nil }

func (s *prunable) PruneTasks(_ context.Context, before park.Time, _ int) (int, error) {
	return s.note("tasks", before)
}

// prunableLogs are an executor's logs that can be pruned.
type prunableLogs struct{ calls *[]string }

func (*prunableLogs) Log(context.Context, string, string, int, park.LogQuery, <-chan struct{}) (*park.Log, error) {
	return nil, errors.New("none")
}

func (l *prunableLogs) PruneLogs(_ context.Context, before time.Time) error {
	*l.calls = append(*l.calls, fmt.Sprintf("logs %s", park.At(before)))
	return nil
}

// TestRetentionIsStarted for all stores whose turn is this node's, and for all logs that can be pruned. The last step of all
// pools tells the time that was known to be right last.
func TestRetentionIsStarted(t *testing.T) {
	now := time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)
	old := park.At(now.Add(time.Second - week - time.Hour)) // an hour does not count, for then no daemon may have run
	for name, c := range map[string]struct {
		keep  time.Duration
		other string // node of the store in memory
		want  []string
	}{
		"alone":     {week, "", []string{fmt.Sprint("file tasks ", old), fmt.Sprint("memory tasks ", old), fmt.Sprint("logs ", old)}},
		"first":     {week, "z", []string{fmt.Sprint("file tasks ", old), fmt.Sprint("memory tasks ", old), fmt.Sprint("logs ", old)}},
		"not first": {week, "a", []string{fmt.Sprint("file tasks ", old), fmt.Sprint("logs ", old)}},
		"for ever":  {0, "", []string{fmt.Sprint("file events ", park.Time{}), fmt.Sprint("memory events ", park.Time{})}},
	} {
		var did []string
		p := testLoop(t, ledger.Pool{State: park.Active})
		e, m := p.eng, simulatorOf(p)
		m.Wall = now
		e.cfg.Retention = c.keep
		e.stores = map[park.Backend]store.Store{
			park.InMemory: &prunable{name: "memory", calls: &did}, park.File: &prunable{name: "file", calls: &did},
		}
		if c.other != "" {
			e.nodes = nodesWith(c.other)
		}
		logs := &prunableLogs{&did}
		e.poolIDs, e.pools = []string{"a", "b", "c"}, map[string]*pool{
			"a": {Pool: Pool{Logs: logs}, loadedAt: park.At(now.Add(-time.Hour))},
			"b": {Pool: Pool{Logs: logs}, loadedAt: park.At(now.Add(-24 * time.Hour))},
			"c": {},
		}
		m.OnWait = func() {
			if m.Pass(time.Second); len(m.Waited) == 1 {
				e.stop()
			}
		}
		e.startRetention()
		m.Finish()
		if !slices.Equal(did, c.want) {
			t.Errorf("%s: %q, want %q", name, did, c.want)
		}
	}
}
