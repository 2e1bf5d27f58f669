package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"strconv"

	"github.com/parkd-dev/parkd/pkg/park"
)

// timeline is a table whose rows are found by time without an index of times. Rows are written nearly in order of their
// times. Column late is what must be added to a row's time so that time + late never decreases along seq.
type timeline struct{ table, time string }

func jobTimes() timeline     { return timeline{"pl_queue_jobs", "submitted_at"} }
func messageTimes() timeline { return timeline{"pl_mailbox_messages", "created_at"} }
func eventTimes() timeline   { return timeline{"pl_audit_events", "at"} }

func timelines() []timeline { return []timeline{jobTimes(), messageTimes(), eventTimes()} }

// toleratedLate is how late a row may be without an entry in the index of late rows, in microseconds.
const toleratedLate = 60_000_000

// clock is the largest time + late in a table.
type clock int64

// stamp returns the time and the lateness of the next row.
func (c *clock) stamp(at park.Time) (us, late int64) {
	us = at.Micro()
	*c = max(*c, clock(us))
	return us, int64(*c) - us
}

// clocks are the clocks of all tables.
type clocks struct{ jobs, messages, events clock }

func (c *clocks) forTable(t timeline) *clock {
	switch t {
	case jobTimes():
		return &c.jobs
	case messageTimes():
		return &c.messages
	}
	return &c.events
}

func (t timeline) lastStamp() string {
	return "SELECT " + t.time + " + late FROM " + t.table + " ORDER BY seq DESC LIMIT 1"
}

func (t timeline) probe() string {
	return "SELECT seq, " + t.time + " + late FROM " + t.table + " WHERE seq >= ? ORDER BY seq LIMIT 1"
}

func (t timeline) maxLate() string {
	return "SELECT late FROM " + t.table + " INDEXED BY " + t.table + "_late WHERE late > " +
		strconv.Itoa(toleratedLate) + " ORDER BY late DESC LIMIT 1"
}

func (t timeline) lastSeq() string {
	return "SELECT seq FROM " + t.table + " ORDER BY seq DESC LIMIT 1"
}

// firstSeq returns a seq that is not above the seq of any row with a time of at least us.
func (t timeline) firstSeq(ctx context.Context, db *sql.DB, us int64) (int64, error) {
	low, high := int64(0), int64(0)
	err := db.QueryRowContext(ctx, t.lastSeq()).Scan(&high)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for high++; low < high; {
		mid := low + (high-low)/2
		var seq, stamp int64
		err := db.QueryRowContext(ctx, t.probe(), mid).Scan(&seq, &stamp)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			high = mid
		case err != nil:
			return 0, err
		case stamp >= us:
			high = mid
		default:
			low = seq + 1
		}
	}
	return low, nil
}

// endSeq returns a seq that is above the seqs of all rows with a time before us.
func (t timeline) endSeq(ctx context.Context, db *sql.DB, us int64) (int64, error) {
	late := int64(toleratedLate)
	err := db.QueryRowContext(ctx, t.maxLate()).Scan(&late)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	return t.firstSeq(ctx, db, us+late)
}
