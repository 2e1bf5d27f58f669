package engine_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
	"github.com/parkd-dev/parkd/pkg/store/sqlite"
)

// BenchmarkTask is one task's whole life: submitted, run, completed, in the mailbox and in the audit log.
func BenchmarkTask(b *testing.B) {
	b.Run("memory", func(b *testing.B) { benchmarkTask(b, memory.New()) })
	b.Run("file", func(b *testing.B) {
		s, err := sqlite.Open(b.Context(), sqlite.Config{Path: filepath.Join(b.TempDir(), "parkd.db")})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		benchmarkTask(b, s)
	})
}

// BenchmarkWake is the time from the return of one run to the beginning of the next, in a pool of one unit with tasks
// parked behind it: what capacity that came free waits for, without the timers of simulated work.
func BenchmarkWake(b *testing.B) {
	b.Run("memory", func(b *testing.B) { benchmarkWake(b, memory.New()) })
	b.Run("file", func(b *testing.B) {
		s, err := sqlite.Open(b.Context(), sqlite.Config{Path: filepath.Join(b.TempDir(), "parkd.db")})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		benchmarkWake(b, s)
	})
}

func benchmarkWake(b *testing.B, s store.Store) {
	const parked = 64
	var free time.Time // written by one run and read by the next
	wakes, runs := make([]time.Duration, 0, b.N), make(chan struct{}, parked)
	p := poolConfig("cpu", 1, park.ExecutorFunc(func(context.Context, park.Assignment) (any, error) {
		if !free.IsZero() {
			wakes = append(wakes, time.Since(free))
		}
		runs <- struct{}{}
		free = time.Now()
		return nil, nil
	}))
	e := openEngine(b, engine.Config{Pools: []engine.Pool{p}, Stores: map[park.Backend]store.Store{park.InMemory: s}})
	submit := func() {
		if r, err := e.Submit(b.Context(), "cpu", []park.Submission{{}}); err != nil || r[0].Err != nil {
			b.Fatal(err, r)
		}
	}
	for i := range b.N + parked {
		if submit(); i >= parked {
			<-runs
		}
	}
	for range parked {
		<-runs
	}
	if err := e.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
	slices.Sort(wakes)
	b.ReportMetric(float64(wakes[len(wakes)/2].Nanoseconds()), "ns-p50")
	b.ReportMetric(float64(wakes[len(wakes)*99/100].Nanoseconds()), "ns-p99")
}

func benchmarkTask(b *testing.B, s store.Store) {
	p := poolConfig("cpu", 1<<20, park.ExecutorFunc(func(context.Context, park.Assignment) (any, error) { return 1, nil }))
	e := openEngine(b, engine.Config{Pools: []engine.Pool{p}, Stores: map[park.Backend]store.Store{park.InMemory: s}})
	b.SetParallelism(128)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r, err := e.Submit(b.Context(), "cpu", []park.Submission{{MailboxKey: park.MailboxRef{Key: "box"}, Payload: []byte(`{"prompt":"hello"}`)}})
			if err != nil || r[0].Err != nil {
				b.Error(err, r)
				return
			}
		}
	})
	if err := e.Close(context.Background()); err != nil { // waits for what still runs
		b.Fatal(err)
	}
}
