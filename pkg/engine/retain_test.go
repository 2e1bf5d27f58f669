package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// attic is a store with old things, of which it removes as many as it is told to, and some that fail.
type attic struct {
	store.Store
	name  string
	old   map[string]int // by kind
	fails map[string]error
	did   *[]string
}

func (s *attic) prune(kind string, before park.Time, limit int) (int, error) {
	*s.did = append(*s.did, fmt.Sprintf("%s %s", s.name, kind))
	if before.IsZero() {
		*s.did = append(*s.did, "for ever")
	}
	n := min(s.old[kind], limit)
	s.old[kind] -= n
	return n, s.fails[kind]
}

func (s *attic) PruneEvents(_ context.Context, before park.Time, limit int) (int, error) {
	return s.prune("events", before, limit)
}

func (s *attic) PruneMessages(_ context.Context, before park.Time, limit int) (int, error) {
	return s.prune("messages", before, limit)
}

func (s *attic) PruneTasks(_ context.Context, before park.Time, limit int) (int, error) {
	return s.prune("tasks", before, limit)
}

// janitor is an executor's logs that can be pruned.
type janitor struct {
	name string
	did  *[]string
	err  error
}

func (j *janitor) Log(context.Context, string, string, int, park.LogQuery, <-chan struct{}) (*park.Log, error) {
	return nil, errors.New("none")
}

func (j *janitor) PruneLogs(_ context.Context, before time.Time) error {
	*j.did = append(*j.did, fmt.Sprintf("logs %s %d", j.name, before.Unix()))
	return j.err
}

