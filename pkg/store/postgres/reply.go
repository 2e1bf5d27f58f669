package postgres

import (
	"fmt"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// news is a pl_news: what became of a step, or of a pool.
type stepReply struct {
	done     bool // the step was taken
	waiting  int  // other nodes that are to go first
	conflict *store.Conflict
}

// What pl_news has of a task: numbers and words of a live one, words of one that has ended.
const (
	liveInts   = 16
	liveTexts  = 8
	endedTexts = 4
)

// readNews reads a pl_news of a pool. Its error is a [store.ErrDead] where the node is.
func decodeReply(pool string, reply []byte) (n stepReply, err error) {
	r := decoder{buf: reply}
	c := &store.Conflict{}
	r.record(6)
	answer := r.textField()
	n.waiting, n.conflict = int(r.intField()), c
	if r.field() >= 0 {
		c.Row = r.poolRow()
	}
	c.Changed = make([]ledger.Record, r.matrix(liveInts))
	for i := range c.Changed {
		c.Changed[i].PoolID = pool
		r.liveInts(&c.Changed[i])
	}
	if r.matrix(liveTexts) != len(c.Changed) {
		r.fail()
	}
	for i := range c.Changed {
		r.liveTexts(&c.Changed[i])
	}
	ended := r.matrix(endedTexts)
	c.Changed = slices.Grow(c.Changed, ended)
	for range ended {
		c.Changed = append(c.Changed, r.endedTask())
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

// poolRow reads a pl_row.
func (r *decoder) poolRow() (p ledger.Pool) {
	r.record(10)
	p.LastStep, p.State = r.textField(), park.PoolState(r.textField())
	p.Rev, p.MaxUnits, p.MaxQueueDepth = r.intField(), r.intField(), int(r.intField())
	p.Used, p.Queued = r.intField(), int(r.intField())
	p.LastAt = park.FromMicro(r.intField())
	p.ConfiguredUnits, p.ConfiguredDepth = r.intField(), int(r.intField())
	return p
}

func (r *decoder) liveInts(j *ledger.Record) {
	j.Priority = park.Priority(r.intElement())
	j.Rank, j.Units = r.intElement(), r.intElement()
	j.Attempt, j.Failures = int(r.intElement()), int(r.intElement())
	j.Cancelled = r.intElement() != 0
	j.SubmittedAt, j.StartedAt, j.EndedAt = park.FromMicro(r.intElement()), park.FromMicro(r.intElement()), park.FromMicro(r.intElement())
	j.NotBefore, j.Deadline = park.FromMicro(r.intElement()), park.FromMicro(r.intElement())
	j.Timeout, j.LeaseTTL = time.Duration(r.intElement()), time.Duration(r.intElement())
	j.Retry = park.Retry{MaxAttempts: int(r.intElement()), Backoff: park.Duration(r.intElement())}
	j.Digest = uint64(r.intElement())
}

func (r *decoder) liveTexts(j *ledger.Record) {
	j.TaskID, j.Tenant, j.Status, j.MailboxKey = r.textElement(), r.textElement(), park.Status(r.textElement()), r.textElement()
	j.Node, j.Lease, j.Reason, j.Message = r.textElement(), r.textElement(), r.textElement(), r.textElement()
}

func (r *decoder) endedTask() (j ledger.Record) {
	j.TaskID, j.Tenant, j.MailboxKey, j.Status = r.textElement(), r.textElement(), r.textElement(), park.Status(r.textElement())
	return j
}
