package retention

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/internal/env/envtest"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// fakeStore has old rows and removes as many as it is told to. Some kinds fail.
type fakeStore struct {
	store.Store
	name  string
	old   map[string]int // by kind
	fails map[string]error
	did   *[]string
}

func (s *fakeStore) prune(kind string, before park.Time, limit int) (int, error) {
	*s.did = append(*s.did, fmt.Sprintf("%s %s", s.name, kind))
	if before.IsZero() {
		*s.did = append(*s.did, "for ever")
	}
	n := min(s.old[kind], limit)
	s.old[kind] -= n
	return n, s.fails[kind]
}

func (s *fakeStore) PruneEvents(_ context.Context, before park.Time, limit int) (int, error) {
	return s.prune("events", before, limit)
}

func (s *fakeStore) PruneMessages(_ context.Context, before park.Time, limit int) (int, error) {
	return s.prune("messages", before, limit)
}

func (s *fakeStore) PruneTasks(_ context.Context, before park.Time, limit int) (int, error) {
	return s.prune("tasks", before, limit)
}

// fakeLogs are an executor's logs.
type fakeLogs struct {
	name string
	did  *[]string
	err  error
}

func (l *fakeLogs) PruneLogs(_ context.Context, before time.Time) error {
	*l.did = append(*l.did, fmt.Sprintf("logs %s %d", l.name, before.Unix()))
	return l.err
}

// newJanitor returns a janitor of one store, its simulator, and what it logs.
func newJanitor(t *testing.T, s *fakeStore) (*Janitor, *envtest.Simulator, *strings.Builder) {
	m, logged := envtest.NewSimulator(t), &strings.Builder{}
	return &Janitor{
		Env: env.New(m), Log: slog.New(slog.NewTextHandler(logged, nil)), Stores: []Store{{Store: s}}, Logs: map[string]Pruner{},
	}, m, logged
}

