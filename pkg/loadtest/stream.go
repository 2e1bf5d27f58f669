package loadtest

import (
	"encoding/binary"
	"hash/maphash"

	"github.com/parkd-dev/parkd/pkg/park"
)

// The event stream and the log must tell the same. As the stream may bring millions of events, only the sum of the digests
// of each rev's events is kept of it, to be held against that of the log.

// spot is the place of an event in a pool's log.
type spot struct {
	rev int64
	ord int
}

func (s spot) before(o spot) bool { return s.rev < o.rev || s.rev == o.rev && s.ord < o.ord }

// spotOf returns where an event stands. On the wire that is a part of its id.
func spotOf(e *park.Event) spot {
	if _, rev, ord, err := park.ParseEventID(e.EventID); err == nil && rev == e.Rev {
		return spot{rev, ord}
	}
	return spot{e.Rev, e.Ord}
}

// digest returns a number that is the same for equal events of one run.
func digest(seed maphash.Seed, e *park.Event) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	for _, s := range [...]string{e.EventID, string(e.Action), e.TaskID, e.PoolID, e.Tenant, e.Node} {
		_, _ = h.WriteString(s)
		_ = h.WriteByte(0)
	}
	var b [32]byte
	binary.LittleEndian.PutUint64(b[0:], uint64(e.At.Micro()))
	binary.LittleEndian.PutUint64(b[8:], uint64(e.Rev))
	binary.LittleEndian.PutUint64(b[16:], uint64(e.Units))
	binary.LittleEndian.PutUint64(b[24:], uint64(e.Attempt))
	_, _ = h.Write(b[:])
	_, _ = h.Write(e.Detail)
	return h.Sum64()
}

// add takes an event of the stream into the sum of its rev.
func (w *watcher) add(e *park.Event) {
	at := spotOf(e)
	if !w.at.before(at) {
		w.back++
	} else {
		w.at = at
	}
	if e.TaskID == w.probe && e.Action == park.ActSubmit {
		w.probed = e.Rev
	}
	if i := e.Rev - w.base; i >= 0 && i < int64(len(w.sums)) {
		w.sums[i] += digest(w.seed, e)
	}
}

// sum returns what the stream told of a rev; 0 where it told nothing.
func (w *watcher) sum(rev int64) uint64 {
	if i := rev - w.base; i >= 0 && i < int64(len(w.sums)) {
		return w.sums[i]
	}
	return 0
}

// compared holds a log, event after event, against what the stream told from the probe's submission on. It is used when
// the stream is over.
type compared struct {
	w     *watcher
	found *findings
	rev   int64 // of the log, being summed up
	sum   uint64
}

// hear takes the log's next event.
func (c *compared) hear(e *park.Event, own bool) {
	if e.Rev != c.rev {
		c.settle(e.Rev)
	}
	if e.Action == park.ActUpdate { // the stream was not asked for these
		return
	}
	if !c.w.at.before(spotOf(e)) {
		c.sum += digest(c.w.seed, e)
		return
	}
	if own {
		c.found.note(unlikeStream, "the stream did not bring the event %s, %s of task %s", e.EventID, e.Action, e.TaskID)
	}
}

// settle compares the rev that has been summed up, and those without an event in the log that come before the next.
func (c *compared) settle(next int64) {
	from := c.rev + 1
	switch told := c.w.sum(c.rev); {
	case c.rev == 0:
		from = c.w.probed
	case told == c.sum:
	case c.sum == 0:
		c.found.note(lostLog, "the stream brought events of rev %d, the log has none", c.rev)
	default:
		c.found.note(unlikeStream, "the events of rev %d are not those that the stream brought", c.rev)
	}
	for rev := from; rev < min(next, c.w.at.rev+1); rev++ {
		if c.w.sum(rev) != 0 {
			c.found.note(lostLog, "the stream brought events of rev %d, the log has none", rev)
		}
	}
	c.rev, c.sum = next, 0
}

// finish says that the log is over.
func (c *compared) finish() {
	c.settle(c.w.at.rev + 1)
	if c.w.probed == 0 {
		c.found.note(unlikeStream, "the stream did not bring the first task's submission")
	}
	if c.w.back > 0 {
		c.found.note(unlikeStream, "the stream brought %d events after later ones, or twice", c.w.back)
	}
}
