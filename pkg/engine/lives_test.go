package engine_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// cuttable is a store that can be cut off from its daemon, as if the daemon had been killed.
type cuttable struct {
	store.Store
	cut atomic.Bool
}

var errCut = errors.New("cut off")

func (s *cuttable) Deliver(ctx context.Context, m []park.Message) error {
	if s.cut.Load() {
		return errCut
	}
	return s.Store.Deliver(ctx, m)
}

func (s *cuttable) Append(ctx context.Context, e []park.Event) error {
	if s.cut.Load() {
		return errCut
	}
	return s.Store.Append(ctx, e)
}

// openSuccessor opens an engine with a queue of its own, and with its mailbox and log in a store that survives.
func openSuccessor(t testing.TB, queue store.Store, kept store.Store, units int64) *harness {
	p := poolConfig("cpu", units, sleepExecutor())
	p.MailboxBackend = park.File
	return openEngine(t, engine.Config{
		Pools: []engine.Pool{p}, Audit: park.File,
		Stores: map[park.Backend]store.Store{park.InMemory: queue, park.File: kept},
	})
}

// checkReplay replays the whole log as the command line does, and returns how often a queue was lost.
func (b *harness) checkReplay(units int64) int {
	b.Helper()
	events := b.events(park.AuditQuery{PoolID: "cpu", Changes: true})
	p, err := replay.Run(replay.Initial(replay.Limits{MaxUnits: units, MaxQueueDepth: 100_000}, events), events)
	if err != nil {
		b.Fatalf("the log breaks a rule: %v", err)
	}
	now, err := b.Pool(context.Background(), "cpu")
	if err != nil {
		b.Fatal(err)
	}
	if err := p.EndsAt(now); err != nil {
		b.Error(err)
	}
	return p.Summary().Resumed
}

// results returns the results of a task in the mailbox, oldest first.
func (b *harness) results(task string) string {
	b.Helper()
	page, err := b.Mailbox(context.Background(), park.MailboxQuery{Tenant: "default", Key: "box", Limit: 1000})
	if err != nil {
		b.Fatal(err)
	}
	var all []string
	for _, m := range page.Messages {
		if m.TaskID == task {
			all = append(all, string(m.Payload))
		}
	}
	return strings.Join(all, " ")
}

// TestQueueIsOutlived: a queue in memory goes with its daemon, and what it left in a log and in mailboxes that stay must
// not be taken for what the next one brings.
func TestQueueIsOutlived(t *testing.T) {
	for name, kill := range map[string]bool{"stopped": false, "killed": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kept := memory.New()
				first := &cuttable{Store: kept}
				b := openSuccessor(t, memory.New(), first, 3)
				for _, id := range []string{"a", "b", "c", "d", "e"} {
					b.submit("cpu", withID(id, sleepFor(10)))
				}
				b.submit("cpu", withID("long", sleepFor(1_000_000)))
				b.awaitTask("cpu", "e")
				time.Sleep(time.Second)
				if kill {
					first.cut.Store(true)
					b.submit("cpu", withID("unheard", sleepFor(10)))
					b.awaitTask("cpu", "unheard")
				}
				before := b
				if !kill {
					b.closeNow()
				}

				// With fewer units than the first one used: nothing of that is held against it.
				b = openSuccessor(t, memory.New(), kept, 2)
				b.submit("cpu", withID("a", sleepFor(20)))
				if got := b.awaitTask("cpu", "a"); string(got.Result) != "20" {
					t.Errorf("the second life of a task ended with %s", got.Result)
				}
				time.Sleep(time.Second)
				if got := b.results("a"); got != "10 20" {
					t.Errorf("two lives of a task left the messages %q", got)
				}
				if got := b.actions("a"); got != " submit start complete submit start complete" {
					t.Errorf("the log tells of two lives:%s", got)
				}
				if got := b.checkReplay(2); got != 1 {
					t.Errorf("the log tells of %d lost queues", got)
				}
				b.closeNow()
				if kill {
					before.closeNow()
				}
			})
		})
	}
}

