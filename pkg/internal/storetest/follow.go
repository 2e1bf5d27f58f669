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

// readUntil calls read until it has returned want items in all, or for at most a minute.
func readUntil(ctx context.Context, want int, read func(context.Context) (int, error)) error {
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

// testFollowMailbox reads a mailbox by message ids while several pools and a relay write to it. A message with an id
// below one that was read already would be missed.
func testFollowMailbox(t *testing.T, a, b store.Store) {
	var c workers
	for i := range writers {
		s, pool := alternate(i, a, b), "pool-"+strconv.Itoa(i)
		c.start(func() error {
			model := NewModel(pool)
			for n := range stepsPerWriter {
				if i == 0 {
					if err := s.Deliver(t.Context(), []park.Message{newMessage(pool, n)}); err != nil {
						return err
					}
					continue
				}
				model.End(model.Submit(nil).TaskID, park.Dropped, "")
				if err := s.Commit(t.Context(), model.Next()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for _, s := range []store.Store{a, b} {
		c.start(func() error {
			q := aliceBox()
			q.Limit = 7
			seen := make(map[string]bool)
			return readUntil(t.Context(), writers*stepsPerWriter, func(ctx context.Context) (int, error) {
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

// testFollowLog reads the audit log in the same way, unfiltered and filtered.
func testFollowLog(t *testing.T, a, b store.Store) {
	var c workers
	for i := range writers {
		s, model := alternate(i, a, b), NewModel("pool-"+strconv.Itoa(i))
		c.start(func() error {
			for range stepsPerWriter {
				model.Submit(nil)
				step := model.Next()
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
		s, want := alternate(i, a, b), writers*stepsPerWriter*2
		if q.Action != "" {
			want /= 2
		}
		c.start(func() error {
			q.Limit = 11
			revs := make(map[string]int64)
			return readUntil(t.Context(), want, func(ctx context.Context) (int, error) {
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

// testRelay takes entries from the outbox while steps add others. Each must come once, and in order.
func testRelay(t *testing.T, a, b store.Store) {
	var c workers
	c.start(func() error {
		model := NewModel("gpu")
		for n := range stepsPerWriter * 3 {
			m := newMessage("gpu", n)
			model.AddOutboxEntry(store.OutboxEntry{Dest: "d", Message: &m})
			model.Submit(nil)
			if err := a.Commit(t.Context(), model.Next()); err != nil {
				return err
			}
		}
		return nil
	})
	c.start(func() error {
		n := 0
		return readUntil(t.Context(), stepsPerWriter*3, func(ctx context.Context) (int, error) {
			entries, err := b.Outbox(ctx, "d", atHour(1), 5)
			if err != nil || len(entries) == 0 {
				return 0, err
			}
			for _, p := range entries {
				if p.Message.TaskID != newMessage("gpu", n).TaskID {
					return 0, fmt.Errorf("entry %d is for %s, want that of task %d", p.ID, p.Message.TaskID, n)
				}
				n++
			}
			return len(entries), b.AckOutbox(ctx, parcelIDs(entries), nil)
		})
	})
	c.wait(t)
	equal(t, "left", outbox(t, a, "d", atHour(1), 10), []store.OutboxEntry(nil))
}
