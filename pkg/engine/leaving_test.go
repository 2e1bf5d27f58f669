package engine

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// TestLeavingAPool: why a worker that would go cannot know whether something was leased to it, if it cannot.
func TestLeavingAPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			edit   func(p *loop, cancel func())
			full   bool // the loop hears of nothing
			due    time.Duration
			code   park.Code // of the error
			cancel bool      // it is that of the call
		}{
			"the worker goes":       {edit: func(_ *loop, cancel func()) { cancel() }, full: true, due: noDeadline, cancel: true},
			"the worker goes later": {edit: func(_ *loop, cancel func()) { cancel() }, due: noDeadline, cancel: true},
			"the engine goes":       {edit: func(p *loop, _ func()) { close(p.done) }, full: true, due: noDeadline, code: park.CodeOf(errPoolStopped("cpu"))},
			"the engine goes later": {edit: func(p *loop, _ func()) { close(p.done) }, due: noDeadline, code: park.CodeOf(errPoolStopped("cpu"))},
			"time goes":             {edit: func(*loop, func()) {}, full: true, due: time.Hour + 1, code: park.OutcomeUnknown},
			"time goes later":       {edit: func(*loop, func()) {}, due: time.Hour + 1, code: park.OutcomeUnknown},
		} {
			p := idleLoop(t, false)
			if c.full {
				p.messages <- &operations{}
			}
			ctx, cancel := context.WithCancel(t.Context())
			c.edit(p, cancel)
			leases, err := p.stopWaiting(ctx, &waiter{leases: make(chan []park.Lease, 1)}, c.due)
			if leases != nil || errors.Is(err, context.Canceled) != c.cancel || !c.cancel && park.CodeOf(err) != c.code {
				t.Errorf("%s: %v, %v", name, leases, err)
			}
			cancel()
		}
	})
}

// sizesFake is a queue that records reads of sizes, and can fail.
type sizesFake struct {
	store.Queue
	err   error
	asked [][]string
}

func (s *sizesFake) Sizes(_ context.Context, _ string, ids []string) (map[string]int, error) {
	s.asked = append(s.asked, ids)
	return map[string]int{"a": 1, "b": 1}, s.err
}

// TestWhenSizesAreLearned: where two tasks at least may go to waiting workers, which are there and of which one's size is not known.
func TestWhenSizesAreLearned(t *testing.T) {
	for name, c := range map[string]struct {
		max     []int // of the workers
		tasks   []string
		known   bool
		held    bool
		fails   error
		looks   int
		learned error
	}{
		"nobody waits":       {tasks: []string{"a", "b"}},
		"one task":           {max: []int{2}, tasks: []string{"a"}},
		"one that is wanted": {max: []int{1}, tasks: []string{"a", "b"}},
		"two":                {max: []int{2}, tasks: []string{"a", "b"}, looks: 1},
		"two for two":        {max: []int{1, 1}, tasks: []string{"a", "b"}, looks: 1},
		"held":               {max: []int{2}, tasks: []string{"a", "b"}, held: true},
		"known":              {max: []int{2}, tasks: []string{"a", "b"}, known: true},
		"out of reach":       {max: []int{2}, tasks: []string{"a", "b"}, looks: 1, fails: errAsked, learned: errAsked},
	} {
		var tasks []ledger.Record
		for i, id := range c.tasks {
			tasks = append(tasks, testRecord(id, 1, false))
			tasks[i].Rank = int64(i + 1)
		}
		p := testLoop(t, ledger.Pool{MaxUnits: 9, Queued: len(tasks), State: park.Active}, tasks...)
		q := &sizesFake{err: c.fails}
		p.queue, p.ctx, p.Idle = q, t.Context(), c.held
		for _, n := range c.max {
			p.waiters = append(p.waiters, &waiter{request: lot.LeaseRequest{Max: n}})
		}
		if c.known {
			p.lot.SetSize("a", 1)
			p.lot.SetSize("b", 1)
		}
		if err := p.loadSizes(); !errors.Is(err, c.learned) || len(q.asked) != c.looks {
			t.Errorf("%s: asked for %v, %v", name, q.asked, err)
		}
		if c.looks > 0 && c.fails == nil {
			if _, ids := p.lot.UnknownSizes(9); len(ids) > 0 {
				t.Errorf("%s: the sizes of %v are not known", name, ids)
			}
		}
	}
}