// TestPruning: a store is pruned in chunks, from its events to its tasks, up to what fails.
func TestPruning(t *testing.T) {
	away := errors.New("away")
	yes, no := func() bool { return true }, func() bool { return false }
	for name, c := range map[string]struct {
		before int64 // 0: all is kept for ever
		old    map[string]int
		fails  map[string]error
		turn   func() bool
		logs   []error
		want   string
		logged string
	}{
		"little":          {1, nil, nil, yes, nil, "s events, s messages, s tasks", ""},
		"not shared":      {1, nil, nil, nil, nil, "s events, s messages, s tasks", ""},
		"for ever":        {0, nil, nil, yes, nil, "s events, for ever", ""},
		"a chunk less":    {1, map[string]int{"events": chunk - 1}, nil, yes, nil, "s events, s messages, s tasks", ""},
		"a chunk":         {1, map[string]int{"events": chunk}, nil, yes, nil, "s events, rest, s events, s messages, s tasks", ""},
		"many tasks":      {1, map[string]int{"tasks": 2*chunk + 1}, nil, yes, nil, "s events, s messages, s tasks, rest, s tasks, rest, s tasks", ""},
		"no events":       {1, nil, map[string]error{"events": away}, yes, nil, "s events", "prune events: away"},
		"no messages":     {1, nil, map[string]error{"messages": away}, yes, nil, "s events, s messages", "prune messages: away"},
		"no tasks":        {1, map[string]int{"tasks": chunk}, map[string]error{"tasks": away}, yes, nil, "s events, s messages, s tasks", "prune tasks: away"},
		"another's":       {1, nil, nil, no, []error{nil}, "logs 0 1", ""},
		"logs":            {1, nil, nil, yes, []error{nil, nil}, "s events, s messages, s tasks, logs 0 1, logs 1 1", ""},
		"logs, some fail": {1, nil, nil, yes, []error{away, nil, away}, "s events, s messages, s tasks, logs 0 1, logs 1 1, logs 2 1", "pool p0: away prune logs of pool p2: away"},
		"logs, for ever":  {0, nil, nil, yes, []error{nil}, "s events, for ever", ""},
	} {
		var did []string
		if c.old == nil {
			c.old = map[string]int{}
		}
		j, m, logged := newJanitor(t, &fakeStore{name: "s", old: c.old, fails: c.fails, did: &did})
		j.Stores[0].Turn = c.turn
		for i, err := range c.logs {
			id := fmt.Sprint("p", i)
			j.Logs[id] = &fakeLogs{name: fmt.Sprint(i), did: &did, err: err}
			j.Logs[id+"b"] = j.Logs[id] // has the same logs
		}
		m.OnWait = func() { did = append(did, "rest") }
		before := park.Time{}
		if c.before != 0 {
			before = park.At(time.Unix(c.before, 0))
		}
		j.pruneAll(t.Context(), before)
		if got := strings.Join(did, ", "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if text := strings.ReplaceAll(logged.String(), `\n`, " "); (text == "") != (c.logged == "") || !strings.Contains(text, c.logged) {
			t.Errorf("%s: the log is %q", name, text)
		}
		for _, w := range m.Waited {
			if w.For != chunkRest {
				t.Errorf("%s: rests for %s", name, w.For)
			}
		}
	}
}

// TestFailingStoreStopsNoOther: the others are pruned to the end, in the order in which they are given.
func TestFailingStoreStopsNoOther(t *testing.T) {
	var did []string
	j, _, logged := newJanitor(t, &fakeStore{name: "a", old: map[string]int{}, fails: map[string]error{"events": errors.New("away")}, did: &did})
	j.Stores = append(j.Stores, Store{Store: &fakeStore{name: "b", old: map[string]int{}, did: &did}})
	j.pruneAll(t.Context(), park.At(time.Unix(1, 0)))
	if want := []string{"a events", "b events", "b messages", "b tasks"}; !slices.Equal(did, want) || len(j.Stores) != 2 {
		t.Errorf("%q, want %q; %d stores are left", did, want, len(j.Stores))
	}
	if !strings.Contains(logged.String(), "prune events: away") {
		t.Errorf("the log is %q", logged)
	}
}

// TestPruningEnds with its context, and the log says nothing of it.
func TestPruningEnds(t *testing.T) {
	var did []string
	s := &fakeStore{name: "s", old: map[string]int{"events": 10 * chunk}, did: &did}
	j, m, logged := newJanitor(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	m.OnWait = cancel
	j.pruneAll(ctx, park.At(time.Unix(1, 0)))
	if !slices.Equal(did, []string{"s events"}) || logged.Len() != 0 {
		t.Errorf("%v, logged %q", did, logged)
	}
	if err := j.prune(ctx, park.Time{}, s.PruneEvents); !errors.Is(err, context.Canceled) {
		t.Errorf("once its context has ended it returns %v", err)
	}
}

// TestHowOftenIsPruned: soon after the start, and then once a minute, or more often if little is kept.
func TestHowOftenIsPruned(t *testing.T) {
	for keep, want := range map[time.Duration]time.Duration{
		0: time.Minute, time.Second: time.Second, 10 * time.Second: time.Second, 20 * time.Second: 2 * time.Second,
		10 * time.Minute: time.Minute, 24 * time.Hour: time.Minute,
	} {
		var did []string
		j, m, _ := newJanitor(t, &fakeStore{name: "s", old: map[string]int{}, did: &did})
		j.Keep = keep
		j.Logs["cpu"] = &fakeLogs{name: "0", did: &did}
		ctx, cancel := context.WithCancel(t.Context())
		m.Pass(1e6 * time.Second)
		m.Wall = time.Unix(1e6, 0)
		m.OnWait = func() {
			if len(m.Waited) == 2 {
				cancel()
			}
		}
		j.Run(ctx)
		var rests []time.Duration
		for _, w := range m.Waited {
			rests = append(rests, w.For)
		}
		if !slices.Equal(rests, []time.Duration{time.Second, want, want}) {
			t.Errorf("kept for %s: rests %v", keep, rests)
		}
		round := []string{"s events", "for ever"}
		if keep > 0 {
			round = []string{"s events", "s messages", "s tasks", fmt.Sprintf("logs 0 %d", 1_000_000-int64(keep/time.Second))}
		}
		if !slices.Equal(did, append(slices.Clone(round), round...)) {
			t.Errorf("kept for %s: %v", keep, did)
		}
	}
}
