package engine

// Submissions that are kept for their starts.

import (
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// specs keeps the submissions of parked tasks at hand for their start, up to a bound: what does not fit is
// read from the store again. The zero value is ready to use.
type specCache struct {
	byID map[string]*ledger.Spec
	size int
}

// maxSpecs bounds the memory for payloads of parked tasks, in bytes, roughly.
const maxSpecBytes = 8 << 20

func (c *specCache) put(s *ledger.Spec) {
	c.take(s.TaskID)
	if w := specSize(s); c.size+w <= maxSpecBytes {
		if c.byID == nil {
			c.byID = make(map[string]*ledger.Spec)
		}
		c.byID[s.TaskID] = s
		c.size += w
	}
}

// changed forgets the submission of a task that another node has started or ended, after which its id may be another's.
func (c *specCache) invalidate(r *ledger.Record) {
	if s := c.byID[r.TaskID]; s != nil && (r.Status != park.Queued || r.SubmittedAt.Micro() != s.SubmittedAt.Micro()) {
		c.take(r.TaskID)
	}
}

// clear forgets all submissions.
func (c *specCache) clear() { *c = specCache{} }

// take returns the submission and forgets it; nil where it is not at hand.
func (c *specCache) take(id string) *ledger.Spec {
	s := c.byID[id]
	if s != nil {
		delete(c.byID, id)
		c.size -= specSize(s)
	}
	return s
}
