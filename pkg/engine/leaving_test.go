package engine

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/lot"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// TestLeavingAPool: why a worker that would go cannot know whether something was leased to it, if it cannot.
func TestLeavingAPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			edit   func(p *pool, cancel func())
			full   bool // the loop hears of nothing
			due    time.Duration
			code   park.Code // of the error
			cancel bool      // it is that of the call
		}{
			"the worker goes":       {edit: func(_ *pool, cancel func()) { cancel() }, full: true, due: never, cancel: true},
			"the worker goes later": {edit: func(_ *pool, cancel func()) { cancel() }, due: never, cancel: true},
			"the engine goes":       {edit: func(p *pool, _ func()) { close(p.done) }, full: true, due: never, code: park.CodeOf(errStopped("cpu"))},
			"the engine goes later": {edit: func(p *pool, _ func()) { close(p.done) }, due: never, code: park.CodeOf(errStopped("cpu"))},
			"time goes":             {edit: func(*pool, func()) {}, full: true, due: time.Hour + 1, code: park.OutcomeUnknown},
			"time goes later":       {edit: func(*pool, func()) {}, due: time.Hour + 1, code: park.OutcomeUnknown},
		} {
			p := idlePool(t, false)
			if c.full {
				p.requests <- &request{}
			}
			ctx, cancel := context.WithCancel(t.Context())
			c.edit(p, cancel)
			leases, err := p.leave(ctx, &waiter{leases: make(chan []park.Lease, 1)}, c.due)
			if leases != nil || errors.Is(err, context.Canceled) != c.cancel || !c.cancel && park.CodeOf(err) != c.code {
				t.Errorf("%s: %v, %v", name, leases, err)
			}
			cancel()
		}
	})
}

// sized is a queue that is asked for sizes, and fails or not.
type sized struct {
	store.Queue
	fails error
	asked [][]string
}

func (s *sized) Sizes(_ context.Context, _ string, ids []string) (map[string]int, error) {
	s.asked = append(s.asked, ids)
	return map[string]int{"a": 1, "b": 1}, s.fails
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
		var tasks []park.Record
		for i, id := range c.tasks {
			tasks = append(tasks, taskOf(id, 1, false))
			tasks[i].Rank = int64(i + 1)
		}
		p := poolWith(t, park.PoolRow{MaxUnits: 9, Queued: len(tasks), State: park.Active}, tasks...)
		q := &sized{fails: c.fails}
		p.queue, p.ctx, p.Idle = q, t.Context(), c.held
		for _, n := range c.max {
			p.waiters = append(p.waiters, &waiter{demand: lot.Demand{Max: n}})
		}
		if c.known {
			p.lot.Size("a", 1)
			p.lot.Size("b", 1)
		}
		if err := p.learnSizes(); !errors.Is(err, c.learned) || len(q.asked) != c.looks {
			t.Errorf("%s: asked for %v, %v", name, q.asked, err)
		}
		if c.looks > 0 && c.fails == nil {
			if _, ids := p.lot.Unsized(9); len(ids) > 0 {
				t.Errorf("%s: the sizes of %v are not known", name, ids)
			}
		}
	}
}

// mortal is a shared store whose beats say what a test wants.
type mortal struct {
	store.Shared
	err error
}

func (m *mortal) Beat(context.Context, string, store.Terms) (map[string]store.Pulse, error) {
	return nil, m.err
}

// TestTakenForDead: a node that was taken for dead while it could not beat is told so, gets another name once its pools run
// nothing, and has each of them be loaded under it.
func TestTakenForDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &mortal{err: errAsked}
		n, _ := heldNode(&handClock{mono: time.Hour}, m)
		n.eng.world = ownWorld{realWorld{began: time.Now()}}
		var pools []*pool
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for range 2 {
			p := idlePool(t, false)
			p.eng.clock = n.eng.clock
			pools = append(pools, p)
			go func() {
				for {
					select {
					case r := <-p.requests:
						r.look()
						r.reply <- reply{}
					case <-ctx.Done():
						return
					}
				}
			}()
		}
		n.pools = pools
		n.step(t.Context())
		if err := n.trouble(); !errors.Is(err, errAsked) {
			t.Errorf("it cannot beat: %v", err)
		}
		epoch := n.base.Load()
		m.err = store.ErrDead
		n.step(t.Context())
		if err := n.trouble(); !errors.Is(err, errNodeLost) || n.name() != "its own" || !errors.Is(context.Cause(epoch.ctx), errNodeLost) {
			t.Errorf("taken for dead it is %s: %v, %v", n.name(), err, context.Cause(epoch.ctx))
		}
		for i, p := range pools {
			if !p.stale {
				t.Errorf("pool %d is not to be loaded again", i)
			}
		}
	})
}