// TestLastWordsOfAQueue: what a queue in memory still owes is delivered before it goes.
func TestLastWordsOfAQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := memory.New()
		slow := &slowDelivery{Store: kept}
		b := openSuccessor(t, memory.New(), slow, 1)
		b.submit("cpu", withID("a", sleepFor(10)))
		b.submit("cpu", withID("b", sleepFor(1_000_000)))
		b.awaitTask("cpu", "a")
		b.closeNow()
		b = openSuccessor(t, memory.New(), kept, 1)
		defer b.closeNow()
		if got := b.results("a"); got != "10" {
			t.Errorf("left the messages %q", got)
		}
		if got := b.actions("b"); got != " submit enqueue start requeue" {
			t.Errorf("left the events%s", got)
		}
	})
}

// slowDelivery is a store that is slow to accept deliveries.
type slowDelivery struct{ store.Store }

func (s *slowDelivery) Deliver(ctx context.Context, m []park.Message) error {
	time.Sleep(200 * time.Millisecond)
	return s.Store.Deliver(ctx, m)
}

func (s *slowDelivery) Append(ctx context.Context, e []park.Event) error {
	time.Sleep(200 * time.Millisecond)
	return s.Store.Append(ctx, e)
}

// TestQueuePutBack: a queue that was put back to a backup goes on after what the log has of the time since.
func TestQueuePutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept, queue := memory.New(), memory.New()
		b := openSuccessor(t, queue, kept, 2)
		b.submit("cpu", withID("a", sleepFor(10)))
		b.awaitTask("cpu", "a")
		time.Sleep(time.Second)
		b.closeNow()
		// The backup is of the pool's first step; the queue has nothing of its tasks any more.
		old := memory.New()
		row := ledger.Pool{Rev: 1, MaxUnits: 2, MaxQueueDepth: 100_000, State: park.Active, ConfiguredUnits: 2, ConfiguredDepth: 100_000}
		if err := old.AdvanceRev(t.Context(), "cpu", row); err != nil {
			t.Fatal(err)
		}
		b = openSuccessor(t, old, kept, 2)
		defer b.closeNow()
		b.submit("cpu", withID("b", sleepFor(10)))
		b.awaitTask("cpu", "b")
		time.Sleep(time.Second)
		if got := b.actions("b"); got != " submit start complete" {
			t.Errorf("the log tells of what came after the backup:%s", got)
		}
		if got := b.results("b"); got != "10" {
			t.Errorf("left the messages %q", got)
		}
		if got := b.checkReplay(2); got != 1 {
			t.Errorf("the log tells of %d lost queues", got)
		}
	})
}

// TestIDAfterRetention: the queue forgets a task while a mailbox in another store still keeps its message.
func TestIDAfterRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept, queue := memory.New(), memory.New()
		b := openSuccessor(t, queue, kept, 2)
		defer b.closeNow()
		for range 3 {
			b.submit("cpu", withID("a", sleepFor(10)))
			b.awaitTask("cpu", "a")
			time.Sleep(time.Hour)
			if n, err := queue.PruneTasks(t.Context(), park.At(time.Now()), 10); n != 1 || err != nil {
				t.Fatalf("pruned %d tasks, %v", n, err)
			}
		}
		if got := b.results("a"); got != "10 10 10" {
			t.Errorf("three lives of a task left the messages %q", got)
		}
	})
}

// unreadableLog is a store whose log can be unreadable.
type unreadableLog struct {
	store.Store
	down atomic.Bool
}

func (s *unreadableLog) LastRev(ctx context.Context, pool string) (int64, park.Time, error) {
	if s.down.Load() {
		return 0, park.Time{}, errCut
	}
	return s.Store.LastRev(ctx, pool)
}

// TestLogAwayAtTheStart: where it is not known how far the log goes, a new queue takes nothing yet.
func TestLogAwayAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := &unreadableLog{Store: memory.New()}
		kept.down.Store(true)
		b := openSuccessor(t, memory.New(), kept, 2)
		defer b.closeNow()
		_, err := b.Submit(t.Context(), "cpu", []park.Submission{withID("a", sleepFor(10))})
		if code := park.CodeOf(err); code != park.StorageUnavailable {
			t.Errorf("got %v, want %s", err, park.StorageUnavailable)
		}
		if b.Ready() == nil {
			t.Error("the engine is ready")
		}
		kept.down.Store(false)
		time.Sleep(time.Second)
		b.submit("cpu", withID("a", sleepFor(10)))
		b.awaitTask("cpu", "a")
	})
}
