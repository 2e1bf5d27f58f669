package loadtest

import (
	"encoding/binary"
	"hash/maphash"

	"github.com/parkd-dev/parkd/pkg/park"
)

// The event stream and the log must agree. The stream may have millions of events, so only the sum of the digests of
// each rev's events is kept, and compared with that of the log.

// eventPos is the position of an event in a pool's log.
type eventPos struct {
	rev int64
	ord int
}

func (s eventPos) before(o eventPos) bool { return s.rev < o.rev || s.rev == o.rev && s.ord < o.ord }

// posOf returns the position of an event. On the wire it is a part of the id.
func posOf(e *park.Event) eventPos {
	if _, rev, ord, err := park.ParseEventID(e.EventID); err == nil && rev == e.Rev {
		return eventPos{rev, ord}
	}
	return eventPos{e.Rev, e.Ord}
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

// add adds an event of the stream to the sum of its rev.
func (w *watcher) add(e *park.Event) {
	at := posOf(e)
	if !w.lastPos.before(at) {
		w.outOfOrder++
	} else {
		w.lastPos = at
	}
	if e.TaskID == w.probe && e.Action == park.ActSubmit {
		w.probed = e.Rev
	}
	if i := e.Rev - w.base; i >= 0 && i < int64(len(w.sums)) {
		w.sums[i] += digest(w.seed, e)
	}
}

// sum returns the sum of a rev in the stream; 0 if it had none.
func (w *watcher) sum(rev int64) uint64 {
	if i := rev - w.base; i >= 0 && i < int64(len(w.sums)) {
		return w.sums[i]
	}
	return 0
}

// streamCheck compares the log, event by event, with the stream since the probe's submission. It is used at the end of
// the stream.
type streamCheck struct {
	w        *watcher
	findings *findings
	rev      int64 // of the log, the current one
	sum      uint64
}

// add adds the log's next event.
func (c *streamCheck) add(e *park.Event, own bool) {
	if e.Rev != c.rev {
		c.compare(e.Rev)
	}
	if e.Action == park.ActUpdate { // the stream does not have these
		return
	}
	if !c.w.lastPos.before(posOf(e)) {
		c.sum += digest(c.w.seed, e)
		return
	}
	if own {
		c.findings.note(streamDiffers, "the stream did not bring the event %s, %s of task %s", e.EventID, e.Action, e.TaskID)
	}
}

// compare compares the current rev, and those without an event in the log before the next.
func (c *streamCheck) compare(next int64) {
	from := c.rev + 1
	switch told := c.w.sum(c.rev); {
	case c.rev == 0:
		from = c.w.probed
	case told == c.sum:
	case c.sum == 0:
		c.findings.note(lostLog, "the stream brought events of rev %d, the log has none", c.rev)
	default:
		c.findings.note(streamDiffers, "the events of rev %d are not those that the stream brought", c.rev)
	}
	for rev := from; rev < min(next, c.w.lastPos.rev+1); rev++ {
		if c.w.sum(rev) != 0 {
			c.findings.note(lostLog, "the stream brought events of rev %d, the log has none", rev)
		}
	}
	c.rev, c.sum = next, 0
}

// finish is called at the end of the log.
func (c *streamCheck) finish() {
	c.compare(c.w.lastPos.rev + 1)
	if c.w.probed == 0 {
		c.findings.note(streamDiffers, "the stream did not bring the first task's submission")
	}
	if c.w.outOfOrder > 0 {
		c.findings.note(streamDiffers, "the stream brought %d events after later ones, or twice", c.w.outOfOrder)
	}
}
