package postgres

import (
	"strconv"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Few index entries suffice to find events. The events of a step are in blocks of blockSize, by ord. Each index has
// only the leads: the first event of a block, or the first of a tenant or task in its block. The events that follow a
// lead are found by the primary key. They have the lead's pool, rev and time.

// blockSize is how many events or messages a block has at most.
const blockSize = 64

// What an event leads in its block, one bit each.
const (
	leadBlock = 1 << iota
	leadTenant
	leadTask
	leadAll = leadBlock | leadTenant | leadTask
)

// selectFollowers selects the events of a lead l, including itself, in a query that needs these columns.
func selectFollowers(bit int, columns, where, order string) string {
	b := strconv.Itoa(bit)
	return "LATERAL (SELECT " + columns + " FROM pl_audit_events WHERE pool_id = l.p AND rev = l.r AND ord BETWEEN l.o AND l.o | " +
		strconv.Itoa(blockSize-1) + "::bigint AND (ord = l.o OR lead::int & " + b + " = 0)" + where + " " + order + ") AS e"
}

// selectLeads is the beginning of a query of leads.
const selectLeads = "SELECT pool_id AS p, rev AS r, ord AS o, seq AS s, at AS t FROM pl_audit_events WHERE "

// isLead is the condition of an index.
func isLead(bit int) string { return "lead::int & " + strconv.Itoa(bit) + " <> 0" }

// leadBits returns the bits of each event of a step, or nil if the events are not a step's events in order. Then all of
// them lead.
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
		// The names are compared as stored, because two different names may be stored as the same.
		if i%blockSize == 0 || e.Tenant != events[i-1].Tenant {
			bits[i] |= newLeadBit(tenants, e.Tenant, leadTenant)
		}
		if i%blockSize == 0 || e.TaskID != events[i-1].TaskID {
			bits[i] |= newLeadBit(tasks, e.TaskID, leadTask)
		}
	}
	return bits
}

// newLeadBit returns the bit if the name is new.
func newLeadBit(seen map[string]bool, name string, bit uint8) uint8 {
	name = storable(name)
	if seen[name] {
		return 0
	}
	seen[name] = true
	return bit
}
