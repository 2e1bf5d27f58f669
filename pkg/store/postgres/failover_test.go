package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
	"github.com/parkd-dev/parkd/pkg/store/postgres/server"
)

// serverPair is a server and a standby that its commits wait for.
type serverPair struct {
	testing.TB
	primary, standby *server.Server
	dsn              string // of a database with the schema, on the primary
}

const standbyName = "standby"

func newPair(t *testing.T) *serverPair {
	t.Helper()
	if !server.Installed() {
		cluster.Migrated(t) // this skips the test or fails it
	}
	ctx := context.Background()
	first, err := server.Start(ctx, "fsync=off")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = first.Stop() })
	p := &serverPair{TB: t, primary: first}
	if p.dsn, err = first.Create(ctx, "parkd", "template1"); err != nil {
		t.Fatal(err)
	}
	if _, err := postgres.MigrateUp(ctx, p.dsn, false); err != nil {
		t.Fatal(err)
	}
	if p.standby, err = first.Standby(ctx, standbyName); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.standby.Stop() })
	if err := first.WaitForStandby(ctx, standbyName); err != nil {
		t.Fatal(err)
	}
	return p
}

// cancelStandbyWaits ends the waits of n calls for the standby, as an administrator may, and as a restart of the server
// does. The effects of the calls are then visible on the primary.
func (p *serverPair) cancelStandbyWaits(n int) {
	p.Helper()
	const waits = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
	c := connect(p, p.dsn)
	for range 6000 {
		var waiting int
		if err := c.QueryRow(p.Context(), "SELECT count(*) "+waits).Scan(&waiting); err != nil {
			p.Fatal(err)
		}
		if waiting == n {
			exec(p, c, "SELECT pg_cancel_backend(pid) "+waits)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.Fatalf("there are not %d calls that wait for the standby", n)
}

// failOver loses the primary and returns a store of the standby.
func (p *serverPair) failOver() *postgres.Store {
	p.Helper()
	p.primary.Kill()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if !p.standby.Alive() {
		if err := p.standby.Run(ctx); err != nil {
			p.Fatal(err)
		}
	}
	if err := p.standby.Promote(ctx); err != nil {
		p.Fatal(err)
	}
	return openAt(p, p.standby.DSN("parkd"))
}

// TestNothingIsDoneBeforeTheStandbyHasIt stops the standby and makes all calls that acknowledge something: once, when
// the server has stopped waiting, and again, when the effects are visible. No call may succeed: if the primary is lost
// then, the standby does not have the effects.
func TestNothingIsDoneBeforeTheStandbyHasIt(t *testing.T) {
	p := newPair(t)
	s := openAt(t, p.dsn)
	f := storetest.NewModel("gpu")
	first := f.Submit(nil)
	ended := f.Submit(nil)
	f.Start(ended.TaskID)
	if err := s.Commit(t.Context(), f.Next()); err != nil {
		t.Fatal(err)
	}
	message := park.Message{Tenant: "acme", Key: "box", PoolID: "elsewhere", TaskID: "m", Status: park.Completed, Attempt: 1, CreatedAt: first.SubmittedAt}
	event := park.Event{PoolID: "elsewhere", Rev: 1, At: first.SubmittedAt, Action: park.ActSubmit, TaskID: "m", Tenant: "acme"}
	p.standby.Quit()

	f.Submit(nil)
	f.End(ended.TaskID, park.Completed, `1`)
	step := f.Next()
	asked := map[string]func(context.Context) error{
		"step":    func(ctx context.Context) error { return s.Commit(ctx, step) },
		"message": func(ctx context.Context) error { return s.Deliver(ctx, []park.Message{message}) },
		"event":   func(ctx context.Context) error { return s.Append(ctx, []park.Event{event}) },
	}
	answers := make(map[string]chan error)
	for name, ask := range asked {
		answers[name] = p.async(ask)
	}
	p.cancelStandbyWaits(len(asked))
	for name, answer := range answers {
		if err := <-answer; err == nil {
			t.Errorf("%s: answered as done, and is only on the first server", name)
		} else if name == "step" && !errors.Is(err, store.ErrInDoubt) {
			t.Errorf("%s: want in doubt: %v", name, err)
		}
	}
	// All effects are visible now, but no more durable than before.
	again := openAt(t, p.dsn)
	if snap, err := again.Load(t.Context(), "gpu"); err != nil || snap.Row.Rev != step.Row.Rev {
		t.Fatalf("the pool is at rev %d, want %d: %v", snap.Row.Rev, step.Row.Rev, err)
	}
	asked["what was read"] = again.AwaitDurable
	asked["task that has ended"] = func(ctx context.Context) error {
		_, err := again.Records(ctx, "gpu", []string{ended.TaskID})
		return err
	}
	clear(answers)
	for name, ask := range asked {
		answers[name] = p.async(ask)
	}
	for name, answer := range answers {
		if err := <-answer; err == nil {
			t.Errorf("%s, asked again: answered as done, and is only on the first server", name)
		}
	}
	second := p.failOver()
	if snap, err := second.Load(t.Context(), "gpu"); err != nil || len(snap.Tasks) != 2 {
		t.Errorf("the standby has %d tasks that live, want the 2 that were acknowledged: %v", len(snap.Tasks), err)
	}
}

// async makes a call with a timeout that a server that does not wait would meet.
func (p *serverPair) async(f func(context.Context) error) chan error {
	answer := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
		defer cancel()
		answer <- f(ctx)
	}()
	return answer
}
