package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// TestReadyWhileAPoolWorks: of several stores one that is away takes its own pools out, and no others.
func TestReadyWhileAPoolWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := &disconnectable{Store: memory.New()}
		far := poolConfig("far", 1, sleepExecutor())
		far.QueueBackend = park.File
		b := openEngine(t, engine.Config{
			Pools: []engine.Pool{poolConfig("near", 1, sleepExecutor()), far}, Audit: park.InMemory,
			Stores: map[park.Backend]store.Store{park.InMemory: memory.New(), park.File: away},
		})
		defer b.closeNow()
		away.gone.Store(true)
		b.trySubmit("far", withID("a", sleepFor(1)))
		b.submit("near", withID("b", sleepFor(1)))
		if err := b.Ready(); err != nil {
			t.Errorf("not ready though a pool works: %v", err)
		}
		if all := b.PoolErrors(); all["far"] == nil || all["near"] != nil {
			t.Errorf("troubles %v", all)
		}
		away.gone.Store(false)
		time.Sleep(time.Minute)
		if all := b.PoolErrors(); all["far"] != nil {
			t.Errorf("after the outage: %v", all)
		}
	})
}

// TestOutageIsToldOnce: a node that cannot beat says so when that begins and when it ends.
func TestOutageIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out syncBuffer
		tm := openCluster(t, 1, func(_ int, c *engine.Config) {
			c.Pools, c.Log = []engine.Pool{poolConfig("cpu", 1, sleepExecutor())}, slog.New(slog.NewTextHandler(&out, nil))
		})
		defer tm.stop()
		time.Sleep(time.Second)
		tm.stores[0].cut.Store(true)
		time.Sleep(5 * time.Minute)
		tm.stores[0].cut.Store(false)
		time.Sleep(time.Minute)
		text := out.String()
		if n := strings.Count(text, "not known to be alive"); n != 1 {
			t.Errorf("%d times", n)
		}
		if n := strings.Count(text, "known to be alive again"); n != 1 {
			t.Errorf("the end %d times", n)
		}
	})
}

// syncBuffer is a log that can be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *syncBuffer) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *syncBuffer) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

// cursorRecorder records the cursors of reads of the log.
type cursorRecorder struct {
	store.Store
	mu   sync.Mutex
	seen map[string]bool
	last string
}

func (c *cursorRecorder) Events(ctx context.Context, q park.AuditQuery) ([]park.Event, error) {
	c.mu.Lock()
	c.seen[q.Cursor], c.last = true, q.Cursor
	c.mu.Unlock()
	return c.Store.Events(ctx, q)
}

// TestWatchMovesOn: a watch for what does not happen does not read the log again from where it began.
func TestWatchMovesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cursorRecorder{Store: memory.New(), seen: make(map[string]bool)}
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 1, sleepExecutor())}, Stores: map[park.Backend]store.Store{park.InMemory: c}})
		defer b.closeNow()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			for range b.Watch(ctx, park.AuditQuery{Action: park.ActRequeue}) {
			}
		}()
		for i := range 5 {
			b.submit("cpu", withID(string(rune('a'+i)), sleepFor(1)))
			b.awaitTask("cpu", string(rune('a'+i)))
			synctest.Wait()
		}
		end, err := c.LastEvent(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour) // until it looks again
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.last != end || len(c.seen) < 4 {
			t.Errorf("the log is read from %q, whose end is %q; before from %v", c.last, end, c.seen)
		}
	})
}

// TestUnknownCursor: an event that never was in the log is refused as a place to go on from.
func TestUnknownCursor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 1, sleepExecutor())}, Retention: time.Hour})
		defer b.closeNow()
		unknown := func(cursor string) {
			t.Helper()
			if page, err := b.Audit(t.Context(), park.AuditQuery{Cursor: cursor}); park.CodeOf(err) != park.InvalidRequest {
				t.Errorf("%s: %d events, %v", cursor, len(page.Events), err)
			}
			for e, err := range b.Watch(t.Context(), park.AuditQuery{Cursor: cursor}) {
				if park.CodeOf(err) != park.InvalidRequest {
					t.Errorf("%s watched: %+v, %v", cursor, e, err)
				}
				break
			}
		}
		unknown("cpu:1:0")
		b.submit("cpu", withID("a", sleepFor(1)))
		b.awaitTask("cpu", "a")
		all := b.events(park.AuditQuery{})
		for _, cursor := range []string{"none:1:0", "cpu:1:99", "cpu:1000:0"} {
			unknown(cursor)
		}
		time.Sleep(3 * time.Hour) // all of it is pruned
		if left := b.events(park.AuditQuery{Cursor: all[0].EventID}); len(left) != 0 {
			t.Errorf("left %v", left)
		}
		unknown("cpu:1000:0")
		unknown("none:1:0")
	})
}

// loginFailure is a store whose server can reject the login.
type loginFailure struct {
	store.Store
	failing atomic.Bool
}

type loginError struct{}

func (loginError) Error() string         { return "connect: " + loginError{}.ServerMessage() }
func (loginError) ServerMessage() string { return `password authentication failed for user "parkd"` }

func (s *loginFailure) Records(ctx context.Context, pool string, ids []string) ([]ledger.Record, error) {
	if s.failing.Load() {
		return nil, fmt.Errorf("read tasks: %w", loginError{})
	}
	return s.Store.Records(ctx, pool, ids)
}

func (s *loginFailure) Messages(ctx context.Context, q park.MailboxQuery) ([]park.Message, error) {
	if s.failing.Load() {
		return nil, fmt.Errorf("read messages: %w", loginError{})
	}
	return s.Store.Messages(ctx, q)
}

// TestServerIsQuoted: who asks for what cannot be read is told what the store's server has said, and not that it was silent.
func TestServerIsQuoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &loginFailure{Store: memory.New()}
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 1, sleepExecutor())}, Stores: map[park.Backend]store.Store{park.InMemory: s}})
		defer b.closeNow()
		b.submit("cpu", withID("a", sleepFor(1)))
		b.awaitTask("cpu", "a")
		s.failing.Store(true)
		_, task := b.Task(t.Context(), "cpu", "a", 0)
		_, mail := b.Mailbox(t.Context(), park.MailboxQuery{Tenant: "acme", Key: "box"})
		for _, err := range []error{task, mail} {
			if park.CodeOf(err) != park.StorageUnavailable || !strings.Contains(err.Error(), loginError{}.ServerMessage()) || strings.Contains(err.Error(), "does not answer") {
				t.Errorf("%v", err)
			}
		}
	})
}
