package engine_test

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// refusingStore can refuse every step that brings a task to one of some states.
type refusingStore struct {
	*memory.Store
	states   []park.Status
	mu       sync.Mutex
	refusing bool
	refused  int
	loads    int
}

func (s *refusingStore) setRefusing(shut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusing = shut
}

func (s *refusingStore) Commit(ctx context.Context, step *store.Step) error {
	s.mu.Lock()
	refuse := s.refusing && slices.ContainsFunc(step.Updates, func(u store.Update) bool { return slices.Contains(s.states, u.State.Status) })
	if refuse {
		s.refused++
	}
	s.mu.Unlock()
	if refuse {
		return &store.RefusedError{Err: errPoison}
	}
	return s.Store.Commit(ctx, step)
}

func (s *refusingStore) Load(ctx context.Context, pool string) (store.Snapshot, error) {
	s.mu.Lock()
	s.loads++
	s.mu.Unlock()
	return s.Store.Load(ctx, pool)
}

// counts returns how many steps were refused and how often a pool was loaded.
func (s *refusingStore) counts() (refused, loads int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused, s.loads
}

// TestRefusedByTimeAlone: a step that nobody has asked for and that the store refuses is tried again ever more rarely. The
// trouble is told once, and no client is told that its own request is to blame.
func TestRefusedByTimeAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out syncBuffer
		s := &refusingStore{Store: memory.New(), states: []park.Status{park.Expired}}
		b := openEngine(t, engine.Config{
			Pools: []engine.Pool{poolConfig("cpu", 1, sleepExecutor())}, Stores: map[park.Backend]store.Store{park.InMemory: s},
			Log: slog.New(slog.NewTextHandler(&out, nil)),
		})
		defer b.closeNow()
		b.submit("cpu", withID("runs", sleepFor(3_600_000)))
		late := withID("late", sleepFor(1))
		late.Deadline = park.At(time.Now().Add(time.Second))
		b.submit("cpu", late)
		s.setRefusing(true)
		time.Sleep(30 * time.Minute)
		if refused, loads := s.counts(); refused == 0 || refused > 100 || loads > 1 {
			t.Errorf("refused %d times, loaded %d times", refused, loads)
		}
		for _, n := range []int{1, 2} {
			results, err := b.Submit(t.Context(), "cpu", make([]park.Submission, n))
			if park.CodeOf(err) != park.StorageUnavailable {
				t.Errorf("%d submissions: %+v, %v", n, results, err)
			}
		}
		if err := b.Ready(); err == nil || !strings.Contains(err.Error(), errPoison.Error()) {
			t.Errorf("ready: %v", err)
		}
		s.setRefusing(false)
		time.Sleep(time.Minute)
		if got := b.awaitTask("cpu", "late"); got.Status != park.Expired {
			t.Errorf("it ended as %+v", got)
		}
		if err := b.Ready(); err != nil {
			t.Errorf("at the end: %v", err)
		}
		text := []byte(out.String())
		if told, back := bytes.Count(text, []byte("level=ERROR")), bytes.Count(text, []byte("the store is available again")); told != 1 || back != 1 {
			t.Errorf("told %d times, and the end %d times:\n%s", told, back, text)
		}
	})
}

// TestRefusedOutcomeIsToldOnce: while the store refuses the outcome of a run, whatever it is, the pool goes on with the rest,
// and the log does not tell of it again and again, nor that it is over.
func TestRefusedOutcomeIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out syncBuffer
		s := &refusingStore{Store: memory.New(), states: []park.Status{park.Completed, park.Failed}}
		b := openEngine(t, engine.Config{
			Pools: []engine.Pool{poolConfig("cpu", 1, sleepExecutor())}, Stores: map[park.Backend]store.Store{park.InMemory: s},
			Log: slog.New(slog.NewTextHandler(&out, nil)),
		})
		defer b.closeNow()
		s.setRefusing(true)
		b.submit("cpu", withID("ends", sleepFor(1)))
		late := withID("late", sleepFor(1))
		late.Deadline = park.At(time.Now().Add(time.Second))
		b.submit("cpu", late)
		if got := b.awaitTask("cpu", "late"); got.Status != park.Expired {
			t.Errorf("it ended as %+v", got)
		}
		for range 60 {
			time.Sleep(time.Second)
			if b.Ready() == nil {
				t.Fatal("ready, while an outcome cannot be stored")
			}
		}
		s.setRefusing(false)
		if got := b.awaitTask("cpu", "ends"); got.Status != park.Failed || got.Reason != park.ReasonResultTooLarge {
			t.Errorf("it ended as %+v", got)
		}
		synctest.Wait()
		if err := b.Ready(); err != nil {
			t.Errorf("at the end: %v", err)
		}
		for text, want := range map[string]int{"refused permanently: trying": 1, "result not stored": 1, "the store is available again": 1} {
			if told := strings.Count(out.String(), text); told != want {
				t.Errorf("%q is told %d times", text, told)
			}
		}
	})
}
