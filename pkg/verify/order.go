package verify

import (
	"context"
	"fmt"
	"hash/maphash"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/park"
)

// order is in which order tasks and messages are kept: each step adds its own behind those of the steps before, and a client
// removes messages from the front of a mailbox. Of messages that come from another store it says nothing.
type order struct {
	separateStore bool             // messages come from another store
	arrived       int64            // when the last message was made that was read
	submitted     int64            // when the last task was submitted that was read, the newest first
	trimmedAt     map[uint64]int64 // when the last message was made that was removed from a mailbox, by a hash of that
	suspicious    bool             // a message seems to be there still from before such a one
}

// message looks at the next message.
func (p *pass) message(m *park.KeptMessage) error {
	b, at := p.collected, m.CreatedAt.Micro()
	if !b.separateStore && b.placeOfLetter(at) != unknown {
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

// row looks at the next task.
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

// leftBehind looks again for messages that are there though later ones of their mailbox were removed. A client may have removed
// both after one was read, and before the other was.
func (p *pass) leftBehind(ctx context.Context) error {
	if !p.collected.suspicious {
		return nil
	}
	return each(ctx, p.src.KeptMessages, p.pool, &park.KeptQuery{}, heavyPage, func(m *park.KeptMessage) error {
		at := p.collected.trimmedAt[p.collected.box(m.Tenant, m.MailboxKey)]
		if m.Trimmed || m.CreatedAt.Micro() >= at || p.collected.placeOfLetter(m.CreatedAt.Micro()) == unknown {
			return nil
		}
		return p.about(RuleMail, m.TaskID, "its message of %s is in mailbox %s/%s, from which a later one of %s was removed",
			m.CreatedAt, m.Tenant, m.MailboxKey, park.FromMicro(at))
	})
}

// ranks holds the order of the parked tasks by the queue against that by the log, while nothing moves.
func (p *pass) ranks() error {
	var before park.KeptTask
	for l := range p.log.Line {
		t, ok := p.collected.rows[l.TaskID]
		if !ok {
			continue // told by the comparison
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
