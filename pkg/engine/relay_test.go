package engine_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// doubleDelivery is a store that delivers everything twice, and whose mailboxes and audit log can fail.
type doubleDelivery struct {
	store.Store
	broken atomic.Bool
}

func (s *doubleDelivery) Deliver(ctx context.Context, m []park.Message) error {
	if s.broken.Load() {
		return errors.New("broken")
	}
	_ = s.Store.Deliver(ctx, m)
	return s.Store.Deliver(ctx, m)
}

func (s *doubleDelivery) Append(ctx context.Context, e []park.Event) error {
	if s.broken.Load() {
		return errors.New("broken")
	}
	_ = s.Store.Append(ctx, e)
	return s.Store.Append(ctx, e)
}

func TestRelayDeliversOnceThroughOutageAndRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := &doubleDelivery{Store: memory.New()}
		far.broken.Store(true)
		p := poolConfig("cpu", 3, sleepExecutor())
		p.MailboxBackend = park.File
		c := engine.Config{
			Pools: []engine.Pool{p}, Audit: park.File,
			Stores: map[park.Backend]store.Store{park.InMemory: memory.New(), park.File: far},
		}
		b := openEngine(t, c)
		for i := range 20 {
			b.submit("cpu", withID(fmt.Sprint(i), sleepFor(10)))
		}
		for i := range 20 {
			b.awaitTask("cpu", fmt.Sprint(i))
		}
		time.Sleep(time.Minute)
		b.closeNow()
		b = openEngine(t, c)
		defer b.closeNow()
		far.broken.Store(false)
		time.Sleep(10 * time.Second)
		page, err := b.Mailbox(t.Context(), park.MailboxQuery{Tenant: "default", Key: "box", Limit: 1000})
		if err != nil || len(page.Messages) != 20 {
			t.Errorf("%d messages, not 20: %v", len(page.Messages), err)
		}
		events := b.events(park.AuditQuery{PoolID: "cpu", Changes: true})
		if len(events) < 20*3 {
			t.Errorf("only %d events", len(events))
		}
		checkLog(t, events, 3)
	})
}

func TestLongPollHearsOfRelayedMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := poolConfig("cpu", 1, sleepExecutor())
		p.MailboxBackend = park.File
		b := openEngine(t, engine.Config{
			Pools: []engine.Pool{p}, Audit: park.InMemory,
			Stores: map[park.Backend]store.Store{park.InMemory: memory.New(), park.File: memory.New()},
		})
		defer b.closeNow()
		b.submit("cpu", withID("a", sleepFor(5_000)))
		began := time.Now()
		page, err := b.Mailbox(t.Context(), park.MailboxQuery{Tenant: "default", Key: "box", Wait: time.Hour})
		if err != nil || len(page.Messages) != 1 || time.Since(began) != 5*time.Second {
			t.Errorf("after %v: %+v %v", time.Since(began), page, err)
		}
	})
}

func TestMailboxOverTwoStores(t *testing.T) {
	for _, other := range []park.Backend{park.File, "postgres:0a1b2c3d"} {
		t.Run(string(other), func(t *testing.T) { mailboxOverTwoStores(t, other) })
	}
}

func mailboxOverTwoStores(t *testing.T, other park.Backend) {
	synctest.Test(t, func(t *testing.T) {
		near, far := poolConfig("near", 1, sleepExecutor()), poolConfig("far", 1, sleepExecutor())
		far.MailboxBackend = other
		b := openEngine(t, engine.Config{
			Pools: []engine.Pool{near, far}, Audit: park.InMemory,
			Stores: map[park.Backend]store.Store{park.InMemory: memory.New(), other: memory.New()},
		})
		defer b.closeNow()
		for i := range 6 {
			id := []string{"near", "far"}[i%2]
			b.submit(id, withID(fmt.Sprint(i), sleepFor(1_000)))
			b.awaitTask(id, fmt.Sprint(i))
			synctest.Wait()
		}
		whole := b.readMailbox(park.MailboxQuery{Limit: 6})
		third := park.MailboxQuery{Since: whole[3].CreatedAt, Limit: 1}
		for name, c := range map[string]struct {
			q    park.MailboxQuery
			want string
		}{
			"from the beginning": {park.MailboxQuery{Limit: 2}, "012345"},
			// The first page holds nothing of one store: what it had before that time must not follow.
			"from a time":              {third, "345"},
			"after a message":          {park.MailboxQuery{After: whole[2].ID, Limit: 2}, "345"},
			"after one of the old ids": {park.MailboxQuery{After: "1", Limit: 6}, "02345"},
		} {
			var got string
			for _, m := range b.readMailbox(c.q) {
				got += m.TaskID
			}
			if got != c.want {
				t.Errorf("%s: read %s, not %s", name, got, c.want)
			}
		}
		if err := b.TrimMailbox(t.Context(), "default", "box", b.readMailbox(third)[0].ID); err != nil {
			t.Fatal(err)
		}
		if left := b.readMailbox(park.MailboxQuery{Limit: 6}); len(left) != 4 || left[0].TaskID != "0" {
			t.Errorf("trimmed up to the second of one store: %+v", left)
		}
	})
}

