package engine_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// lingering is a shared store that may take its time whoever gives it up, and counts the nodes that leave it.
type lingering struct {
	*memory.Store
	revs   time.Duration // how long a look at the revs takes
	hangs  bool          // asked what is owed, until it is given up
	deaf   atomic.Bool   // hears no beats
	full   atomic.Bool
	inside atomic.Int64
	left   atomic.Int64
}

func (l *lingering) Revs(ctx context.Context, pools []string) (map[string]int64, error) {
	l.inside.Add(1)
	defer l.inside.Add(-1)
	time.Sleep(l.revs)
	return l.Store.Revs(ctx, pools)
}

func (l *lingering) Outbox(ctx context.Context, dest string, now park.Time, limit int) ([]store.Parcel, error) {
	if l.hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return l.Store.Outbox(ctx, dest, now, limit)
}

func (l *lingering) Beat(ctx context.Context, node string, own store.Terms) (map[string]store.Pulse, error) {
	if l.deaf.Load() {
		return nil, errGone
	}
	return l.Store.Beat(ctx, node, own)
}

func (l *lingering) Leave(ctx context.Context, node string) error {
	l.left.Add(1)
	return l.Store.Leave(ctx, node)
}

func (l *lingering) Trouble() error {
	if l.full.Load() {
		return errGone
	}
	return nil
}

// TestCloseLeavesNothing: once an engine is closed nothing of it asks a store any more, and it has left the others, if they
// have heard of it.
func TestCloseLeavesNothing(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := &lingering{Store: memory.New(), revs: 3 * time.Second}
			l.deaf.Store(deaf)
			b := open(t, engine.Config{
				Pools: []engine.Pool{pool("cpu", 1, simulated())}, Shared: []park.Backend{park.InMemory}, Stores: map[park.Backend]store.Store{park.InMemory: l},
			})
			time.Sleep(time.Second)
			if l.inside.Load() != 1 {
				t.Fatal("nobody looks at the revs")
			}
			b.stop()
			if l.inside.Load() != 0 {
				t.Error("closed, and yet a store is asked")
			}
			if left := l.left.Load(); deaf && left != 0 || !deaf && left != 1 {
				t.Errorf("deaf %t: it has left %d times", deaf, left)
			}
		})
	}
}

// TestReadyAsksTheStore: what the store says of itself, what a step was answered and what the node knows each tell why a pool
// takes no tasks.
func TestReadyAsksTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lingering{Store: memory.New()}
		b := open(t, engine.Config{
			Pools: []engine.Pool{pool("cpu", 1, simulated())}, Shared: []park.Backend{park.InMemory}, Stores: map[park.Backend]store.Store{park.InMemory: l},
		})
		defer b.stop()
		if err := b.Ready(); err != nil {
			t.Error(err)
		}
		l.full.Store(true)
		if err := b.Ready(); !errors.Is(err, errGone) {
			t.Errorf("a store that can keep no more: %v", err)
		}
		l.full.Store(false)
		l.deaf.Store(true)
		time.Sleep(5 * time.Second)
		if err := b.Ready(); !errors.Is(err, errGone) {
			t.Errorf("a store that hears no beats: %v", err)
		}
		l.deaf.Store(false)
		time.Sleep(5 * time.Second)
		if err := b.Ready(); err != nil {
			t.Errorf("after that: %v", err)
		}
	})
}

// TestOpenIsGivenUpInTime: a store that hangs holds up for a time only the engine that cannot be opened.
func TestOpenIsGivenUpInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, s := &lingering{Store: memory.New()}, &refusing{Store: memory.New()}
		a, z := pool("a", 1, simulated()), pool("z", 2, simulated())
		a.MailboxBackend, z.QueueBackend, z.MailboxBackend = park.File, park.File, park.File
		c := engine.Config{
			Pools: []engine.Pool{a, z}, Audit: park.InMemory, Stores: map[park.Backend]store.Store{park.InMemory: l, park.File: s},
		}
		b := open(t, c)
		b.submit("z", named("t", sim(1)))
		b.ended("z", "t")
		b.stop()
		l.hangs, s.pool, c.Pools[1].MaxUnits = true, "z", 1 // which the store will not take
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if _, err := engine.Open(ctx, c); err == nil {
			t.Fatal("opened")
		}
		if took := time.Since(began); took > 2*time.Minute {
			t.Errorf("given up after %s", took)
		}
	})
}
