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

// slowShared is a shared store that can be slow even if a call is cancelled. It counts the nodes that leave it.
type slowShared struct {
	*memory.Store
	revsDelay   time.Duration // how long a look at the revs takes
	outboxHangs bool          // asked what is owed, until it is given up
	dropsBeats  atomic.Bool   // hears no beats
	full        atomic.Bool
	inside      atomic.Int64
	leaves      atomic.Int64
}

func (l *slowShared) Revs(ctx context.Context, pools []string) (map[string]int64, error) {
	l.inside.Add(1)
	defer l.inside.Add(-1)
	time.Sleep(l.revsDelay)
	return l.Store.Revs(ctx, pools)
}

func (l *slowShared) Outbox(ctx context.Context, dest string, now park.Time, limit int) ([]store.OutboxEntry, error) {
	if l.outboxHangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return l.Store.Outbox(ctx, dest, now, limit)
}

func (l *slowShared) Heartbeat(ctx context.Context, node string, own store.NodeConfig) (map[string]store.NodeHeartbeat, error) {
	if l.dropsBeats.Load() {
		return nil, errGone
	}
	return l.Store.Heartbeat(ctx, node, own)
}

func (l *slowShared) RemoveNode(ctx context.Context, node string) error {
	l.leaves.Add(1)
	return l.Store.RemoveNode(ctx, node)
}

func (l *slowShared) StorageError() error {
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
			l := &slowShared{Store: memory.New(), revsDelay: 3 * time.Second}
			l.dropsBeats.Store(deaf)
			b := openEngine(t, engine.Config{
				Pools: []engine.Pool{poolConfig("cpu", 1, sleepExecutor())}, Shared: []park.Backend{park.InMemory}, Stores: map[park.Backend]store.Store{park.InMemory: l},
			})
			time.Sleep(time.Second)
			if l.inside.Load() != 1 {
				t.Fatal("nobody looks at the revs")
			}
			b.closeNow()
			if l.inside.Load() != 0 {
				t.Error("closed, and yet a store is asked")
			}
			if left := l.leaves.Load(); deaf && left != 0 || !deaf && left != 1 {
				t.Errorf("deaf %t: it has left %d times", deaf, left)
			}
		})
	}
}

// TestReadyAsksTheStore: what the store says of itself, what a step was answered and what the node knows each tell why a pool
// takes no tasks.
func TestReadyAsksTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &slowShared{Store: memory.New()}
		b := openEngine(t, engine.Config{
			Pools: []engine.Pool{poolConfig("cpu", 1, sleepExecutor())}, Shared: []park.Backend{park.InMemory}, Stores: map[park.Backend]store.Store{park.InMemory: l},
		})
		defer b.closeNow()
		if err := b.Ready(); err != nil {
			t.Error(err)
		}
		l.full.Store(true)
		if err := b.Ready(); !errors.Is(err, errGone) {
			t.Errorf("a store that can keep no more: %v", err)
		}
		l.full.Store(false)
		l.dropsBeats.Store(true)
		time.Sleep(5 * time.Second)
		if err := b.Ready(); !errors.Is(err, errGone) {
			t.Errorf("a store that hears no beats: %v", err)
		}
		l.dropsBeats.Store(false)
		time.Sleep(5 * time.Second)
		if err := b.Ready(); err != nil {
			t.Errorf("after that: %v", err)
		}
	})
}

// TestOpenIsGivenUpInTime: a store that hangs holds up for a time only the engine that cannot be opened.
func TestOpenIsGivenUpInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, s := &slowShared{Store: memory.New()}, &refusingPool{Store: memory.New()}
		a, z := poolConfig("a", 1, sleepExecutor()), poolConfig("z", 2, sleepExecutor())
		a.MailboxBackend, z.QueueBackend, z.MailboxBackend = park.File, park.File, park.File
		c := engine.Config{
			Pools: []engine.Pool{a, z}, Audit: park.InMemory, Stores: map[park.Backend]store.Store{park.InMemory: l, park.File: s},
		}
		b := openEngine(t, c)
		b.submit("z", withID("t", sleepFor(1)))
		b.awaitTask("z", "t")
		b.closeNow()
		l.outboxHangs, s.pool, c.Pools[1].MaxUnits = true, "z", 1 // which the store will not take
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
