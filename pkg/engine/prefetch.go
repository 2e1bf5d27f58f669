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

// If another node accepted a submission that a start needs, it is read while the step of the start is stored.

// prefetch is such a read.
type prefetch struct {
	done  chan struct{}
	specs map[string]*ledger.Spec // valid once done is closed; without those that could not be read
}

// startPrefetch begins to read the submissions that the runs of a step need and that are not cached. A step that gets
// stored was decided on the last rev, so a read before that is still valid. If the step is not stored, the read is
// discarded.
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

// missingSpecs returns the tasks that a step starts and did not create, and whose submissions are not cached.
func (l *loop) missingSpecs(s *lot.Step) (ids []string) {
	for i := range s.Started {
		if t := &s.Started[i]; t.Spec == nil && l.specs.byID[t.TaskID] == nil {
			ids = append(ids, t.TaskID)
		}
	}
	return ids
}

// readSpecs reads the submissions of tasks.
func (p *pool) readSpecs(ids []string) (map[string]*ledger.Spec, error) {
	byID := make(map[string]*ledger.Spec, len(ids))
	err := p.readRecords(ids, func(r *ledger.Record) { byID[r.TaskID] = &r.Spec })
	return byID, err
}

// readRecords reads tasks by their ids, a few at a time, because their sizes are not known.
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

// fillFrom sets the submissions of starts from a prefetch, which may be nil. It reports whether all of them are set.
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

// runStart is a run that is to begin. spec is nil if it has to be read from the store.
type runStart struct {
	lot.Started
	submitted park.Time
	spec      *ledger.Spec
	ctx       context.Context // of the run; its cause is the reason to stop
	run       *run
	startedAt time.Duration // monotonic
}

// specFrom returns the start's submission, unless the record is that of another task with the same id.
func (s *runStart) specFrom(byID map[string]*ledger.Spec) *ledger.Spec {
	spec := byID[s.TaskID]
	if spec == nil || spec.SubmittedAt.Micro() != s.submitted.Micro() {
		return nil
	}
	return spec
}

// readRetryInterval is the time between two attempts to read submissions.
const readRetryInterval = 100 * time.Millisecond

// readStarts sets the submissions of starts, from the prefetch or from the store. It tries until it has them, because
// the tasks hold their units already, or until none of the runs is active.
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
