package engine_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// trimFailure is a store that can fail to trim, or be full.
type trimFailure struct {
	unreadable
	trimFails, full atomic.Bool
}

func (u *trimFailure) Trim(ctx context.Context, tenant, key, upTo string) error {
	if u.trimFails.Load() {
		return errGone
	}
	return u.Store.Trim(ctx, tenant, key, upTo)
}

func (u *trimFailure) StorageError() error {
	if u.full.Load() {
		return errGone
	}
	return nil
}

// TestMailboxInTwoStores: page by page a reader gets all, by time, from wherever it begins; and where one store fails it is
// told so, and gets nothing that would hide what that one holds.
func TestMailboxInTwoStores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, z := poolConfig("a", 1, sleepExecutor()), poolConfig("z", 1, sleepExecutor())
		z.QueueBackend, z.MailboxBackend = park.File, park.File
		one, two := &trimFailure{unreadable: unreadable{Store: memory.New()}}, &trimFailure{unreadable: unreadable{Store: memory.New()}}
		b := openEngine(t, engine.Config{Pools: []engine.Pool{a, z}, Stores: map[park.Backend]store.Store{park.InMemory: one, park.File: two}})
		defer b.closeNow()
		var times []park.Time
		for i := range 6 {
			in := []string{"a", "a", "z", "z", "a", "z"}[i]
			b.submit(in, withID(fmt.Sprint(i), sleepFor(1_000)))
			b.awaitTask(in, fmt.Sprint(i))
			times = append(times, park.At(time.Now()))
			time.Sleep(time.Second)
		}
		order := func(messages []park.Message) string {
			var all []string
			for _, m := range messages {
				all = append(all, m.TaskID)
			}
			return strings.Join(all, " ")
		}
		all := b.readMailbox(park.MailboxQuery{Limit: 2})
		if got := order(all); got != "0 1 2 3 4 5" {
			t.Errorf("read %s", got)
		}
		for i, m := range all {
			if got, want := order(b.readMailbox(park.MailboxQuery{After: m.ID, Limit: 1})), order(all[i+1:]); got != want {
				t.Errorf("after %s comes %q, not %q", m.ID, got, want)
			}
		}
		for i, at := range times {
			if got, want := order(b.readMailbox(park.MailboxQuery{Since: at, Limit: 1})), order(all[i:]); got != want {
				t.Errorf("since %s comes %q, not %q", at, got, want)
			}
		}
		if got := order(b.readMailbox(park.MailboxQuery{After: all[4].ID, Since: times[2], Limit: 9})); got != "5" {
			t.Errorf("after the last but one, since earlier, comes %q", got)
		}
		q := park.MailboxQuery{Tenant: park.DefaultTenant, Key: "box", Limit: 9}
		for _, u := range []*trimFailure{one, two} {
			u.failing.Store(true)
			if page, err := b.Mailbox(t.Context(), q); park.CodeOf(err) != park.StorageUnavailable || page.Messages != nil {
				t.Errorf("with one of two stores: %+v, %v", page, err)
			}
			u.failing.Store(false)
		}
		q.After = all[5].ID
		if page, err := b.Mailbox(t.Context(), q); err != nil || len(page.Messages) != 0 || page.Next != q.After {
			t.Errorf("at the end: %+v, %v", page, err)
		}
		q.After = "file=1,what"
		if _, err := b.Mailbox(t.Context(), q); park.CodeOf(err) != park.InvalidRequest {
			t.Errorf("after what was never given out: %v", err)
		}
		trim := func(to string, code park.Code, left string) {
			t.Helper()
			if err := b.TrimMailbox(t.Context(), park.DefaultTenant, "box", to); code == "" && err != nil || code != "" && park.CodeOf(err) != code {
				t.Errorf("trim to %q: %v, not %q", to, err, code)
			}
			if got := order(b.readMailbox(park.MailboxQuery{Limit: 9})); got != left {
				t.Errorf("trimmed to %q: %q is left, not %q", to, got, left)
			}
		}
		trim("what", park.InvalidRequest, "0 1 2 3 4 5")
		one.trimFails.Store(true)
		trim(all[0].ID, park.OutcomeUnknown, "0 1 2 3 4 5")
		one.trimFails.Store(false)
		trim("in_memory=@5,file=@5", "", "0 1 2 3 4 5")
		trim(all[0].ID, "", "1 2 3 4 5")
		trim(all[2].ID, "", "3 4 5")
		trim(all[5].ID, "", "")
	})
}

// TestMailboxInOneStore: an empty page goes on where it began.
func TestMailboxInOneStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &trimFailure{unreadable: unreadable{Store: memory.New()}}
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 1, sleepExecutor())}, Stores: map[park.Backend]store.Store{park.InMemory: u}})
		defer b.closeNow()
		q := park.MailboxQuery{Tenant: park.DefaultTenant, Key: "box", Limit: 9}
		if page, err := b.Mailbox(t.Context(), q); err != nil || page.Next != "" {
			t.Errorf("an empty mailbox: %+v, %v", page, err)
		}
		b.submit("cpu", withID("a", sleepFor(1)))
		b.awaitTask("cpu", "a")
		page, err := b.Mailbox(t.Context(), q)
		if err != nil || len(page.Messages) != 1 || page.Next != page.Messages[0].ID {
			t.Fatalf("one message: %+v, %v", page, err)
		}
		q.After = page.Next
		if page, err := b.Mailbox(t.Context(), q); err != nil || page.Next != q.After || len(page.Messages) != 0 {
			t.Errorf("at the end: %+v, %v", page, err)
		}
		if s := b.Stats().Stores[0]; !s.Up || s.Shared {
			t.Errorf("%+v", s)
		}
		u.full.Store(true)
		if s := b.Stats().Stores[0]; s.Up {
			t.Error("a store is up that can store no more")
		}
		u.full.Store(false)
		u.failing.Store(true)
		if page, err := b.Mailbox(t.Context(), q); park.CodeOf(err) != park.StorageUnavailable || page.Next != "" {
			t.Errorf("with a store that cannot be read: %+v, %v", page, err)
		}
	})
}
