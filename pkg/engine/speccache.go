package engine

// Submissions that are cached for their starts.

import (
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// specCache keeps the submissions of parked tasks in memory until they start, up to a limit. Others are read from the
// store. The zero value is ready to use.
type specCache struct {
	byID map[string]*ledger.Spec
	size int
}

// maxSpecBytes bounds the memory of the cached submissions, roughly.
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

// invalidate removes the submission of a task that another node has started or ended: its id may be used again.
func (c *specCache) invalidate(r *ledger.Record) {
	if s := c.byID[r.TaskID]; s != nil && (r.Status != park.Queued || r.SubmittedAt.Micro() != s.SubmittedAt.Micro()) {
		c.take(r.TaskID)
	}
}

// clear removes all submissions.
func (c *specCache) clear() { *c = specCache{} }

// take removes a submission and returns it; nil if it is not cached.
func (c *specCache) take(id string) *ledger.Spec {
	s := c.byID[id]
	if s != nil {
		delete(c.byID, id)
		c.size -= specSize(s)
	}
	return s
}