// TestPruning goes through a store in chunks, from its events to its tasks, and stops where one cannot be done.
func TestPruning(t *testing.T) {
	away := errors.New("away")
	for name, c := range map[string]struct {
		before int64 // 0: all is kept for ever
		old    map[string]int
		fails  map[string]error
		first  string // another node
		logs   []error
		want   string
		told   string
	}{
		"little":          {1, nil, nil, "z", nil, "s events, s messages, s tasks", ""},
		"for ever":        {0, nil, nil, "z", nil, "s events, for ever", ""},
		"a chunk less":    {1, map[string]int{"events": pruneChunk - 1}, nil, "z", nil, "s events, s messages, s tasks", ""},
		"a chunk":         {1, map[string]int{"events": pruneChunk}, nil, "z", nil, "s events, rest, s events, s messages, s tasks", ""},
		"many tasks":      {1, map[string]int{"tasks": 2*pruneChunk + 1}, nil, "z", nil, "s events, s messages, s tasks, rest, s tasks, rest, s tasks", ""},
		"no events":       {1, nil, map[string]error{"events": away}, "z", nil, "s events", "prune events: away"},
		"no messages":     {1, nil, map[string]error{"messages": away}, "z", nil, "s events, s messages", "prune messages: away"},
		"no tasks":        {1, map[string]int{"tasks": pruneChunk}, map[string]error{"tasks": away}, "z", nil, "s events, s messages, s tasks", "prune tasks: away"},
		"another's":       {1, nil, nil, "a", []error{nil}, "logs 0 1", ""},
		"logs":            {1, nil, nil, "z", []error{nil, nil}, "s events, s messages, s tasks, logs 0 1, logs 1 1", ""},
		"logs, some fail": {1, nil, nil, "z", []error{away, nil, away}, "s events, s messages, s tasks, logs 0 1, logs 1 1, logs 2 1", "pool p0: away prune logs of pool p2: away"},
		"logs, for ever":  {0, nil, nil, "z", []error{nil}, "s events, for ever", ""},
	} {
		var did []string
		said := &strings.Builder{}
		p := poolWith(t, park.PoolRow{State: park.Active})
		e := p.eng
		e.log = slog.New(slog.NewTextHandler(said, nil))
		if c.old == nil {
			c.old = map[string]int{}
		}
		e.stores = map[park.Backend]store.Store{park.InMemory: &attic{name: "s", old: c.old, fails: c.fails, did: &did}}
		e.nodes, e.pools = nodesWith(c.first), map[string]*pool{"z": p, "zz": p}
		e.order = []string{"z", "zz"} // without logs
		for i, err := range c.logs {
			id := fmt.Sprint("p", i)
			e.pools[id] = &pool{Pool: Pool{Logs: &janitor{name: fmt.Sprint(i), did: &did, err: err}}}
			e.pools[id+"b"] = e.pools[id] // has the same logs
			e.order = append(e.order, id, id+"b")
		}
		e.world.(*strict).onWait = func() { did = append(did, "rest") }
		before := park.Time{}
		if c.before != 0 {
			before = park.At(time.Unix(c.before, 0))
		}
		e.pruneAll(before)
		if got := strings.Join(did, ", "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if text := strings.ReplaceAll(said.String(), `\n`, " "); (text == "") != (c.told == "") || !strings.Contains(text, c.told) {
			t.Errorf("%s: told %q", name, text)
		}
		for _, one := range e.world.(*strict).waited {
			if one.d != pruneRest {
				t.Errorf("%s: rests for %s", name, one.d)
			}
		}
	}
}

// TestPruningEnds with the engine, which is no reason to complain.
func TestPruningEnds(t *testing.T) {
	var did []string
	said := &strings.Builder{}
	p := poolWith(t, park.PoolRow{State: park.Active})
	e := p.eng
	e.log = slog.New(slog.NewTextHandler(said, nil))
	s := &attic{name: "s", old: map[string]int{"events": 10 * pruneChunk}, did: &did}
	e.stores = map[park.Backend]store.Store{park.InMemory: s}
	e.world.(*strict).onWait = e.stop
	e.pruneAll(park.At(time.Unix(1, 0)))
	if !slices.Equal(did, []string{"s events"}) || said.Len() != 0 {
		t.Errorf("%v, told %q", did, said)
	}
	if err := e.prune(park.Time{}, s.PruneEvents); !errors.Is(err, context.Canceled) {
		t.Errorf("one that is cut off says %v", err)
	}
}

// TestHowOftenIsPruned: soon after the start, and then once a minute, or more often where little is kept.
func TestHowOftenIsPruned(t *testing.T) {
	for retention, want := range map[time.Duration]time.Duration{
		0: time.Minute, time.Second: time.Second, 10 * time.Second: time.Second, 20 * time.Second: 2 * time.Second,
		10 * time.Minute: time.Minute, 24 * time.Hour: time.Minute,
	} {
		var did []string
		p := poolWith(t, park.PoolRow{State: park.Active})
		e := p.eng
		e.cfg.Retention, e.order, e.pools = retention, []string{"cpu"}, map[string]*pool{"cpu": p}
		p.Logs = &janitor{name: "0", did: &did}
		e.stores = map[park.Backend]store.Store{park.InMemory: &attic{name: "s", old: map[string]int{}, did: &did}}
		w := e.world.(*strict)
		w.pass(1e6 * time.Second)
		w.wall = time.Unix(1e6, 0)
		w.onWait = func() {
			if len(w.waited) == 2 {
				e.stop()
			}
		}
		e.retain()
		var rests []time.Duration
		for _, one := range w.waited {
			rests = append(rests, one.d)
		}
		if !slices.Equal(rests, []time.Duration{time.Second, want, want}) {
			t.Errorf("kept for %s: rests %v", retention, rests)
		}
		round := []string{"s events", "for ever"}
		if retention > 0 {
			round = []string{"s events", "s messages", "s tasks", fmt.Sprintf("logs 0 %d", 1_000_000-int64(retention/time.Second))}
		}
		if !slices.Equal(did, append(slices.Clone(round), round...)) {
			t.Errorf("kept for %s: %v", retention, did)
		}
	}
}
