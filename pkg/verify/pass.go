package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/park"
)

// pass reads everything that is kept of a pool once.
type pass struct {
	src       Source
	pool      string
	o         Options
	log       *replay.Pool
	collected *collector
	next      park.KeptQuery // of the log
	cut       park.Mark      // of the log
	marks     retentionMarks
	backend   park.Backend // of the log
	steps     int64        // the rev of the pool when the pass began
	last      int64        // the rev of the last event
	ord       int          // and its position in that step
	resumed   int
	// bounds are those of an earlier pass. What was settled then is settled now.
	bounds *comparable
}

func newPass(src Source, pool string, o Options, l replay.Limits, b *collector) *pass {
	p := &pass{src: src, pool: pool, o: o, log: replay.New(l), collected: b, next: park.KeptQuery{Since: o.Since}}
	p.log.OnEnd(b.end)
	return p
}

func (p *pass) report() Report { return Report{Summary: p.summary(), Counts: p.collected.counted} }

func (p *pass) summary() replay.Summary {
	s := p.log.Summary()
	s.PoolID = p.pool
	s.Partial = s.Partial || p.last == 0 && p.steps > 0 // nothing is left of the log, or nothing of it was requested
	return s
}

func (p *pass) run(ctx context.Context) error {
	before, err := p.src.Evidence(ctx, p.pool)
	if err != nil {
		return err
	}
	p.cut, p.backend, p.steps = before.Log, before.AuditBackend, before.Rev
	b := p.collected
	b.separateStore = before.MessagesApart
	p.marks = marksOf(&before, p.o.Now())
	if p.bounds != nil {
		b.comparable.logEnd, p.marks.earliest = p.bounds.logEnd, [2]int64{max(p.marks.earliest[0], p.bounds.kept), max(p.marks.earliest[1], p.bounds.sent)}
	}
	b.comparable.kept, b.comparable.sent = p.marks.keptSince(never)
	if !before.ToldSince.IsZero() {
		p.log.Older(park.At(before.ToldSince.Add(skew)))
	}
	if !before.EventsApart {
		p.log.Tells() // ToldSince is of the log's own store
	}
	if err := p.play(ctx, nil); err != nil {
		return err
	}
	if p.resumed > 0 && p.log.Partial() && !before.EventsApart {
		return p.offence(RuleTask, p.last, "the log says that the queue was put back to an older state, but it would have been put back with it")
	}
	if p.last == 0 && before.Rev > 0 {
		b.comparable.first = before.LastAt.Micro() + 1 // what happened before is not known
	}
	if p.bounds == nil {
		b.comparable.logEnd = p.log.State().At.Micro()
	}
	for l := range p.log.Live {
		if l.Told {
			b.comparable.detailedSince = min(b.comparable.detailedSince, l.Submitted)
		}
	}
	then, err := p.catchUp(ctx)
	if err != nil {
		return err
	}
	if !then.MessagesOwed.IsZero() {
		b.comparable.outboxSince = then.MessagesOwed.Micro()
	}
	if p.bounds != nil {
		b.comparable.outboxSince = min(b.comparable.outboxSince, p.bounds.outboxSince)
	} else {
		kept := b.comparable
		p.bounds = &kept
	}
	b.flush()
	return p.compare(ctx, then.Rev)
}

// compare reads and compares messages and tasks.
func (p *pass) compare(ctx context.Context, rev int64) error {
	b := p.collected
	if err := each(ctx, p.src.KeptMessages, p.pool, &park.KeptQuery{}, heavyPage, p.message); err != nil {
		return err
	}
	if err := each(ctx, p.src.KeptTasks, p.pool, &park.KeptQuery{}, heavyPage, p.row); err != nil {
		return err
	}
	if err := p.leftBehind(ctx); err != nil {
		return err
	}
	after, err := p.catchUp(ctx)
	if err != nil {
		return err
	}
	b.flush()
	kept, sent := p.marks.movedMarks(&after, p.o.Now())
	b.kept, b.sent = max(b.kept, kept), max(b.sent, sent)
	if after.Rev == rev && (b.used != after.UsedUnits || b.queued != after.QueueDepth) {
		return p.offence(replay.RuleEnd, after.Rev, "the tasks have %d units in use and %d are parked, but the pool says %d and %d",
			b.used, b.queued, after.UsedUnits, after.QueueDepth)
	}
	c := comparison{collector: b, log: p.log, rev: rev}
	if o := c.run(); o != nil {
		o.PoolID = p.pool
		return o
	}
	if after.Rev == rev && p.log.State().Rev == rev {
		return p.ranks()
	}
	return nil
}

// play replays the log to its end, and calls before with the first event of each step.
func (p *pass) play(ctx context.Context, before func(*park.Event)) error {
	if p.last > 0 {
		p.next.Cursor = park.EventID(p.pool, p.last, p.ord)
	}
	q := p.next
	return each(ctx, p.src.KeptEvents, p.pool, &q, pageSize, func(e *park.Event) error {
		if e.Rev <= p.cut.Rev {
			return p.isRemnant(e)
		}
		if p.last == 0 {
			if err := p.checkFirst(ctx, e); err != nil || e.Rev <= p.cut.Rev {
				return err
			}
		}
		if e.Rev != p.last && before != nil {
			before(e)
		}
		p.last, p.ord = e.Rev, e.Ord
		if err := p.log.Apply(*e); err != nil {
			return p.unlessForgotten(ctx, e, err)
		}
		if e.Action == park.ActUpdate && p.log.Resumed() > p.resumed {
			p.resumed = p.log.Resumed()
			p.collected.resumed(e.At.Micro(), !p.log.Partial())
		}
		return nil
	})
}

