package verify

import (
	"encoding/binary"
	"hash/maphash"
	"strconv"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/park"
)

// hasher computes hashes of tasks and messages: of 128 bits, with random keys.
type hasher struct {
	seeds [2]maphash.Seed
	b     []byte
}

func newHasher() *hasher {
	return &hasher{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, b: make([]byte, 0, 1024)}
}

// hash is a hash and the bucket of its task.
type hash struct {
	low, high uint64
	bucket    int
}

// buckets is the number of parts, by task id, in which everything is compared.
const buckets = 1 << 14

func (f *hasher) bucket(task string) int { return int(maphash.String(f.seeds[0], task) % buckets) }

func (f *hasher) text(s string) {
	f.b = binary.AppendUvarint(f.b, uint64(len(s)))
	f.b = append(f.b, s...)
}

func (f *hasher) int(n int64) { f.b = binary.LittleEndian.AppendUint64(f.b, uint64(n)) }

func (f *hasher) sum(task string) hash {
	return hash{maphash.Bytes(f.seeds[0], f.b), maphash.Bytes(f.seeds[1], f.b), f.bucket(task)}
}

// life hashes an ended task of the log.
func (f *hasher) life(l *replay.Life) hash {
	f.b = f.b[:0]
	f.ended(l.TaskID, l.Tenant, l.Status, l.Attempt, l.Ended)
	f.run(l.Node, l.Reason, l.Units, l.Submitted, l.Started)
	if l.Told {
		f.told(l.Mailbox, l.Priority, l.Deadline, l.MaxAttempts)
		f.runs(l.Strikes, l.NotBefore, l.Asked)
	}
	return f.sum(l.TaskID)
}

// task hashes the same fields of a task of the queue.
func (f *hasher) task(t *park.KeptTask, told bool) hash {
	f.b = f.b[:0]
	f.ended(t.TaskID, t.Tenant, t.Status, t.Attempt, t.EndedAt.Micro())
	f.run(t.Node, t.Reason, t.Units, t.SubmittedAt.Micro(), t.StartedAt.Micro())
	if told {
		f.told(t.MailboxKey, t.Priority, t.Deadline.Micro(), t.MaxAttempts)
		f.runs(t.Strikes, t.NotBefore.Micro(), t.Cancelled)
	}
	return f.sum(t.TaskID)
}

func (f *hasher) ended(task, tenant string, s park.Status, attempt int, ended int64) {
	f.text(task)
	f.text(tenant)
	f.text(string(s))
	f.int(int64(attempt))
	f.int(ended)
}

func (f *hasher) run(node, reason string, units, submitted, started int64) {
	f.text(node)
	f.text(reason)
	f.int(units)
	f.int(submitted)
	f.int(started)
}

func (f *hasher) told(mailbox string, p park.Priority, deadline int64, maxAttempts int) {
	f.text(mailbox)
	f.int(int64(p))
	f.int(deadline)
	f.int(int64(maxAttempts))
}

func (f *hasher) runs(strikes int, notBefore int64, asked bool) {
	f.int(int64(strikes))
	f.int(notBefore)
	f.b = strconv.AppendBool(f.b, asked)
}

// message hashes what a message tells of its task's end, and word with it what a client that removes it takes away.
func (f *hasher) message(m *park.KeptMessage) (letter, word hash) {
	f.b = f.b[:0]
	f.ended(m.TaskID, m.Tenant, m.Status, m.Attempt, m.CreatedAt.Micro())
	f.text(m.MailboxKey)
	letter = f.sum(m.TaskID)
	if m.Trimmed && m.Said == 0 && m.Reason == "" {
		return letter, hash{bucket: letter.bucket}
	}
	f.text(m.Reason)
	f.int(int64(m.Said))
	return letter, f.sum(m.TaskID)
}

// due returns the message that a task must have left.
func due(t *park.KeptTask) park.KeptMessage {
	return park.KeptMessage{
		TaskID: t.TaskID, Tenant: t.Tenant, MailboxKey: t.MailboxKey, Status: t.Status, Attempt: t.Attempt, Reason: t.Reason,
		CreatedAt: t.EndedAt, Said: t.Said,
	}
}

// sums are sums of hashes, one for each bucket: two multisets of facts are the same if these are, but for a chance of one in
// 2^128 (D. Clarke et al., Incremental Multiset Hash Functions and Their Application to Memory Integrity Checking, 2003:
// MSet-Add-Hash). So neither has to be in memory.
type sums []struct{ low, high uint64 }

func newSums() sums { return make(sums, buckets) }

func (s sums) add(h hash) {
	s[h.bucket].low += h.low
	s[h.bucket].high += h.high
}
