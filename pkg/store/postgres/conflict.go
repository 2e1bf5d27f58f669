package postgres

import (
	"fmt"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// news is a pl_news: what became of a step, or of a pool.
type news struct {
	done     bool // the step was taken
	waits    int  // other nodes that are to go first
	conflict *store.Conflict
}

// readNews reads a pl_news of a pool. Its error is a [store.ErrDead] where the node is.
func readNews(pool string, reply []byte) (n news, err error) {
	r := reader{buf: reply}
	n.conflict = &store.Conflict{}
	r.record(5)
	answer := r.text()
	n.waits = int(r.int())
	if r.field() >= 0 {
		n.conflict.Row = r.poolRow()
	}
	c := n.conflict
	live := r.array()
	c.Changed = make([]park.Record, live)
	for i := range c.Changed {
		c.Changed[i] = r.live(pool)
	}
	past := r.array()
	c.Changed = slices.Grow(c.Changed, past)
	for range past {
		c.Changed = append(c.Changed, r.past())
	}
	switch {
	case r.err != nil:
		return n, fmt.Errorf("read what another node did: %w", r.err)
	case answer == "dead":
		return n, store.ErrDead
	}
	n.done, c.Reload = answer == "done", answer == "reload"
	return n, nil
}

// poolRow reads a pl_step.
func (r *reader) poolRow() (p park.PoolRow) {
	r.record(12)
	r.text()
	p.LastStep = r.text()
	r.text()
	p.Rev, p.MaxUnits, p.MaxQueueDepth = r.int(), r.int(), int(r.int())
	p.State = park.PoolState(r.text())
	p.Used, p.Queued = r.int(), int(r.int())
	p.LastAt = park.FromMicro(r.int())
	p.ConfiguredUnits, p.ConfiguredDepth = r.int(), int(r.int())
	return p
}

// live reads a pl_live.
func (r *reader) live(pool string) (j park.Record) {
	r.length()
	r.record(24)
	j.PoolID = pool
	j.TaskID, j.Tenant = r.text(), r.text()
	j.Status = park.Status(r.text())
	j.Priority = park.Priority(r.int())
	j.Rank, j.Units = r.int(), r.int()
	j.Attempt, j.Strikes = int(r.int()), int(r.int())
	j.Cancelled = r.bool()
	j.SubmittedAt, j.StartedAt, j.EndedAt = park.FromMicro(r.int()), park.FromMicro(r.int()), park.FromMicro(r.int())
	j.NotBefore, j.Deadline = park.FromMicro(r.int()), park.FromMicro(r.int())
	j.Timeout, j.LeaseTTL = time.Duration(r.int()), time.Duration(r.int())
	j.Retry = park.Retry{MaxAttempts: int(r.int()), Backoff: park.Duration(r.int())}
	j.Digest = uint64(r.int())
	j.MailboxKey, j.Node, j.Lease, j.Reason, j.Message = r.text(), r.text(), r.text(), r.text(), r.text()
	return j
}

// past reads a pl_past.
func (r *reader) past() (j park.Record) {
	r.length()
	r.record(4)
	j.TaskID, j.Tenant, j.MailboxKey = r.text(), r.text(), r.text()
	j.Status = park.Status(r.text())
	return j
}
