package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

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
	}
}

func sharedTests() pair {
	return pair{
		"what one commits the other sees":            testSeen,
		"what one decided too late is a conflict":    testOvertaken,
		"a lost reply is resolved through the other": testAgainElsewhere,
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
	laps   = 30
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
		step := &store.Step{
			PoolID: pool, ID: id, Row: row,
			Inserts: []park.Record{{Spec: park.Spec{PoolID: pool, TaskID: id, Units: 1}, State: park.State{Status: park.Running}}},
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

// follow calls read until it has seen want items or a minute is over. read returns how many there were.
func follow(ctx context.Context, want int, read func(context.Context) (int, error)) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for seen := 0; seen < want; {
		n, err := read(ctx)
		if err != nil {
			return fmt.Errorf("after %d of %d: %w", seen, want, err)
		}
		seen += n
	}
	return nil
}

// testFollowMailbox reads a mailbox by the ids of its messages while steps of several pools and a relay write to
// it. A message that came to lie behind the reader would never be read.
func testFollowMailbox(t *testing.T, a, b store.Store) {
	var c crew
	for i := range racers {
		s, pool := pickOne(i, a, b), "pool-"+strconv.Itoa(i)
		c.do(func() error {
			f := NewFeed(pool)
			for n := range laps {
				if i == 0 {
					if err := s.Deliver(t.Context(), []park.Message{letter(pool, n)}); err != nil {
						return err
					}
					continue
				}
				f.End(f.Submit(nil).TaskID, park.Dropped, "")
				if err := s.Commit(t.Context(), f.Next()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for _, s := range []store.Store{a, b} {
		c.do(func() error {
			q := alice()
			q.Limit = 7
			seen := make(map[string]bool)
			return follow(t.Context(), racers*laps, func(ctx context.Context) (int, error) {
				page, err := s.Messages(ctx, q)
				for _, m := range page {
					if q.After = m.ID; seen[m.PoolID+"/"+m.TaskID] {
						return 0, fmt.Errorf("the message of %s/%s came twice", m.PoolID, m.TaskID)
					}
					seen[m.PoolID+"/"+m.TaskID] = true
				}
				return len(page), err
			})
		})
	}
	c.wait(t)
}

// testFollowLog is the same for the audit log, whole and by tenant.
func testFollowLog(t *testing.T, a, b store.Store) {
	var c crew
	for i := range racers {
		s, f := pickOne(i, a, b), NewFeed("pool-"+strconv.Itoa(i))
		c.do(func() error {
			for range laps {
				f.Submit(nil)
				step := f.Next()
				if i == 0 {
					if err := s.Append(t.Context(), step.Events); err != nil {
						return err
					}
					step.Events = nil
				}
				if err := s.Commit(t.Context(), step); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for i, q := range []park.AuditQuery{{}, {Tenant: "acme"}, {Action: park.ActSubmit}} {
		s, want := pickOne(i, a, b), racers*laps*2
		if q.Action != "" {
			want /= 2
		}
		c.do(func() error {
			q.Limit = 11
			revs := make(map[string]int64)
			return follow(t.Context(), want, func(ctx context.Context) (int, error) {
				page, err := s.Events(ctx, q)
				for _, e := range page {
					if q.Cursor = e.EventID; e.Rev != revs[e.PoolID]+1 && e.Rev != revs[e.PoolID] {
						return 0, fmt.Errorf("pool %s: rev %d came after %d", e.PoolID, e.Rev, revs[e.PoolID])
					}
					revs[e.PoolID] = e.Rev
				}
				return len(page), err
			})
		})
	}
	c.wait(t)
}

// testRelay takes parcels out of the outbox while steps put others in: all come, none twice, in order.
func testRelay(t *testing.T, a, b store.Store) {
	var c crew
	c.do(func() error {
		f := NewFeed("gpu")
		for n := range laps * 3 {
			m := letter("gpu", n)
			f.Post(store.Parcel{Dest: "d", Message: &m})
			f.Submit(nil)
			if err := a.Commit(t.Context(), f.Next()); err != nil {
				return err
			}
		}
		return nil
	})
	c.do(func() error {
		n := 0
		return follow(t.Context(), laps*3, func(ctx context.Context) (int, error) {
			parcels, err := b.Outbox(ctx, "d", hours(1), 5)
			if err != nil || len(parcels) == 0 {
				return 0, err
			}
			for _, p := range parcels {
				if p.Message.TaskID != letter("gpu", n).TaskID {
					return 0, fmt.Errorf("parcel %d is for %s, want that of task %d", p.ID, p.Message.TaskID, n)
				}
				n++
			}
			return len(parcels), b.Settle(ctx, parcelIDs(parcels), nil)
		})
	})
	c.wait(t)
	same(t, "left", outbox(t, a, "d", hours(1), 10), []store.Parcel(nil))
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
