package verify

import (
	"context"
	"fmt"
	"hash/maphash"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/park"
)

// order checks the order of tasks and messages: each step adds its own behind those of earlier steps, and a client
// removes messages from the front of a mailbox. Messages that come from another store have no order.
type order struct {
	separateStore bool             // messages come from another store
	arrived       int64            // creation time of the last message read
	submitted     int64            // submission time of the last task read; the newest come first
	trimmedAt     map[uint64]int64 // creation time of the last removed message, by a hash of the mailbox
	suspicious    bool             // a message may have remained that is older than a removed one
}

// message checks the next message.
func (p *pass) message(m *park.KeptMessage) error {
	b, at := p.collected, m.CreatedAt.Micro()
	if !b.separateStore && b.modeOfMessage(at) != unknown {
		if at < b.arrived {
			return p.about(RuleMail, m.TaskID, "its message of %s comes after one of %s", m.CreatedAt, park.FromMicro(b.arrived))
		}
		b.arrived = at
		if m.Trimmed {
			b.trimmedAt[b.box(m.Tenant, m.MailboxKey)] = at
		}
	}
	b.message(m)
	return nil
}

// row checks the next task.
func (p *pass) row(t *park.KeptTask) error {
	b, at := p.collected, t.SubmittedAt.Micro()
	switch {
	case b.tasksLost && at < b.first:
		return p.about(RuleTask, t.TaskID, "is of %s, but by the log there is no task from before %s", t.SubmittedAt, park.FromMicro(b.first))
	case at > b.submitted:
		return p.about(RuleTask, t.TaskID, "of %s comes before one of %s", t.SubmittedAt, park.FromMicro(b.submitted))
	}
	b.submitted = at
	b.row(t)
	return nil
}

// leftBehind reads the messages again, and looks for messages that remain although later ones of their mailbox were
// removed. A second look is needed, since a client may have removed both between the reads of the two.
func (p *pass) leftBehind(ctx context.Context) error {
	if !p.collected.suspicious {
		return nil
	}
	return each(ctx, p.src.KeptMessages, p.pool, &park.KeptQuery{}, heavyPage, func(m *park.KeptMessage) error {
		at := p.collected.trimmedAt[p.collected.box(m.Tenant, m.MailboxKey)]
		if m.Trimmed || m.CreatedAt.Micro() >= at || p.collected.modeOfMessage(m.CreatedAt.Micro()) == unknown {
			return nil
		}
		return p.about(RuleMail, m.TaskID, "its message of %s is in mailbox %s/%s, from which a later one of %s was removed",
			m.CreatedAt, m.Tenant, m.MailboxKey, park.FromMicro(at))
	})
}

// ranks compares the order of the parked tasks in the queue with that in the log, if no step was committed meanwhile.
func (p *pass) ranks() error {
	var before park.KeptTask
	for l := range p.log.Line {
		t, ok := p.collected.rows[l.TaskID]
		if !ok {
			continue // reported by the comparison
		}
		if t.Priority == before.Priority && before.TaskID != "" && t.Rank <= before.Rank {
			return p.about(RuleTask, t.TaskID, "has rank %d, but task %s, which is to start before it, has rank %d", t.Rank, before.TaskID, before.Rank)
		}
		before = t
	}
	return nil
}

// box returns a hash of a mailbox.
func (f *hasher) box(tenant, key string) uint64 {
	f.b = f.b[:0]
	f.text(tenant)
	f.text(key)
	return maphash.Bytes(f.seeds[0], f.b)
}

func (p *pass) about(r replay.Rule, task, format string, args ...any) error {
	return &replay.Offence{PoolID: p.pool, TaskID: task, Rule: r, Detail: fmt.Sprintf(format, args...)}
}
