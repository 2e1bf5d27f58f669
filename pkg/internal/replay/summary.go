package replay

import (
	"maps"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Summary is what a log amounts to.
type Summary struct {
	PoolID             string              `json:"poolId"`
	Events             int                 `json:"events"`
	FirstRev           int64               `json:"firstRev"`
	LastRev            int64               `json:"lastRev"`
	FirstAt            park.Time           `json:"firstAt,omitzero"`
	LastAt             park.Time           `json:"lastAt,omitzero"`
	Submitted          int                 `json:"submitted"`
	Enqueued           int                 `json:"enqueued"`
	Started            int                 `json:"started"` // runs, not tasks
	Requeued           int                 `json:"requeued"`
	Rejected           int                 `json:"rejected"`
	Rejections         map[string]int      `json:"rejections"` // by code
	Ends               map[park.Action]int `json:"ends"`
	Queued             int                 `json:"queued"` // at the end of the log
	Running            int                 `json:"running"`
	Used               int64               `json:"used"`
	MaxUsed            int64               `json:"maxUsed"`   // at any start
	MaxQueued          int                 `json:"maxQueued"` // after any step
	StartsOverCapacity int                 `json:"startsOverCapacity"`
	Partial            bool                `json:"partial"` // the log does not begin with the pool
	Adopted            int                 `json:"adopted"` // tasks known only from the middle of their lives
	Resumed            int                 `json:"resumed"` // how often the pool's queue was lost or put back
	Offences           int                 `json:"offences"`
	First              *Offence            `json:"-"`
}

// Summary returns what the log amounts to so far.
func (p *Pool) Summary() Summary {
	s := p.sum
	s.Ends, s.Rejections = maps.Clone(s.Ends), maps.Clone(s.Rejections)
	s.PoolID, s.LastRev, s.LastAt = p.state.PoolID, p.state.Rev, p.state.At
	s.MaxQueued = max(s.MaxQueued, p.state.Queued)
	s.Queued, s.Running, s.Used = p.state.Queued, p.state.Running, p.state.Used
	return s
}

// Sample is a span of a pool's time, for a plot. Used and Queued are those at its end.
type Sample struct {
	At        park.Time `json:"at"` // of the first event in the span
	Used      int64     `json:"used"`
	MaxUsed   int64     `json:"maxUsed"`
	Queued    int       `json:"queued"`
	MaxQueued int       `json:"maxQueued"`
	MaxUnits  int64     `json:"maxUnits"` // the pool's capacity
}

// timeline keeps a bounded number of samples of equal width, which doubles when they become too many.
type timeline struct {
	most    int
	width   time.Duration
	samples []Sample
	slots   []int64 // of each sample, in widths since the first event
}

// KeepTimeline makes the pool keep samples for [Pool.Timeline], at most so many (and 16 at least). Call it
// before the first event.
func (p *Pool) KeepTimeline(most int) {
	p.timeline = &timeline{most: max(most, 16), width: time.Millisecond}
}

// Timeline returns the samples, oldest first. Spans in which nothing happened have none.
func (p *Pool) Timeline() []Sample {
	if p.timeline == nil {
		return nil
	}
	return p.timeline.samples
}

// sample notes the pool's state after an event.
func (p *Pool) sample() {
	t := p.timeline
	if t == nil {
		return
	}
	s := Sample{
		At: p.state.At, Used: p.state.Used, MaxUsed: p.state.Used,
		Queued: p.state.Queued, MaxQueued: p.state.Queued, MaxUnits: p.limits.MaxUnits,
	}
	slot := max(0, int64(p.state.At.Sub(p.sum.FirstAt.Time)/t.width))
	if n := len(t.slots); n > 0 && t.slots[n-1] >= slot {
		t.samples[n-1] = merge(t.samples[n-1], s)
		return
	}
	t.samples, t.slots = append(t.samples, s), append(t.slots, slot)
	for len(t.samples) > t.most {
		t.halve()
	}
}

func merge(a, b Sample) Sample {
	b.At, b.MaxUsed, b.MaxQueued = a.At, max(a.MaxUsed, b.MaxUsed), max(a.MaxQueued, b.MaxQueued)
	return b
}

// halve doubles the width.
func (t *timeline) halve() {
	t.width *= 2
	n := 0
	for i, s := range t.samples {
		slot := t.slots[i] / 2
		if n > 0 && t.slots[n-1] == slot {
			t.samples[n-1] = merge(t.samples[n-1], s)
			continue
		}
		t.samples[n], t.slots[n] = s, slot
		n++
	}
	t.samples, t.slots = t.samples[:n], t.slots[:n]
}
