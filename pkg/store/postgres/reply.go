package postgres

import (
	"fmt"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// stepReply is a decoded pl_news: the outcome of a step, or the changes of a pool.
type stepReply struct {
	committed bool // the step was committed
	waiting   int  // nodes whose turn is first
	conflict  *store.Conflict
}

// How many integers and texts pl_news has for a live task, and how many texts for an ended one.
const (
	liveInts   = 16
	liveTexts  = 8
	endedTexts = 4
)

// decodeReply decodes a pl_news of a pool. It returns [store.ErrDead] if the node is dead.
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
		return n, fmt.Errorf("decode the changes of other nodes: %w", r.err)
	case answer == "dead":
		return n, store.ErrDead
	}
	n.committed, c.Reload = answer == "done", answer == "reload"
	return n, nil
}

// poolRow decodes a pl_row.
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
