package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

func raceTests() pairTests {
	return pairTests{
		"pools do not block each other":              testManyPools,
		"steps of one pool exclude each other":       testOnePool,
		"a snapshot shows the state after one step":  testSnapshots,
		"a reader of a mailbox misses nothing":       testFollowMailbox,
		"a reader of the log misses nothing":         testFollowLog,
		"entries are settled while others are added": testRelay,
		"prune while steps are committed":            testPruneRace,
		"prune several times at once":                testTwoPrunes,
		"a refused step affects no other":            testRefusedRace,
	}
}

func sharedTests() pairTests {
	return pairTests{
		"each sees what the other commits":                  testSeen,
		"a step decided too late is a conflict":             testOvertaken,
		"a lost reply is resolved by the other":             testAgainElsewhere,
		"after a rev was raised, the pool must be reloaded": testLiftedSince,
	}
}

// workers runs goroutines and collects their errors.
type workers struct {
	sync.WaitGroup
	mu   sync.Mutex
	errs []error
}

// start runs f in a goroutine.
func (c *workers) start(f func() error) {
	c.Go(func() {
		if err := f(); err != nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.errs = append(c.errs, err)
		}
	})
}

// wait waits for the goroutines, and fails the test if one returned an error.
func (c *workers) wait(t testing.TB) {
	t.Helper()
	c.Wait()
	if err := errors.Join(c.errs...); err != nil {
		t.Fatal(err)
	}
}

const (
	writers        = 6
	stepsPerWriter = 20
)

// alternate returns a for even numbers and b for odd ones.
func alternate(i int, a, b store.Store) store.Store {
	if i%2 == 0 {
		return a
	}
	return b
}

func testManyPools(t *testing.T, a, b store.Store) {
	var c workers
	var models []*Model
	for i := range writers {
		model, s := NewModel("pool-"+strconv.Itoa(i)), alternate(i, a, b)
		models = append(models, model)
		c.start(func() error {
			for range stepsPerWriter {
				model.End(model.Start(model.Submit(nil).TaskID).TaskID, park.Completed, `1`)
				model.Submit(nil)
				if err := s.Commit(t.Context(), model.Next()); err != nil {
					return fmt.Errorf("pool %s, rev %d: %w", model.pool, model.Row.Rev, err)
				}
			}
			return nil
		})
	}
	c.wait(t)
	for i, model := range models {
		wantState(t, alternate(i, b, a), model)
	}
}

// commitContended commits steps to a pool to which other goroutines commit too. Each step inserts a task, uses one more
// unit and adds an event.
func commitContended(ctx context.Context, s store.Store, pool, writer string) error {
	for done := 0; done < stepsPerWriter; {
		snap, err := s.Load(ctx, pool)
		if err != nil {
			return err
		}
		id := writer + "-" + strconv.Itoa(done)
		row := snap.Row
		row.Rev, row.Used, row.State, row.LastStep = row.Rev+1, row.Used+1, park.Active, id
		row.MaxUnits = writers * stepsPerWriter
		step := &store.Step{
			PoolID: pool, ID: id, Row: row,
			Inserts: []ledger.Record{{Spec: ledger.Spec{PoolID: pool, TaskID: id, Units: 1}, State: ledger.State{Status: park.Running}}},
			Events:  []park.Event{{PoolID: pool, Rev: row.Rev, Action: park.ActStart, TaskID: id, At: park.At(Epoch())}},
		}
		err = s.Commit(ctx, step)
		if _, conflict := errors.AsType[*store.Conflict](err); conflict {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s at rev %d: %w", writer, row.Rev, err)
		}
		done++
	}
	return nil
}

