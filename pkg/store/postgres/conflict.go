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
type news struct {
	done     bool // the step was taken
	waits    int  // other nodes that are to go first
	conflict *store.Conflict
}

// What pl_news has of a task: numbers and words of a live one, words of one that has ended.
const (
	numbersOfLive = 16
	wordsOfLive   = 8
	wordsOfPast   = 4
)

// readNews reads a pl_news of a pool. Its error is a [store.ErrDead] where the node is.
func readNews(pool string, reply []byte) (n news, err error) {
	r := reader{buf: reply}
	c := &store.Conflict{}
	r.record(6)
	answer := r.text()
	n.waits, n.conflict = int(r.int()), c
	if r.field() >= 0 {
		c.Row = r.poolRow()
	}
	c.Changed = make([]ledger.Record, r.table(numbersOfLive))
	for i := range c.Changed {
		c.Changed[i].PoolID = pool
		r.numbers(&c.Changed[i])
	}
	if r.table(wordsOfLive) != len(c.Changed) {
		r.fail()
	}
	for i := range c.Changed {
		r.words(&c.Changed[i])
	}
	past := r.table(wordsOfPast)
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

// poolRow reads a pl_row.
func (r *reader) poolRow() (p ledger.Pool) {
	r.record(10)
	p.LastStep, p.State = r.text(), park.PoolState(r.text())
	p.Rev, p.MaxUnits, p.MaxQueueDepth = r.int(), r.int(), int(r.int())
	p.Used, p.Queued = r.int(), int(r.int())
	p.LastAt = park.FromMicro(r.int())
	p.ConfiguredUnits, p.ConfiguredDepth = r.int(), int(r.int())
	return p
}

func (r *reader) numbers(j *ledger.Record) {
	j.Priority = park.Priority(r.number())
	j.Rank, j.Units = r.number(), r.number()
	j.Attempt, j.Failures = int(r.number()), int(r.number())
	j.Cancelled = r.number() != 0
	j.SubmittedAt, j.StartedAt, j.EndedAt = park.FromMicro(r.number()), park.FromMicro(r.number()), park.FromMicro(r.number())
	j.NotBefore, j.Deadline = park.FromMicro(r.number()), park.FromMicro(r.number())
	j.Timeout, j.LeaseTTL = time.Duration(r.number()), time.Duration(r.number())
	j.Retry = park.Retry{MaxAttempts: int(r.number()), Backoff: park.Duration(r.number())}
	j.Digest = uint64(r.number())
}

func (r *reader) words(j *ledger.Record) {
	j.TaskID, j.Tenant, j.Status, j.MailboxKey = r.word(), r.word(), park.Status(r.word()), r.word()
	j.Node, j.Lease, j.Reason, j.Message = r.word(), r.word(), r.word(), r.word()
}

func (r *reader) past() (j ledger.Record) {
	j.TaskID, j.Tenant, j.MailboxKey, j.Status = r.word(), r.word(), r.word(), park.Status(r.word())
	return j
}
