package verify

import (
	"strings"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/park"
)

// book keeps what was read of a pool until it can be compared: sums of most, and one by one what is early, late, or of the
// buckets whose sums were found to differ.
type book struct {
	*facts
	span
	order
	only map[int]bool // the buckets of which all is kept one by one, and nothing of others but what is early or late; nil: sums

	lived, tasks  sums // of ended tasks, by the log and by the queue
	dues, letters sums // of messages, by the queue and by the mailbox
	vows, words   sums // with what a client takes away
	trimmed       map[uint64]struct{}
	explained     map[uint64]struct{} // those that were removed whose reasons are kept: not every store does so
	ended         map[string][]replay.Life
	rows          map[string]park.KeptTask
	owing         map[string]park.KeptTask // tasks whose messages are looked for one by one
	mail          map[string][]park.KeptMessage
	pending       []replay.Life // that ended at the time of the last event, which may be settled or late
	counted       Counts
	used          int64 // units of the tasks that run, by the queue
	queued        int   // and how many are parked
}

// Counts says how much was held against each other.
type Counts struct {
	Lives    int `json:"lives"`    // of the log
	Tasks    int `json:"tasks"`    // of the queue
	Messages int `json:"messages"` // of the mailboxes
}

func newBook(f *facts, only map[int]bool) *book {
	b := &book{
		order: order{submitted: never, taken: map[uint64]int64{}},
		facts: f, only: only, span: span{closed: never, owed: never, told: never}, trimmed: map[uint64]struct{}{}, explained: map[uint64]struct{}{},
		ended: map[string][]replay.Life{}, rows: map[string]park.KeptTask{}, owing: map[string]park.KeptTask{}, mail: map[string][]park.KeptMessage{},
	}
	for _, s := range []*sums{&b.lived, &b.tasks, &b.dues, &b.letters, &b.vows, &b.words} {
		*s = newSums()
	}
	return b
}

// end takes the end of a life from the log.
func (b *book) end(l *replay.Life) {
	if l.Told {
		b.span.told = min(b.span.told, l.Submitted)
	}
	if len(b.pending) > 0 && b.pending[0].Ended != l.Ended {
		b.flush()
	}
	b.pending = append(b.pending, *l)
}

func (b *book) flush() {
	for i := range b.pending {
		b.life(&b.pending[i])
	}
	b.pending = b.pending[:0]
}

func (b *book) life(l *replay.Life) {
	b.counted.Lives++
	submitted := l.Submitted
	if l.Adopted {
		submitted = b.first
	}
	at := b.placeOf(submitted, l.Ended)
	if at == unknown {
		return
	}
	if at == settled {
		if b.only == nil {
			b.lived.add(b.facts.life(l))
			return
		}
		if !b.only[b.bucket(l.TaskID)] {
			return
		}
	}
	b.ended[l.TaskID] = append(b.ended[l.TaskID], *l)
}

// row takes a task from the queue. Messages are to be read before tasks.
func (b *book) row(t *park.KeptTask) {
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
	switch b.placeOf(t.SubmittedAt.Micro(), endOf(t)) {
	case unknown:
	case settled:
		if b.only == nil {
			b.tasks.add(b.facts.task(t, t.SubmittedAt.Micro() >= b.span.told))
		} else if b.only[b.bucket(t.TaskID)] {
			keep(b.rows, t)
		}
	default:
		keep(b.rows, t)
	}
}

// endOf returns when a task ended, 0 if it has not.
func endOf(t *park.KeptTask) int64 {
	if !t.Status.Ended() {
		return 0
	}
	return max(t.EndedAt.Micro(), 1)
}

func (b *book) due(t *park.KeptTask) {
	switch b.placeOfLetter(t.EndedAt.Micro()) {
	case unknown:
	case settled:
		if b.only == nil {
			m := due(t)
			letter, word := b.facts.letter(&m)
			b.dues.add(letter)
			if _, gone := b.trimmed[letter.low]; !gone {
				b.vows.add(word)
				b.passed = b.passed || len(b.taken) > 0 && t.EndedAt.Micro() < b.taken[b.box(t.Tenant, t.MailboxKey)]
			} else if _, kept := b.explained[letter.low]; kept {
				m.Trimmed, m.Said = true, 0
				_, word = b.facts.letter(&m)
				b.vows.add(word)
			}
		} else if b.only[b.bucket(t.TaskID)] {
			keep(b.owing, t)
		}
	default:
		keep(b.owing, t)
	}
}

// message takes a message from a mailbox.
func (b *book) message(m *park.KeptMessage) {
	b.counted.Messages++
	switch b.placeOfLetter(m.CreatedAt.Micro()) {
	case unknown:
		return
	case settled:
		if b.only == nil {
			letter, word := b.facts.letter(m)
			b.letters.add(letter)
			if m.Trimmed {
				b.trimmed[letter.low] = struct{}{}
				if m.Reason != "" {
					b.explained[letter.low] = struct{}{}
				}
			}
			b.words.add(word)
			return
		}
		if !b.only[b.bucket(m.TaskID)] {
			return
		}
	default:
	}
	k := *m
	k.TaskID, k.Tenant, k.MailboxKey, k.Reason = strings.Clone(m.TaskID), strings.Clone(m.Tenant), strings.Clone(m.MailboxKey), strings.Clone(m.Reason)
	b.mail[k.TaskID] = append(b.mail[k.TaskID], k)
}

// keep keeps a task, and not the page that it was read with.
func keep(in map[string]park.KeptTask, t *park.KeptTask) {
	k := *t
	for _, s := range []*string{&k.TaskID, &k.Tenant, &k.MailboxKey, &k.Node, &k.Reason} {
		*s = strings.Clone(*s)
	}
	in[k.TaskID] = k
}

// differing returns buckets whose sums differ, so many that about that many tasks are in them.
func (b *book) differing(tasks int, but map[int]bool) map[int]bool {
	most := max(32, tasks*buckets/max(b.counted.Tasks, b.counted.Lives, b.counted.Messages, 1))
	in := make(map[int]bool)
	for i := range buckets {
		if len(in) < most && !but[i] && (b.lived[i] != b.tasks[i] || b.dues[i] != b.letters[i] || b.vows[i] != b.words[i]) {
			in[i] = true
		}
	}
	return in
}

// resumed says that the pool's tasks were lost at a time, or are others than the log has led to: what was before is not held
// against anything.
func (b *book) resumed(at int64, lost bool) {
	b.first, b.lost, b.lived = at, lost, newSums()
	clear(b.ended)
	b.pending = nil
}
