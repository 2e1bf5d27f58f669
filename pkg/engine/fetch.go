package engine

import (
	"github.com/parkd-dev/parkd/pkg/internal/portion"
	"github.com/parkd-dev/parkd/pkg/lot"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Submissions that a start needs and that another node took in are read while the step that starts them is stored.

// fetch is such a read under way.
type fetch struct {
	done  chan struct{}
	specs map[string]*park.Spec // once done; what could not be read is missing
}

// fetch begins to read what the runs of a step will need and is not at hand. A step that is stored was decided on the
// last rev, so what was read before is still so; what comes of a step that is not stored is forgotten.
func (l *loop) fetch(s *lot.Step) {
	l.ahead = nil
	if l.node == nil {
		return // a store of one node has one connection, which the step needs
	}
	ids := l.unread(s)
	if len(ids) == 0 {
		return
	}
	f := &fetch{done: make(chan struct{})}
	l.ahead = f
	p := l.pool
	p.eng.env.Go(func() {
		defer close(f.done)
		f.specs, _ = p.submissions(ids)
	})
}

// unread returns the tasks that a step starts, did not create and that are not at hand.
func (l *loop) unread(s *lot.Step) (ids []string) {
	for i := range s.Started {
		if t := &s.Started[i]; t.Spec == nil && l.specs.byID[t.TaskID] == nil {
			ids = append(ids, t.TaskID)
		}
	}
	return ids
}

// submissions reads tasks as they were submitted.
func (p *pool) submissions(ids []string) (map[string]*park.Spec, error) {
	byID := make(map[string]*park.Spec, len(ids))
	err := p.records(ids, func(r *park.Record) { byID[r.TaskID] = &r.Spec })
	return byID, err
}

// records reads tasks by their ids, a few at a time: nobody knows what they weigh.
func (p *pool) records(ids []string, each func(*park.Record)) error {
	for part := portion.Of(max(p.maxResult(), park.DefaultMaxResult)); len(ids) > 0; {
		n := min(part.Next(), len(ids))
		records, err := p.queue.Records(p.ctx, p.ID, ids[:n])
		if p.eng.health.Read(p.ctx, p.QueueBackend, err) != nil {
			return err
		}
		ids = ids[n:]
		size := 0
		for i := range records {
			size += weigh(&records[i].Spec) + len(records[i].Result)
			each(&records[i])
		}
		part.Read(n, size)
	}
	return nil
}

// fill gives starts their submissions from a read that may be none, and reports whether that was all of them.
func (p *pool) fill(starts []start, f *fetch) bool {
	if f == nil {
		return false
	}
	p.eng.env.Await(forever, f.done)
	all := true
	for i := range starts {
		if starts[i].spec == nil {
			starts[i].spec = starts[i].among(f.specs)
			all = all && starts[i].spec != nil
		}
	}
	return all
}
