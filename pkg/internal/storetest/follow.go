package storetest

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

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
			f.Post(store.OutboxEntry{Dest: "d", Message: &m})
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
			return len(parcels), b.AckOutbox(ctx, parcelIDs(parcels), nil)
		})
	})
	c.wait(t)
	same(t, "left", outbox(t, a, "d", hours(1), 10), []store.OutboxEntry(nil))
}