func testOnePool(t *testing.T, a, b store.Store) {
	var c workers
	for i := range writers {
		c.start(func() error { return commitContended(t.Context(), alternate(i, a, b), "gpu", "racer-"+strconv.Itoa(i)) })
	}
	c.wait(t)
	snap := load(t, a, "gpu")
	if n := int64(writers * stepsPerWriter); snap.Row.Rev != n || snap.Row.Used != n || len(snap.Tasks) != int(n) {
		t.Fatalf("after %d steps: rev %d, %d units used, %d tasks", n, snap.Row.Rev, snap.Row.Used, len(snap.Tasks))
	}
	for i, e := range events(t, b, park.AuditQuery{PoolID: "gpu"}) {
		if e.Rev != int64(i)+1 {
			t.Fatalf("event %d is of rev %d", i, e.Rev)
		}
	}
}

// testSnapshots loads a pool repeatedly while steps are committed. Its row must always match its tasks.
func testSnapshots(t *testing.T, a, b store.Store) {
	var c workers
	done := make(chan struct{})
	c.start(func() error {
		defer close(done)
		model := NewModel("gpu")
		for i := range 4 * stepsPerWriter {
			model.Submit(nil)
			if i%2 == 1 {
				model.Start(model.Queued[0])
			}
			if i%4 == 3 {
				model.End(model.Running[0], park.Completed, "")
			}
			if err := a.Commit(t.Context(), model.Next()); err != nil {
				return err
			}
		}
		return nil
	})
	c.start(func() error {
		for last := int64(0); ; {
			snap, err := b.Load(t.Context(), "gpu")
			if err != nil {
				return err
			}
			if err := consistent(snap); err != nil {
				return err
			}
			if snap.Row.Rev < last {
				return fmt.Errorf("rev %d after rev %d", snap.Row.Rev, last)
			}
			last = snap.Row.Rev
			select {
			case <-done:
				return nil
			default:
			}
		}
	})
	c.wait(t)
}

// consistent returns an error unless a row's totals match its tasks.
func consistent(snap store.Snapshot) error {
	var queued int
	var used int64
	for _, r := range snap.Tasks {
		if r.Status == park.Queued {
			queued++
		} else {
			used += r.Units
		}
	}
	if queued != snap.Row.Queued || used != snap.Row.Used {
		return fmt.Errorf("the row says %d queued, %d used; the tasks say %d and %d", snap.Row.Queued, snap.Row.Used, queued, used)
	}
	return nil
}

// testPruneRace prunes ended tasks while other tasks end.
func testPruneRace(t *testing.T, a, b store.Store) {
	var c workers
	model := NewModel("gpu")
	done := make(chan struct{})
	c.start(func() error {
		defer close(done)
		for range 4 * stepsPerWriter {
			model.Submit(nil)
			model.End(model.Start(model.Submit(nil).TaskID).TaskID, park.Completed, "")
			if err := a.Commit(t.Context(), model.Next()); err != nil {
				return err
			}
		}
		return nil
	})
	var tasks, mails, lines int
	sweep := func(ctx context.Context) error {
		n, err1 := b.PruneTasks(ctx, atHour(1), 3)
		m, err2 := b.PruneMessages(ctx, atHour(1), 3)
		l, err3 := b.PruneEvents(ctx, atHour(1), 12)
		tasks, mails, lines = tasks+n, mails+m, lines+l
		return errors.Join(err1, err2, err3)
	}
	c.start(func() error {
		for {
			if err := sweep(t.Context()); err != nil {
				return err
			}
			select {
			case <-done:
				return nil
			default:
			}
		}
	})
	c.wait(t)
	tasks += pruneAll(t, b.PruneTasks, atHour(1), 100)
	mails += pruneAll(t, b.PruneMessages, atHour(1), 100)
	lines += pruneAll(t, b.PruneEvents, atHour(1), 100)
	equal(t, "pruned tasks, messages, events", []int{tasks, mails, lines}, []int{4 * stepsPerWriter, 4 * stepsPerWriter, len(model.Log)})
	equal(t, "snapshot", load(t, a, "gpu"), store.Snapshot{Row: model.Row, Tasks: model.Live()})
}

