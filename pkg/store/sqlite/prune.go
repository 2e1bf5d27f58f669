package sqlite

import (
	"context"
	"fmt"
	"math"
	"sync"

	"github.com/parkd-dev/parkd/pkg/park"
)

const (
	oldJobs = "SELECT seq FROM pl_queue_jobs WHERE seq >= ? AND seq < ? AND ended_at < ?" +
		" AND status NOT IN ('queued', 'running') ORDER BY seq LIMIT ?"
	oldMessages = "SELECT seq FROM pl_mailbox_messages WHERE seq >= ? AND seq < ? AND created_at < ? ORDER BY seq LIMIT ?"
	oldEvents   = "SELECT seq FROM pl_audit_events WHERE seq >= ? AND seq < ? AND at < ? ORDER BY seq LIMIT ?"

	// raiseMark and raiseLogMarks record what is about to be removed. Marks never decrease.
	raiseMark = "INSERT INTO pl_marks (place, pool_id, rev, before_at, guess) VALUES (?, '', 0, ?, 0)" +
		" ON CONFLICT DO UPDATE SET before_at = excluded.before_at, guess = 0 WHERE before_at < excluded.before_at"
	raiseLogMarks = "INSERT INTO pl_marks (place, pool_id, rev, before_at, guess)" +
		" SELECT 'events', pool_id, max(rev), max(at) + 1, 0 FROM pl_audit_events WHERE seq >= ? AND seq <= ? AND at < ? GROUP BY pool_id" +
		" ON CONFLICT DO UPDATE SET rev = excluded.rev, before_at = max(before_at, excluded.before_at), guess = 0 WHERE rev < excluded.rev"

	// splitBlock makes a block of its own of each event that follows a given event in its block.
	splitBlock = "UPDATE pl_audit_events SET lead = lead | 7, rest = 1 WHERE seq > ?1" +
		" AND seq < ?1 + (SELECT rest FROM pl_audit_events WHERE seq = ?1 AND at < ?2)"
)

// pruneCursor is where the search for old tasks stopped, so that the live tasks before it are not read again for each
// chunk.
type pruneCursor struct {
	mu  sync.Mutex
	seq int64
}

// PruneTasks implements [store.Queue].
func (s *Store) PruneTasks(ctx context.Context, before park.Time, limit int) (int, error) {
	s.pruned.mu.Lock()
	defer s.pruned.mu.Unlock()
	// A task ends after its submission, so no task that was submitted later is old.
	until, err := jobTimes().endSeq(ctx, s.db, before.Micro())
	if err != nil {
		return 0, fmt.Errorf("prune tasks: %w", err)
	}
	start := min(s.pruned.seq, until)
	found, err := s.findOld(ctx, oldJobs, start, until, before, limit)
	if err == nil && len(found) < limit {
		var more []int64
		more, err = s.findOld(ctx, oldJobs, 0, start, before, limit-len(found))
		found = append(found, more...)
	}
	if err != nil {
		return 0, fmt.Errorf("prune tasks: %w", err)
	}
	if len(found) > 0 {
		s.pruned.seq = found[len(found)-1]
	}
	return s.prune(ctx, "tasks", found, before, (*writer).removeJobs)
}

// PruneMessages implements [store.Mailbox].
func (s *Store) PruneMessages(ctx context.Context, before park.Time, limit int) (int, error) {
	until, err := messageTimes().endSeq(ctx, s.db, before.Micro())
	if err != nil {
		return 0, fmt.Errorf("prune messages: %w", err)
	}
	found, err := s.findOld(ctx, oldMessages, math.MinInt64, until, before, limit)
	if err != nil {
		return 0, fmt.Errorf("prune messages: %w", err)
	}
	return s.prune(ctx, "messages", found, before, (*writer).removeMessages)
}

// PruneEvents implements [store.Audit]. The events of a block have the same time, so they are all old or none is, and
// they are removed in their order. A chunk may end within a block.
func (s *Store) PruneEvents(ctx context.Context, before park.Time, limit int) (int, error) {
	until, err := eventTimes().endSeq(ctx, s.db, before.Micro())
	if err != nil {
		return 0, fmt.Errorf("prune events: %w", err)
	}
	found, err := s.findOld(ctx, oldEvents, math.MinInt64, until, before, limit)
	if err != nil {
		return 0, fmt.Errorf("prune events: %w", err)
	}
	return s.prune(ctx, "events", found, before, (*writer).removeEvents)
}

// findOld finds rows to prune. It reads beside the writer, which then only has to delete them.
func (s *Store) findOld(ctx context.Context, query string, from, until int64, before park.Time, limit int) ([]int64, error) {
	rows, err := s.db.QueryContext(ctx, query, from, until, before.Micro(), limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found []int64
	for rows.Next() {
		var seq int64
		if err := rows.Scan(&seq); err != nil {
			return nil, err
		}
		found = append(found, seq)
	}
	return found, rows.Err()
}

// prune removes the rows that were found to be older than a time. If two calls find the same rows, each returns the
// number that it found, because there may be more.
func (s *Store) prune(ctx context.Context, what string, found []int64, before park.Time, remove func(*writer, []int64, int64) error) (int, error) {
	if len(found) == 0 {
		return 0, nil
	}
	err := s.write(ctx, len(found), func(w *writer) error {
		if err := remove(w, found, before.Micro()); err != nil {
			return fmt.Errorf("prune %s: %w", what, err)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(found), nil
}

func (w *writer) removeJobs(found []int64, before int64) error {
	if _, err := w.raiseMark.run("tasks", before); err != nil {
		return err
	}
	return deleteEach(w.deleteJob, found, before)
}

func (w *writer) removeMessages(found []int64, before int64) error {
	if _, err := w.raiseMark.run("messages", before); err != nil {
		return err
	}
	return deleteEach(w.deleteMessage, found, before)
}

func (w *writer) removeEvents(found []int64, before int64) error {
	if _, err := w.raiseLogMarks.run(found[0], found[len(found)-1], before); err != nil {
		return err
	}
	if _, err := w.splitBlock.run(found[len(found)-1], before); err != nil {
		return err
	}
	return deleteEach(w.deleteEvent, found, before)
}

func deleteEach(s *stmt, found []int64, before int64) error {
	for _, seq := range found {
		if _, err := s.run(seq, before); err != nil {
			return err
		}
	}
	return nil
}
