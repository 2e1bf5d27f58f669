package engine

import (
	"context"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/internal/portion"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Submissions that a start needs and that another node took in are read while the step that starts them is stored.

// fetch is such a read under way.
type prefetch struct {
	done  chan struct{}
	specs map[string]*ledger.Spec // once done; what could not be read is missing
}

// fetch begins to read what the runs of a step will need and is not at hand. A step that is stored was decided on the
// last rev, so what was read before is still so; what comes of a step that is not stored is forgotten.
func (l *loop) startPrefetch(s *lot.Step) {
	l.prefetch = nil
	if l.node == nil {
		return // a store of one node has one connection, which the step needs
	}
	ids := l.missingSpecs(s)
	if len(ids) == 0 {
		return
	}
	f := &prefetch{done: make(chan struct{})}
	l.prefetch = f
	p := l.pool
	p.eng.env.Go(func() {
		defer close(f.done)
		f.specs, _ = p.readSpecs(ids)
	})
}

// unread returns the tasks that a step starts, did not create and that are not at hand.
func (l *loop) missingSpecs(s *lot.Step) (ids []string) {
	for i := range s.Started {
		if t := &s.Started[i]; t.Spec == nil && l.specs.byID[t.TaskID] == nil {
			ids = append(ids, t.TaskID)
		}
	}
	return ids
}

// submissions reads tasks as they were submitted.
func (p *pool) readSpecs(ids []string) (map[string]*ledger.Spec, error) {
	byID := make(map[string]*ledger.Spec, len(ids))
	err := p.readRecords(ids, func(r *ledger.Record) { byID[r.TaskID] = &r.Spec })
	return byID, err
}

// records reads tasks by their ids, a few at a time: nobody knows what they weigh.
func (p *pool) readRecords(ids []string, each func(*ledger.Record)) error {
	for part := portion.Of(max(p.maxResult(), park.DefaultMaxResult)); len(ids) > 0; {
		n := min(part.Next(), len(ids))
		records, err := p.queue.Records(p.ctx, p.ID, ids[:n])
		if p.eng.health.Read(p.ctx, p.QueueBackend, err) != nil {
			return err
		}
		ids = ids[n:]
		size := 0
		for i := range records {
			size += specSize(&records[i].Spec) + len(records[i].Result)
			each(&records[i])
		}
		part.Read(n, size)
	}
	return nil
}

// fill gives starts their submissions from a read that may be none, and reports whether that was all of them.
func (p *pool) fillFrom(starts []runStart, f *prefetch) bool {
	if f == nil {
		return false
	}
	p.eng.env.Await(noTimeout, f.done)
	all := true
	for i := range starts {
		if starts[i].spec == nil {
			starts[i].spec = starts[i].specFrom(f.specs)
			all = all && starts[i].spec != nil
		}
	}
	return all
}

// start is a run to begin. spec is nil where it has to be read from the store.
type runStart struct {
	lot.Started
	submitted park.Time
	spec      *ledger.Spec
	ctx       context.Context // of the run; ends with the reason to stop
	run       *run
	startedAt time.Duration // monotonic
}

// among returns the start's submission, unless what was read is that of another task with the id.
func (s *runStart) specFrom(byID map[string]*ledger.Spec) *ledger.Spec {
	spec := byID[s.TaskID]
	if spec == nil || spec.SubmittedAt.Micro() != s.submitted.Micro() {
		return nil
	}
	return spec
}

// readRest is how long a start whose payload could not be read rests before it tries again.
const readRetryInterval = 100 * time.Millisecond

// read fills in the specs, from what was read ahead or from the store. It goes on until it has them, for the tasks have
// their units already, or until none of the runs is to go on.
func (p *pool) readStarts(starts []runStart, prefetched *prefetch) {
	if p.fillFrom(starts, prefetched) {
		return
	}
	ids := make([]string, len(starts))
	for i := range starts {
		ids[i] = starts[i].TaskID
	}
	active := func(s runStart) bool { return s.ctx == nil || s.ctx.Err() == nil }
	for p.ctx.Err() == nil && slices.ContainsFunc(starts, active) {
		byID, err := p.readSpecs(ids)
		if err == nil {
			for i := range starts {
				starts[i].spec = starts[i].specFrom(byID)
			}
			return
		}
		p.eng.log.Error("payload not read", "pool", p.ID, "error", err)
		p.eng.sleep(readRetryInterval)
	}
}