// testTwoPrunes prunes from several goroutines. After a call that found nothing more, none may be left.
func testTwoPrunes(t *testing.T, a, b store.Store) {
	model := NewModel("gpu")
	for range 4 * stepsPerWriter {
		model.Message(model.End(model.Start(model.Submit(nil).TaskID).TaskID, park.Completed, ""))
		commit(t, a, model.Next())
	}
	var c workers
	for i := range writers {
		s := alternate(i, a, b)
		c.start(func() error {
			for _, p := range []pruneFunc{s.PruneEvents, s.PruneMessages, s.PruneTasks} {
				for n := 3; n == 3; {
					var err error
					if n, err = p(t.Context(), atHour(1), 3); err != nil {
						return err
					}
				}
			}
			log, err1 := s.Events(t.Context(), park.AuditQuery{Limit: noLimit})
			box, err2 := s.Messages(t.Context(), aliceBox())
			tasks, _, err3 := s.List(t.Context(), "gpu", park.TaskQuery{Limit: noLimit})
			if err := errors.Join(err1, err2, err3); err != nil {
				return err
			}
			if len(log)+len(box)+len(tasks) > 0 {
				return fmt.Errorf("%d events, %d messages and %d tasks are left", len(log), len(box), len(tasks))
			}
			return nil
		})
	}
	c.wait(t)
}

// testRefusedRace has some goroutines commit invalid steps while others commit valid ones.
func testRefusedRace(t *testing.T, a, b store.Store) {
	var c workers
	var models []*Model
	for i := range writers {
		s := alternate(i/2, a, b)
		model := NewModel("pool-" + strconv.Itoa(i))
		if i%2 == 0 {
			models = append(models, model)
		}
		c.start(func() error {
			for range stepsPerWriter {
				if i%2 == 1 {
					bad := validStep(model)
					bad.Updates = []store.Update{{TaskID: "nobody"}}
					if s.Commit(t.Context(), bad) == nil {
						return fmt.Errorf("a broken step of %s was taken", model.pool)
					}
					continue
				}
				model.Submit(nil)
				if err := s.Commit(t.Context(), model.Next()); err != nil {
					return fmt.Errorf("pool %s, rev %d: %w", model.pool, model.Row.Rev, err)
				}
			}
			return nil
		})
	}
	c.wait(t)
	for _, model := range models {
		wantState(t, a, model)
	}
	equal(t, "log", len(events(t, b, park.AuditQuery{})), writers/2*stepsPerWriter*2)
}

func testSeen(t *testing.T, a, b store.Store) {
	model := NewModel("gpu")
	for i := range stepsPerWriter {
		model.End(model.Start(model.Submit(nil).TaskID).TaskID, park.Completed, `1`)
		model.Submit(nil)
		commit(t, alternate(i, a, b), model.Next())
		wantState(t, alternate(i+1, a, b), model)
	}
	found := messages(t, a, aliceBox())
	if err := a.Trim(t.Context(), "acme", "alice", found[3].ID); err != nil {
		t.Fatal(err)
	}
	equal(t, "messages after a trim by the other", messages(t, b, aliceBox()), found[4:])
}

func testOvertaken(t *testing.T, a, b store.Store) {
	model := NewModel("gpu")
	model.Submit(nil)
	commit(t, a, model.Next())
	r := newReplica(t, b, "gpu")
	for range 5 {
		model.Submit(nil)
		model.Start(model.Queued[0])
		commit(t, a, model.Next())
	}
	wantCatchUp(t, b, model, r)
}

func testAgainElsewhere(t *testing.T, a, b store.Store) {
	model := NewModel("gpu")
	model.End(model.Submit(nil).TaskID, park.Dropped, "")
	step := model.Next()
	commit(t, a, step)
	commit(t, b, step)
	wantState(t, b, model)
}