// TestMailboxIDsOutliveStores: where a reader stood stays known when pools give a store up.
func TestMailboxIDsOutliveStores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 1, sleepExecutor())}})
		defer b.closeNow()
		for i := range 3 {
			b.submit("cpu", withID(fmt.Sprint(i), sleepFor(1_000)))
			b.awaitTask("cpu", fmt.Sprint(i))
		}
		if got := b.readMailbox(park.MailboxQuery{After: "in_memory=2,file=7", Limit: 5}); len(got) != 1 || got[0].TaskID != "2" {
			t.Errorf("read %+v", got)
		}
		if _, err := b.Mailbox(t.Context(), park.MailboxQuery{Tenant: "default", Key: "box", After: "nonsense"}); park.CodeOf(err) != park.InvalidRequest {
			t.Errorf("nonsense is taken: %v", err)
		}
	})
}

// readMailbox reads the mailbox from q to its end.
func (b *harness) readMailbox(q park.MailboxQuery) (all []park.Message) {
	b.Helper()
	for q.Tenant, q.Key = park.DefaultTenant, "box"; ; {
		page, err := b.Mailbox(context.Background(), q)
		if err != nil {
			b.Fatal(err)
		}
		if len(page.Messages) == 0 {
			return all
		}
		all = append(all, page.Messages...)
		q.After, q.Since = page.Next, park.Time{}
	}
}

// busyNotifier is a notifier that fails at first.
type busyNotifier struct {
	calls     atomic.Int64
	busy      int64
	delivered chan string
}

func (n *busyNotifier) Notify(_ context.Context, _ string, m park.Message) error {
	if n.calls.Add(1) <= n.busy {
		return errors.New("busy")
	}
	n.delivered <- m.TaskID
	return nil
}

func TestNotifierIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &busyNotifier{busy: 5, delivered: make(chan string, 1)}
		p := poolConfig("cpu", 1, sleepExecutor())
		p.Notifier = n
		b := openEngine(t, engine.Config{Pools: []engine.Pool{p}})
		defer b.closeNow()
		b.submit("cpu", withID("a", sleepFor(1)))
		began := time.Now()
		if got := <-n.delivered; got != "a" {
			t.Errorf("heard of %s", got)
		}
		if took := time.Since(began); took < 10*time.Second || took > 5*time.Minute {
			t.Errorf("five retries took %v", took)
		}
	})
}

func TestNotificationIsGivenUpAfterDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &busyNotifier{busy: 1 << 40}
		p := poolConfig("cpu", 1, sleepExecutor())
		p.Notifier = n
		b := openEngine(t, engine.Config{Pools: []engine.Pool{p}})
		defer b.closeNow()
		b.submit("cpu", withID("a", sleepFor(1)))
		time.Sleep(4 * 24 * time.Hour)
		calls := n.calls.Load()
		time.Sleep(4 * 24 * time.Hour)
		if n.calls.Load() != calls || calls < 100 {
			t.Errorf("%d calls in four days, %d in eight", calls, n.calls.Load())
		}
	})
}

func TestRetentionForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 1, sleepExecutor())}, Retention: time.Hour})
		defer b.closeNow()
		b.submit("cpu", withID("long", sleepFor(5*3_600_000)))
		for i := range 500 {
			s := withID(fmt.Sprint(i), sleepFor(0))
			s.Deadline = park.At(time.Now().Add(time.Second))
			b.submit("cpu", s)
		}
		time.Sleep(30 * time.Minute)
		if page, _ := b.Tasks(t.Context(), "cpu", park.TaskQuery{Limit: 1000}); len(page.Tasks) != 501 {
			t.Errorf("after half an hour: %d tasks", len(page.Tasks))
		}
		time.Sleep(time.Hour)
		page, err := b.Tasks(t.Context(), "cpu", park.TaskQuery{Limit: 1000})
		if err != nil || len(page.Tasks) != 1 || page.Tasks[0].TaskID != "long" {
			t.Errorf("after the retention: %d tasks, %v", len(page.Tasks), err)
		}
		if box, _ := b.Mailbox(t.Context(), park.MailboxQuery{Tenant: "default", Key: "box"}); len(box.Messages) != 0 {
			t.Errorf("%d messages are left", len(box.Messages))
		}
		if left := b.events(park.AuditQuery{}); len(left) != 0 {
			t.Errorf("%d events are left", len(left))
		}
	})
}
