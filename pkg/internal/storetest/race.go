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

func raceTests() pair {
	return pair{
		"pools do not hold each other up":           testManyPools,
		"steps of one pool exclude each other":      testOnePool,
		"a snapshot is of one step":                 testSnapshots,
		"who follows a mailbox misses nothing":      testFollowMailbox,
		"who follows the log misses nothing":        testFollowLog,
		"a parcel is settled while others are left": testRelay,
		"prune while steps go on":                   testPruneRace,
		"two that prune at once":                    testTwoPrunes,
		"a step that is refused harms no other":     testRefusedRace,
	}
}

func sharedTests() pair {
	return pair{
		"what one commits the other sees":              testSeen,
		"what one decided too late is a conflict":      testOvertaken,
		"a lost reply is resolved through the other":   testAgainElsewhere,
		"what came before a rev is lifted is not told": testLiftedSince,
	}
}

// crew runs goroutines and gathers what went wrong in them.
type crew struct {
	sync.WaitGroup
	mu   sync.Mutex
	errs []error
}

func (c *crew) do(f func() error) {
	c.Go(func() {
		if err := f(); err != nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.errs = append(c.errs, err)
		}
	})
}

// wait fails the test where something went wrong.
func (c *crew) wait(t testing.TB) {
	t.Helper()
	c.Wait()
	if err := errors.Join(c.errs...); err != nil {
		t.Fatal(err)
	}
}

const (
	racers = 6
	laps   = 20
)

func pickOne(i int, a, b store.Store) store.Store {
	if i%2 == 0 {
		return a
	}
	return b
}

func testManyPools(t *testing.T, a, b store.Store) {
	var c crew
	var feeds []*Feed
	for i := range racers {
		f, s := NewFeed("pool-"+strconv.Itoa(i)), pickOne(i, a, b)
		feeds = append(feeds, f)
		c.do(func() error {
			for range laps {
				f.End(f.Start(f.Submit(nil).TaskID).TaskID, park.Completed, `1`)
				f.Submit(nil)
				if err := s.Commit(t.Context(), f.Next()); err != nil {
					return fmt.Errorf("pool %s, rev %d: %w", f.pool, f.Row.Rev, err)
				}
			}
			return nil
		})
	}
	c.wait(t)
	for i, f := range feeds {
		wantState(t, pickOne(i, b, a), f)
	}
}

// race commits steps to a pool against others who do the same, laps times. Each inserts a task, uses one unit
// more and writes one event.
func race(ctx context.Context, s store.Store, pool, who string) error {
	for lap := 0; lap < laps; {
		snap, err := s.Load(ctx, pool)
		if err != nil {
			return err
		}
		id := who + "-" + strconv.Itoa(lap)
		row := snap.Row
		row.Rev, row.Used, row.State, row.LastStep = row.Rev+1, row.Used+1, park.Active, id
		row.MaxUnits = racers * laps
		step := &store.Step{
			PoolID: pool, ID: id, Row: row,
			Inserts: []ledger.Record{{Spec: ledger.Spec{PoolID: pool, TaskID: id, Units: 1}, State: ledger.State{Status: park.Running}}},
			Events:  []park.Event{{PoolID: pool, Rev: row.Rev, Action: park.ActStart, TaskID: id, At: park.At(Epoch())}},
		}
		err = s.Commit(ctx, step)
		if _, lost := errors.AsType[*store.Conflict](err); lost {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s at rev %d: %w", who, row.Rev, err)
		}
		lap++
	}
	return nil
}

func testOnePool(t *testing.T, a, b store.Store) {
	var c crew
	for i := range racers {
		c.do(func() error { return race(t.Context(), pickOne(i, a, b), "gpu", "racer-"+strconv.Itoa(i)) })
	}
	c.wait(t)
	snap := load(t, a, "gpu")
	if n := int64(racers * laps); snap.Row.Rev != n || snap.Row.Used != n || len(snap.Tasks) != int(n) {
		t.Fatalf("after %d steps: rev %d, %d units used, %d tasks", n, snap.Row.Rev, snap.Row.Used, len(snap.Tasks))
	}
	for i, e := range events(t, b, park.AuditQuery{PoolID: "gpu"}) {
		if e.Rev != int64(i)+1 {
			t.Fatalf("event %d is of rev %d", i, e.Rev)
		}
	}
}

