package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// TestLostReplyLeavesTheStepInDoubt loses the server's reply to a commit, and then the server. The step is in doubt.
// When it is sent again, it is recognized.
func TestLostReplyLeavesTheStepInDoubt(t *testing.T) {
	dsn := cluster.Migrated(t)
	g := newProxy(t, dsn)
	s, direct := openAt(t, g.dsn), openAt(t, dsn)
	f := storetest.NewModel("gpu")
	f.Submit(nil)
	if err := s.Commit(t.Context(), f.Next()); err != nil {
		t.Fatal(err)
	}
	g.set(func() { g.loseReplyTo = "pl_commit" })
	f.Submit(nil)
	step := f.Next()
	if err := s.Commit(t.Context(), step); !errors.Is(err, store.ErrInDoubt) {
		t.Fatalf("after the reply was lost: %v", err)
	}
	if snap, err := direct.Load(t.Context(), "gpu"); err != nil || snap.Row != f.Row {
		t.Fatalf("the pool is at %+v: %v", snap.Row, err)
	}
	if err := s.Commit(t.Context(), step); !errors.Is(err, store.ErrInDoubt) {
		t.Errorf("with the server away: %v", err)
	}
	c := connect(t, dsn)
	setReadOnly(t, c, "on")
	g.set(func() { g.closed = false })
	if err := s.Commit(t.Context(), step); !errors.Is(err, store.ErrInDoubt) {
		t.Errorf("with a server that takes no writes: %v", err)
	}
	setReadOnly(t, c, "off")
	if err := s.Commit(t.Context(), step); err != nil {
		t.Errorf("sent again: %v", err)
	}
	if snap, err := direct.Load(t.Context(), "gpu"); err != nil || snap.Row != f.Row || len(snap.Tasks) != 2 {
		t.Errorf("the pool is at %+v with %d tasks: %v", snap.Row, len(snap.Tasks), err)
	}
}

// TestBrokenConnectionsAreFoundBeforeACommit breaks connections that a store has just used. A commit that was never
// sent must not be in doubt.
func TestBrokenConnectionsAreFoundBeforeACommit(t *testing.T) {
	g := newProxy(t, cluster.Migrated(t))
	s := openAt(t, g.dsn)
	f := storetest.NewModel("gpu")
	for range 5 {
		f.Submit(nil)
		if err := s.Commit(t.Context(), f.Next()); err != nil {
			t.Fatal(err)
		}
		g.close()
		f.Submit(nil)
		step := f.Next()
		if err := s.Commit(t.Context(), step); err == nil || errors.Is(err, store.ErrInDoubt) {
			t.Errorf("with the server away: %v", err)
		}
		g.set(func() { g.closed = false })
		if err := s.Commit(t.Context(), step); err != nil {
			t.Errorf("with the server back: %v", err)
		}
	}
}

// TestStalledServerIsLeft has a server that accepts connections and never answers. A load may take long, but its
// beginning has the same timeout as other calls.
func TestStalledServerIsLeft(t *testing.T) {
	g := newProxy(t, cluster.Migrated(t))
	s := openAt(t, g.dsn)
	if _, err := s.Load(t.Context(), "gpu"); err != nil {
		t.Fatal(err)
	}
	g.set(func() { g.stalled = true })
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if _, err := s.Load(ctx, "gpu"); err == nil || ctx.Err() != nil {
		t.Errorf("load: %v, %v", err, ctx.Err())
	}
	g.set(func() { g.stalled = false })
	if _, err := s.Load(t.Context(), "gpu"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// setReadOnly makes new sessions of a database read-only, as on a former primary.
func setReadOnly(t *testing.T, c *pgx.Conn, on string) {
	t.Helper()
	var name string
	if err := c.QueryRow(t.Context(), "SELECT current_database()").Scan(&name); err != nil {
		t.Fatal(err)
	}
	exec(t, c, "ALTER DATABASE "+name+" SET default_transaction_read_only = "+on)
}

// TestReadOnlyServerIsLeft makes the database read-only for a while, as on a former primary.
func TestReadOnlyServerIsLeft(t *testing.T) {
	dsn := cluster.Migrated(t)
	s, c := openAt(t, dsn), connect(t, dsn)
	f := storetest.NewModel("gpu")
	f.Submit(nil)
	if err := s.Commit(t.Context(), f.Next()); err != nil {
		t.Fatal(err)
	}
	setReadOnly(t, c, "on")
	exec(t, c, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	f.Submit(nil)
	step := f.Next()
	if err := s.Commit(t.Context(), step); err == nil || errors.Is(err, store.ErrInDoubt) {
		t.Errorf("on a server that takes no writes: %v", err)
	}
	setReadOnly(t, c, "off")
	if err := s.Commit(t.Context(), step); err != nil {
		t.Errorf("when it takes writes again: %v", err)
	}
}

// TestRefusedStepIsNotInDoubt commits a step that the server refuses.
func TestRefusedStepIsNotInDoubt(t *testing.T) {
	s := openAt(t, cluster.Migrated(t))
	f := storetest.NewModel("gpu")
	f.Row.MaxUnits = 0
	f.Start(f.Submit(nil).TaskID)
	if err := s.Commit(t.Context(), f.Next()); err == nil || errors.Is(err, store.ErrInDoubt) {
		t.Errorf("a step over capacity: %v", err)
	}
	if _, err := s.Load(t.Context(), "gpu"); err != nil {
		t.Error(err)
	}
}

// TestFrozenNodeIsBounded checks that the server itself ends the calls and transactions of a frozen node.
func TestFrozenNodeIsBounded(t *testing.T) {
	s := openAt(t, cluster.Migrated(t))
	for setting, want := range map[string]string{
		"statement_timeout": "10s", "lock_timeout": "5s", "idle_in_transaction_session_timeout": "10s",
	} {
		if got, err := s.Setting(t.Context(), setting); err != nil || got != want {
			t.Errorf("%s is %s, want %s: %v", setting, got, want, err)
		}
	}
}

// TestPageOverABrokenConnection breaks the connection amid a page of evidence. The retry must return the page from its
// beginning.
func TestPageOverABrokenConnection(t *testing.T) {
	g := newProxy(t, cluster.Migrated(t))
	s := openAt(t, g.dsn)
	const many = 2000
	f := storetest.NewModel("gpu")
	var mail []park.Message
	for i := range many {
		f.Submit(nil)
		mail = append(mail, park.Message{
			PoolID: "gpu", TaskID: fmt.Sprint("t", i), Tenant: "acme", Key: strings.Repeat("k", 200), Status: park.Completed, Attempt: 1,
			CreatedAt: park.FromMicro(int64(i + 1)),
		})
	}
	if err := s.Commit(t.Context(), f.Next()); err != nil {
		t.Fatal(err)
	}
	if err := s.Deliver(t.Context(), mail); err != nil {
		t.Fatal(err)
	}
	for name, count := range map[string]func() (int, error){
		"tasks":    func() (int, error) { k, _, err := s.KeptTasks(t.Context(), "gpu", "", 2*many); return len(k), err },
		"messages": func() (int, error) { k, _, err := s.KeptMessages(t.Context(), "gpu", "", 2*many); return len(k), err },
	} {
		g.set(func() { g.cutAfter = 100_000 })
		n, err := count()
		g.set(func() {
			if g.cutAfter != 0 {
				t.Errorf("%s: no connection broke", name)
			}
			g.cutAfter = 0
		})
		if err != nil || n != many {
			t.Errorf("%d %s of %d: %v", n, name, many, err)
		}
	}
}
