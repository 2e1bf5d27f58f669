package engine_test

import (
	"context"
	"path/filepath"
	"testing"

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

func benchmarkTask(b *testing.B, s store.Store) {
	p := pool("cpu", 1<<20, park.ExecutorFunc(func(context.Context, park.Assignment) (any, error) { return 1, nil }))
	e := open(b, engine.Config{Pools: []engine.Pool{p}, Stores: map[park.Backend]store.Store{park.InMemory: s}})
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
