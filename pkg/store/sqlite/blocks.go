package sqlite

import (
	"database/sql/driver"
	"fmt"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Most rows of the log are in no index. Events are written in blocks: events of one step and one time, with consecutive
// ords and consecutive seqs. An index has only the first event of each block, or the first of each tenant or task in
// the block. Each row of a block knows how many rows follow, so a query reads the others from the table. A block is
// short enough to lie on one or two pages: a query reads no more pages than if the index had each event.

// blockSize is how many events a block has at most.
const blockSize = 128

// The bits of column lead.
const (
	leadBlock  = 1
	leadTenant = 2
	leadTask   = 4
	rareAction = 8 // whatever its place in the block
)

func insertEvents() insertion {
	return insertion{
		into:    "pl_audit_events",
		shared:  []sharedColumn{{"pool_id", 0}, {"rev", 0}, {"at", 0}, {"late", 0}, {"ord", 1}, {"rest", -1}},
		columns: "lead, action, task_id, tenant, units, attempt, node, detail",
	}
}

// findBlock finds the block of a step that would have an event.
const findBlock = "SELECT seq, ord, rest FROM pl_audit_events INDEXED BY pl_audit_events_step" +
	" WHERE pool_id = ? AND rev = ? AND ord <= ? AND lead & 1 ORDER BY ord DESC LIMIT 1"

// eventLog is the writer's knowledge of the log of events.
type eventLog struct {
	rows                   inserter
	newestRev              map[string]int64 // by pool: there are no events of later revs
	seenTenants, seenTasks map[string]bool  // in the block that is being written
}

func newEventLog() eventLog {
	return eventLog{newestRev: make(map[string]int64), seenTenants: make(map[string]bool), seenTasks: make(map[string]bool)}
}

// append adds the events that are not stored yet.
func (w *writer) append(events []park.Event) error {
	for len(events) > 0 {
		n, err := w.appendRun(events)
		if err != nil {
			return fmt.Errorf("append events of pool %s: %w", events[0].PoolID, err)
		}
		events = events[n:]
	}
	return nil
}

// appendRun adds the first events, as many as can be in one block or in blocks in a row, and returns their number.
func (w *writer) appendRun(events []park.Event) (n int, err error) {
	for n = 1; n < len(events) && follows(&events[n-1], &events[n]); n++ {
	}
	if newer, err := w.isNewStep(&events[0]); newer || err != nil {
		return n, w.writeBlocks(events[:n])
	}
	for at := 0; at < n; at++ {
		from := at
		for ; at < n; at++ {
			if stored, err := w.hasEvent(&events[at]); err != nil {
				return n, err
			} else if stored {
				break
			}
		}
		if err := w.writeBlocks(events[from:at]); err != nil {
			return n, err
		}
	}
	return n, nil
}

// follows reports whether next may follow e in a block.
func follows(e, next *park.Event) bool {
	return next.PoolID == e.PoolID && next.Rev == e.Rev && next.Ord == e.Ord+1 && next.At.Micro() == e.At.Micro()
}

// isNewStep reports whether an event is of a later step than all stored ones, and remembers its step.
func (w *writer) isNewStep(e *park.Event) (bool, error) {
	newest, known := w.events.newestRev[e.PoolID]
	if !known {
		row, err := w.lastStep.row(e.PoolID)
		if err != nil {
			return false, err
		}
		if len(row) > 0 {
			newest, _ = row[0].(int64)
		}
	}
	// If the transaction is rolled back, this value is too high. The only effect is that later events are looked up in
	// vain.
	w.events.newestRev[e.PoolID] = max(newest, e.Rev)
	return e.Rev > newest, nil
}

func (w *writer) hasEvent(e *park.Event) (bool, error) {
	row, err := w.findBlock.row(e.PoolID, e.Rev, int64(e.Ord))
	if err != nil || len(row) == 0 {
		return false, err
	}
	ord, _ := row[1].(int64)
	rest, _ := row[2].(int64)
	return int64(e.Ord) < ord+rest, nil
}

func (w *writer) writeBlocks(events []park.Event) error {
	for len(events) > 0 {
		n := min(len(events), blockSize)
		if err := w.writeBlock(events[:n]); err != nil {
			return err
		}
		events = events[n:]
	}
	return nil
}

func (w *writer) writeBlock(events []park.Event) error {
	first := &events[0]
	at, late := w.clocks.events.stamp(first.At)
	clear(w.events.seenTenants)
	clear(w.events.seenTasks)
	return w.events.rows.insert(len(events), func(args []driver.Value, i int) []driver.Value {
		return append(args, first.PoolID, first.Rev, at, late, int64(events[i].Ord), int64(len(events)-i))
	}, func(args []driver.Value, i int) []driver.Value {
		e := &events[i]
		return append(args, w.events.leadBits(events, i), string(e.Action), e.TaskID, e.Tenant, e.Units, int64(e.Attempt), e.Node,
			bytesOrNull(e.Detail))
	})
}

// leadBits returns the indexes that have the i-th event of a block. It must be called for each event in order.
func (l *eventLog) leadBits(events []park.Event, i int) (bits int64) {
	e := &events[i]
	if i == 0 {
		bits = leadBlock
	}
	if isFirst(l.seenTenants, e.Tenant) {
		bits |= leadTenant
	}
	if isFirst(l.seenTasks, e.TaskID) {
		bits |= leadTask
	}
	if isRare(e.Action) {
		bits |= rareAction
	}
	return bits
}

func isFirst(seen map[string]bool, name string) bool {
	if name == "" || seen[name] {
		return false
	}
	seen[name] = true
	return true
}

// followers returns the FROM clause and the order of a query that goes through an index to the leads l of blocks, and
// from there to all events e of the blocks. It adds the query's conditions on leads.
func (t *where) followers(byIndex string, q park.AuditQuery, r scanRange) (from, order string) {
	from = "pl_audit_events l INDEXED BY " + byIndex + " CROSS JOIN pl_audit_events e NOT INDEXED"
	order = "l.seq, e.seq"
	switch byIndex {
	case byTask:
		t.add("l.lead & 4 AND l.task_id = ?", q.TaskID)
	case byTenant:
		t.add("l.lead & 2 AND l.tenant = ?", q.Tenant)
	case byPool:
		t.add("l.lead & 1")
		order = "l.rev, l.ord, e.seq"
	}
	if q.PoolID != "" {
		t.add("l.pool_id = ?", q.PoolID)
	}
	// The first event may be in a block that begins before the range.
	if r.fromRev != 0 {
		t.add("(l.rev, l.ord) > (?, ?)", r.fromRev, r.fromOrd-blockSize)
	}
	if r.untilRev != 0 {
		t.add("l.rev < ?", r.untilRev)
	}
	if r.fromSeq != 0 {
		t.add("l.seq > ?", r.fromSeq-blockSize)
	}
	if r.untilSeq != 0 {
		t.add("l.seq < ?", r.untilSeq)
	}
	t.add("e.seq >= l.seq AND e.seq < l.seq + l.rest")
	return from, order
}