// testSnapshots loads a pool again and again while it moves: the row must always be that of the tasks.
func testSnapshots(t *testing.T, a, b store.Store) {
	var c crew
	done := make(chan struct{})
	c.do(func() error {
		defer close(done)
		f := NewFeed("gpu")
		for i := range 4 * laps {
			f.Submit(nil)
			if i%2 == 1 {
				f.Start(f.Queued[0])
			}
			if i%4 == 3 {
				f.End(f.Running[0], park.Completed, "")
			}
			if err := a.Commit(t.Context(), f.Next()); err != nil {
				return err
			}
		}
		return nil
	})
	c.do(func() error {
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

// testPruneRace prunes all that has ended while tasks end.
func testPruneRace(t *testing.T, a, b store.Store) {
	var c crew
	f := NewFeed("gpu")
	done := make(chan struct{})
	c.do(func() error {
		defer close(done)
		for range 4 * laps {
			f.Submit(nil)
			f.End(f.Start(f.Submit(nil).TaskID).TaskID, park.Completed, "")
			if err := a.Commit(t.Context(), f.Next()); err != nil {
				return err
			}
		}
		return nil
	})
	var tasks, mails, lines int
	sweep := func(ctx context.Context) error {
		n, err1 := b.PruneTasks(ctx, hours(1), 3)
		m, err2 := b.PruneMessages(ctx, hours(1), 3)
		l, err3 := b.PruneEvents(ctx, hours(1), 12)
		tasks, mails, lines = tasks+n, mails+m, lines+l
		return errors.Join(err1, err2, err3)
	}
	c.do(func() error {
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
	tasks += pruned(t, b.PruneTasks, hours(1), 100)
	mails += pruned(t, b.PruneMessages, hours(1), 100)
	lines += pruned(t, b.PruneEvents, hours(1), 100)
	same(t, "pruned tasks, messages, events", []int{tasks, mails, lines}, []int{4 * laps, 4 * laps, len(f.Log)})
	same(t, "snapshot", load(t, a, "gpu"), store.Snapshot{Row: f.Row, Tasks: f.Live()})
}

// testTwoPrunes has several forget the same: whoever is told that none is left finds none.
func testTwoPrunes(t *testing.T, a, b store.Store) {
	f := NewFeed("gpu")
	for range 4 * laps {
		f.Message(f.End(f.Start(f.Submit(nil).TaskID).TaskID, park.Completed, ""))
		commit(t, a, f.Next())
	}
	var c crew
	for i := range racers {
		s := pickOne(i, a, b)
		c.do(func() error {
			for _, p := range []prune{s.PruneEvents, s.PruneMessages, s.PruneTasks} {
				for n := 3; n == 3; {
					var err error
					if n, err = p(t.Context(), hours(1), 3); err != nil {
						return err
					}
				}
			}
			log, err1 := s.Events(t.Context(), park.AuditQuery{Limit: all})
			box, err2 := s.Messages(t.Context(), alice())
			tasks, _, err3 := s.List(t.Context(), "gpu", park.TaskQuery{Limit: all})
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

// testRefusedRace has some callers send nothing but broken steps while others send good ones.
func testRefusedRace(t *testing.T, a, b store.Store) {
	var c crew
	var feeds []*Feed
	for i := range racers {
		s := pickOne(i/2, a, b)
		f := NewFeed("pool-" + strconv.Itoa(i))
		if i%2 == 0 {
			feeds = append(feeds, f)
		}
		c.do(func() error {
			for range laps {
				if i%2 == 1 {
					bad := spoiled(f)
					bad.Updates = []store.Update{{TaskID: "nobody"}}
					if s.Commit(t.Context(), bad) == nil {
						return fmt.Errorf("a broken step of %s was taken", f.pool)
					}
					continue
				}
				f.Submit(nil)
				if err := s.Commit(t.Context(), f.Next()); err != nil {
					return fmt.Errorf("pool %s, rev %d: %w", f.pool, f.Row.Rev, err)
				}
			}
			return nil
		})
	}
	c.wait(t)
	for _, f := range feeds {
		wantState(t, a, f)
	}
	same(t, "log", len(events(t, b, park.AuditQuery{})), racers/2*laps*2)
}

func testSeen(t *testing.T, a, b store.Store) {
	f := NewFeed("gpu")
	for i := range laps {
		f.End(f.Start(f.Submit(nil).TaskID).TaskID, park.Completed, `1`)
		f.Submit(nil)
		commit(t, pickOne(i, a, b), f.Next())
		wantState(t, pickOne(i+1, a, b), f)
	}
	found := messages(t, a, alice())
	if err := a.Trim(t.Context(), "acme", "alice", found[3].ID); err != nil {
		t.Fatal(err)
	}
	same(t, "messages after a trim by the other", messages(t, b, alice()), found[4:])
}

func testOvertaken(t *testing.T, a, b store.Store) {
	f := NewFeed("gpu")
	f.Submit(nil)
	commit(t, a, f.Next())
	r := newReplica(t, b, "gpu")
	for range 5 {
		f.Submit(nil)
		f.Start(f.Queued[0])
		commit(t, a, f.Next())
	}
	wantLevel(t, b, f, r)
}

func testAgainElsewhere(t *testing.T, a, b store.Store) {
	f := NewFeed("gpu")
	f.End(f.Submit(nil).TaskID, park.Dropped, "")
	step := f.Next()
	commit(t, a, step)
	commit(t, b, step)
	wantState(t, b, f)
}