// errForgotten says that retention removed something that was read already, so that it cannot be compared with what is
// there now.
var errForgotten = errors.New("old events are removed faster than they can be read")

// unlessForgotten withdraws the offence that an id was used twice, if the earlier task may have been pruned since it
// was read.
func (p *pass) unlessForgotten(ctx context.Context, e *park.Event, offence error) error {
	if o, ok := errors.AsType[*replay.Offence](offence); !ok || o.Rule != replay.RuleEnded || e.Action != park.ActSubmit {
		return offence
	}
	now, err := p.src.Evidence(ctx, p.pool)
	if err == nil && now.Log.Rev > p.cut.Rev {
		err = errForgotten
	}
	return cmp.Or(err, offence)
}

// isRemnant checks an event of a pruned step. A part of the last pruned step may be left, and Postgres removes parts in
// no particular order.
func (p *pass) isRemnant(e *park.Event) error {
	if e.Rev < p.cut.Rev && !p.cut.Memory && p.backend != park.Postgres {
		return p.offence(replay.RuleOrder, e.Rev, "the log has rev %d, but what was removed because it was old ends with rev %d", e.Rev, p.cut.Rev)
	}
	return nil
}

// checkFirst checks the first event. Events before it must have been pruned, perhaps since the pass began.
func (p *pass) checkFirst(ctx context.Context, e *park.Event) error {
	if p.o.Since.IsZero() && e.Rev > p.cut.Rev+1 {
		now, err := p.src.Evidence(ctx, p.pool)
		if err != nil {
			return err
		}
		if p.cut = now.Log; e.Rev <= p.cut.Rev {
			return nil
		}
	}
	if e.Rev != 1 || e.Ord != 0 {
		p.collected.first = e.At.Micro()
	}
	if p.o.Since.IsZero() && (e.Rev != p.cut.Rev+1 || e.Ord != 0) {
		return p.offence(replay.RuleOrder, e.Rev, "the log begins with rev %d place %d, but what was removed because it was old ends with rev %d", e.Rev, e.Ord, p.cut.Rev)
	}
	p.collected.comparable.kept, p.collected.comparable.sent = p.marks.keptSince(e.At.Micro())
	return nil
}

func (p *pass) offence(r replay.Rule, rev int64, format string, args ...any) error {
	return &replay.Offence{PoolID: p.pool, Rev: rev, Rule: r, Detail: fmt.Sprintf(format, args...)}
}

// catchUp replays the log up to the pool's present rev, and compares the pool's totals with it.
func (p *pass) catchUp(ctx context.Context) (ev park.Evidence, err error) {
	for range endTries {
		if ev, err = p.src.Evidence(ctx, p.pool); err != nil {
			return ev, err
		}
		if !p.o.Since.IsZero() && p.last == 0 {
			return ev, p.play(ctx, nil)
		}
		known := max(p.last, p.cut.Rev)
		state, beyond := p.log.State(), false
		err := p.play(ctx, func(e *park.Event) {
			if e.Rev > ev.Rev && !beyond {
				state, beyond = p.log.State(), true
			}
		})
		if err != nil {
			return ev, err
		}
		if !beyond {
			state = p.log.State()
		}
		if err = p.checkState(ev, state, known); err == nil {
			return ev, nil
		}
		if !ev.EventsApart {
			return ev, err
		}
		if err := sleep(ctx, endRest); err != nil {
			return ev, err
		}
	}
	if err = p.log.Finish(); err == nil && !ev.EventsOwed.IsZero() && p.last < ev.Rev {
		return ev, fmt.Errorf("the log is behind the pool: events since %s are still on their way to it", ev.EventsOwed)
	}
	if err == nil {
		err = p.checkState(ev, p.log.State(), max(p.last, p.cut.Rev))
	}
	return ev, err
}

// checkState compares the pool with the log at the pool's rev. known is the last rev of the log before the pool was
// read.
func (p *pass) checkState(ev park.Evidence, s replay.State, known int64) error {
	switch rev := max(s.Rev, p.cut.Rev); {
	case known > ev.Rev:
		return p.offence(replay.RuleEnd, known, "the log goes on to rev %d, but the pool is at rev %d", known, ev.Rev)
	case rev < ev.Rev:
		return p.offence(replay.RuleEnd, rev, "the log ends with rev %d, but the pool is at rev %d", rev, ev.Rev)
	case p.log.Partial() || s.Rev == 0:
		return nil
	case s.Used != ev.UsedUnits || s.Queued != ev.QueueDepth:
		return p.offence(replay.RuleEnd, s.Rev, "by the log %d units are in use and %d tasks are parked, but the pool says %d and %d",
			s.Used, s.Queued, ev.UsedUnits, ev.QueueDepth)
	case s.Limits != limitsOf(ev):
		return p.offence(replay.RuleLimits, s.Rev, "by the log the pool has %+v, but it says %+v", s.Limits, limitsOf(ev))
	case !s.At.Equal(ev.LastAt.Time):
		return p.offence(replay.RuleEnd, s.Rev, "the last step was at %s by the log, but the pool says %s", s.At, ev.LastAt)
	}
	return nil
}
