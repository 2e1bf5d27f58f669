package verify

import (
	"strings"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/park"
)

// collector keeps what was read of a pool until it can be compared: sums of most tasks, and single tasks that are early, late,
// or in buckets whose sums were found to differ.
type collector struct {
	*hasher
	comparable
	order
	onlyBuckets map[int]bool // the buckets of which all is kept one by one, and nothing of others but what is early or late; nil: sums

	lifeSums, taskSums    sums // of ended tasks, by the log and by the queue
	dueSums, messageSums  sums // of messages, by the queue and by the mailbox
	dueWordSums, wordSums sums // with what a client takes away
	trimmed               map[uint64]struct{}
	explained             map[uint64]struct{} // those that were removed whose reasons are kept: not every store does so
	ended                 map[string][]replay.Life
	rows                  map[string]park.KeptTask
	awaitingMessage       map[string]park.KeptTask // tasks whose messages are looked for one by one
	mail                  map[string][]park.KeptMessage
	pending               []replay.Life // that ended at the time of the last event, which may be settled or late
	counted               Counts
	used                  int64 // units of the tasks that run, by the queue
	queued                int   // and how many are parked
}

// Counts says how much was compared.
type Counts struct {
	Lives    int `json:"lives"`    // of the log
	Tasks    int `json:"tasks"`    // of the queue
	Messages int `json:"messages"` // of the mailboxes
}

func newCollector(f *hasher, only map[int]bool) *collector {
	b := &collector{
		order:  order{submitted: never, trimmedAt: map[uint64]int64{}},
		hasher: f, onlyBuckets: only, comparable: comparable{logEnd: never, outboxSince: never, detailedSince: never}, trimmed: map[uint64]struct{}{}, explained: map[uint64]struct{}{},
		ended: map[string][]replay.Life{}, rows: map[string]park.KeptTask{}, awaitingMessage: map[string]park.KeptTask{}, mail: map[string][]park.KeptMessage{},
	}
	for _, s := range []*sums{&b.lifeSums, &b.taskSums, &b.dueSums, &b.messageSums, &b.dueWordSums, &b.wordSums} {
		*s = newSums()
	}
	return b
}

// end adds the end of a task from the log.
func (b *collector) end(l *replay.Life) {
	if l.Told {
		b.comparable.detailedSince = min(b.comparable.detailedSince, l.Submitted)
	}
	if len(b.pending) > 0 && b.pending[0].Ended != l.Ended {
		b.flush()
	}
	b.pending = append(b.pending, *l)
}

func (b *collector) flush() {
	for i := range b.pending {
		b.life(&b.pending[i])
	}
	b.pending = b.pending[:0]
}

func (b *collector) life(l *replay.Life) {
	b.counted.Lives++
	submitted := l.Submitted
	if l.Adopted {
		submitted = b.first
	}
	at := b.modeOfTask(submitted, l.Ended)
	if at == unknown {
		return
	}
	if at == settled {
		if b.onlyBuckets == nil {
			b.lifeSums.add(b.hasher.life(l))
			return
		}
		if !b.onlyBuckets[b.bucket(l.TaskID)] {
			return
		}
	}
	b.ended[l.TaskID] = append(b.ended[l.TaskID], *l)
}

// row adds a task from the queue. Messages must be read before tasks.
func (b *collector) row(t *park.KeptTask) {
	b.counted.Tasks++
	switch t.Status {
	case park.Running:
		b.used += t.Units
	case park.Queued:
		b.queued++
	default:
	}
	if t.Status.Ended() && t.MailboxKey != "" {
		b.due(t)
	}
	switch b.modeOfTask(t.SubmittedAt.Micro(), endOf(t)) {
	case unknown:
	case settled:
		if b.onlyBuckets == nil {
			b.taskSums.add(b.hasher.task(t, t.SubmittedAt.Micro() >= b.comparable.detailedSince))
		} else if b.onlyBuckets[b.bucket(t.TaskID)] {
			keep(b.rows, t)
		}
	default:
		keep(b.rows, t)
	}
}

// endOf returns when a task ended; 0 if it has not.
func endOf(t *park.KeptTask) int64 {
	if !t.Status.Ended() {
		return 0
	}
	return max(t.EndedAt.Micro(), 1)
}

func (b *collector) due(t *park.KeptTask) {
	switch b.modeOfMessage(t.EndedAt.Micro()) {
	case unknown:
	case settled:
		if b.onlyBuckets == nil {
			m := due(t)
			letter, word := b.hasher.message(&m)
			b.dueSums.add(letter)
			if _, gone := b.trimmed[letter.low]; !gone {
				b.dueWordSums.add(word)
				b.suspicious = b.suspicious || len(b.trimmedAt) > 0 && t.EndedAt.Micro() < b.trimmedAt[b.box(t.Tenant, t.MailboxKey)]
			} else if _, kept := b.explained[letter.low]; kept {
				m.Trimmed, m.Said = true, 0
				_, word = b.hasher.message(&m)
				b.dueWordSums.add(word)
			}
		} else if b.onlyBuckets[b.bucket(t.TaskID)] {
			keep(b.awaitingMessage, t)
		}
	default:
		keep(b.awaitingMessage, t)
	}
}

// message adds a message from a mailbox.
func (b *collector) message(m *park.KeptMessage) {
	b.counted.Messages++
	switch b.modeOfMessage(m.CreatedAt.Micro()) {
	case unknown:
		return
	case settled:
		if b.onlyBuckets == nil {
			letter, word := b.hasher.message(m)
			b.messageSums.add(letter)
			if m.Trimmed {
				b.trimmed[letter.low] = struct{}{}
				if m.Reason != "" {
					b.explained[letter.low] = struct{}{}
				}
			}
			b.wordSums.add(word)
			return
		}
		if !b.onlyBuckets[b.bucket(m.TaskID)] {
			return
		}
	default:
	}
	k := *m
	k.TaskID, k.Tenant, k.MailboxKey, k.Reason = strings.Clone(m.TaskID), strings.Clone(m.Tenant), strings.Clone(m.MailboxKey), strings.Clone(m.Reason)
	b.mail[k.TaskID] = append(b.mail[k.TaskID], k)
}

// keep keeps a task, without keeping its whole page in memory.
func keep(in map[string]park.KeptTask, t *park.KeptTask) {
	k := *t
	for _, s := range []*string{&k.TaskID, &k.Tenant, &k.MailboxKey, &k.Node, &k.Reason} {
		*s = strings.Clone(*s)
	}
	in[k.TaskID] = k
}

// differing returns buckets whose sums differ, so many that about that many tasks are in them.
func (b *collector) differing(tasks int, but map[int]bool) map[int]bool {
	most := max(32, tasks*buckets/max(b.counted.Tasks, b.counted.Lives, b.counted.Messages, 1))
	in := make(map[int]bool)
	for i := range buckets {
		if len(in) < most && !but[i] && (b.lifeSums[i] != b.taskSums[i] || b.dueSums[i] != b.messageSums[i] || b.dueWordSums[i] != b.wordSums[i]) {
			in[i] = true
		}
	}
	return in
}

// resumed says that the pool's tasks were lost at a time, or are others than the log has led to: what was before is not held
// against anything.
func (b *collector) resumed(at int64, lost bool) {
	b.first, b.tasksLost, b.lifeSums = at, lost, newSums()
	clear(b.ended)
	b.pending = nil
}
