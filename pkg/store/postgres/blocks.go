package postgres

import (
	"strconv"

	"github.com/parkd-dev/parkd/pkg/park"
)

// How events are found by few index entries. The events of a step lie in blocks of blockSize, by ord; only those that
// lead something in their block are in its index, and what follows them is in the primary key. What follows a lead has
// its pool, rev and time.

// blockSize is how many events a block has at most, or messages, which lie in such blocks too.
const blockSize = 64

// What an event leads in its block: a bit each.
const (
	leadBlock = 1 << iota
	leadTenant
	leadTask
	leadAll = leadBlock | leadTenant | leadTask
)

// followers are the events of a lead l, itself among them, in a query that needs their columns.
func selectFollowers(bit int, columns, where, order string) string {
	b := strconv.Itoa(bit)
	return "LATERAL (SELECT " + columns + " FROM pl_audit_events WHERE pool_id = l.p AND rev = l.r AND ord BETWEEN l.o AND l.o | " +
		strconv.Itoa(blockSize-1) + "::bigint AND (ord = l.o OR lead::int & " + b + " = 0)" + where + " " + order + ") AS e"
}

// led begins a query of leads.
const selectLeads = "SELECT pool_id AS p, rev AS r, ord AS o, seq AS s, at AS t FROM pl_audit_events WHERE "

// isLead is the condition of an index.
func isLead(bit int) string { return "lead::int & " + strconv.Itoa(bit) + " <> 0" }

// leads returns what each event of a step leads. Events that do not lie as a step's do all lead themselves.
func leadBits(pool string, rev int64, events []park.Event) []uint8 {
	bits := make([]uint8, len(events))
	tenants, tasks := make(map[string]bool), make(map[string]bool)
	for i := range events {
		e := &events[i]
		if e.PoolID != pool || e.Rev != rev || e.Ord != i || !e.At.Equal(events[0].At.Time) {
			return nil
		}
		if i%blockSize == 0 {
			bits[i] = leadBlock
			clear(tenants)
			clear(tasks)
		}
		// The names as they are stored: two may be the same there.
		if i%blockSize == 0 || e.Tenant != events[i-1].Tenant {
			bits[i] |= newLeadBit(tenants, e.Tenant, leadTenant)
		}
		if i%blockSize == 0 || e.TaskID != events[i-1].TaskID {
			bits[i] |= newLeadBit(tasks, e.TaskID, leadTask)
		}
	}
	return bits
}

// first returns the bit where a name is new.
func newLeadBit(seen map[string]bool, name string, bit uint8) uint8 {
	name = storable(name)
	if seen[name] {
		return 0
	}
	seen[name] = true
	return bit
}
