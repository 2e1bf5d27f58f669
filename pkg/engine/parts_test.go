package engine_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// poisonable is a store that refuses poison, and goes down if a payload says so.
type poisonable struct {
	flakyStore
}

func (s *poisonable) Commit(ctx context.Context, st *store.Step) error {
	var err error
	for i := range st.Inserts {
		switch string(st.Inserts[i].Payload) {
		case `"poison"`:
			return &store.RefusedError{Err: errPoison}
		case `"away"`:
			err = errGone
		}
	}
	if err != nil {
		return err
	}
	return s.flakyStore.Commit(ctx, st)
}

// TestPartsOfARefusedStep: of a step that is refused each request has an answer of its own: the poison, one that the store
// fails at, a worker that begins to wait and what is good.
func TestPartsOfARefusedStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &poisonable{flakyStore: flakyStore{Store: memory.New()}}
		b := openEngine(t, engine.Config{Pools: []engine.Pool{leasedPool(1)}, Stores: map[park.Backend]store.Store{park.InMemory: s}})
		defer b.closeNow()
		offer := func(payload string, code park.Code) func() {
			return func() {
				began := time.Now()
				r := b.trySubmit("remote", withID(payload, park.Submission{Payload: json.RawMessage(`"` + payload + `"`)}))
				if code == "" && r.Err != nil || code != "" && (r.Err == nil || r.Err.Code != code) || time.Since(began) > 5*time.Second {
					t.Errorf("%s: after %s %+v", payload, time.Since(began), r.Err)
				}
			}
		}
		s.slowNextCommit()
		inParallel(
			func() { b.SetPool(context.Background(), "remote", park.PoolPatch{MaxQueueDepth: new(7)}) },
			offer("poison", park.InvalidRequest),
			offer("away", park.StorageUnavailable),
			func() {
				l, err := b.Lease(context.Background(), "remote", park.LeaseRequest{Wait: park.Duration(2 * time.Second)})
				if err != nil || len(l) != 1 || l[0].TaskID != "good" {
					t.Errorf("leased %+v, %v", l, err)
				}
			},
			offer("good", ""),
		)
	})
}

// TestWhoJoinsAPartIsAnswered: what comes while a refused step is done in parts, and shares what nobody has asked for, is told
// when that does not come about.
func TestWhoJoinsAPartIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m contendedStore
		b := openContended(t, &m, poolConfig("cpu", 1, sleepExecutor()))
		defer b.closeNow()
		b.submit("cpu", withID("runs", sleepFor(3_600_000)))
		late := withID("late", sleepFor(1))
		late.Deadline = park.At(time.Now().Add(time.Second))
		b.submit("cpu", late)
		joined := make(chan park.SubmitResult, 1)
		m.startContention(aheadOnce(func() {
			go func() { joined <- b.trySubmit("cpu", withID("b", sleepFor(1))) }()
		}), func(_ *store.Step, n int) error {
			switch n {
			case 1:
				time.Sleep(2 * time.Second) // the other is late by then
				return &store.RefusedError{Err: errPoison}
			case 2:
				return m.conflict("cpu")
			case 3:
				return errGone
			}
			return nil
		})
		go b.trySubmit("cpu", withID("a", sleepFor(1)))
		if r := <-joined; r.Err == nil || r.Err.Code != park.StorageUnavailable {
			t.Errorf("answered %+v", r.Err)
		}
	})
}

// TestCloseTellsNoTrouble: a run that stops when it is told to is nothing that an operator must hear of, and one that does not
// is told of.
func TestCloseTellsNoTrouble(t *testing.T) {
	for _, stops := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var out syncBuffer
			b := openEngine(t, engine.Config{
				Pools: []engine.Pool{poolConfig("cpu", 1, park.ExecutorFunc(func(ctx context.Context, _ park.Assignment) (any, error) {
					<-ctx.Done()
					if !stops {
						time.Sleep(time.Hour)
					}
					return nil, context.Cause(ctx)
				}))},
				Log: slog.New(slog.NewTextHandler(&out, nil)),
			})
			b.submit("cpu", withID("a", sleepFor(1)))
			synctest.Wait()
			b.closeNow()
			if text := out.String(); strings.Contains(text, "level=ERROR") == stops || strings.Contains(text, "outcomes not stored") {
				t.Errorf("stops %t: %s", stops, text)
			}
			time.Sleep(2 * time.Hour)
		})
	}
}

// TestHintsAreGivenAgain: one node after the other hears of each step, and not only of the first; and where all is well the log
// of a node tells of no hint that was not given.
func TestHintsAreGivenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w unitCounter
		var out syncBuffer
		tm := openCluster(t, 2, func(i int, c *engine.Config) {
			p := w.newPool(2)
			p.Idle = i == 0
			c.Pools, c.Log = []engine.Pool{p}, slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
		})
		time.Sleep(5 * time.Second) // they know of each other
		for _, id := range []string{"a", "b", "c"} {
			began := time.Now()
			tm.nodes[0].submit("cpu", withID(id, sleepFor(0)))
			tm.nodes[1].awaitTask("cpu", id)
			if d := time.Since(began); d > 30*time.Millisecond {
				t.Errorf("task %s took the other node %s", id, d)
			}
		}
		tm.stop()
		for _, line := range []string{"not announced", "no hints"} {
			if text := out.String(); strings.Contains(text, line) {
				t.Errorf("the log says %q:\n%s", line, text)
			}
		}
	})
}

// outcomeFunc is an executor that ends at once with the function's outcome.
type outcomeFunc func() park.Outcome

func (s outcomeFunc) Run(context.Context, park.Assignment) park.Outcome { return s() }

// TestStartsPutOffAreCounted, each with its reason.
func TestStartsPutOffAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, short := &countingMeter{}, true
		b := openEngine(t, engine.Config{
			Pools: []engine.Pool{poolConfig("cpu", 1, outcomeFunc(func() park.Outcome {
				if short {
					short = false
					return park.PutOff(&park.ShortageError{Reason: park.ShortFiles, Err: errGone})
				}
				return park.Outcome{Status: park.Completed}
			}))},
			Meter: m,
		})
		defer b.closeNow()
		b.submit("cpu", withID("a", sleepFor(1)))
		b.awaitTask("cpu", "a")
		m.mu.Lock()
		defer m.mu.Unlock()
		if n := m.n["deferred cpu "+park.ShortFiles]; n != 1 {
			t.Errorf("counted %v", m.n)
		}
	})
}
