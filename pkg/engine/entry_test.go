package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

const (
	// tripTime is how long a call of a slow store takes, and stepTime how long a step keeps the others of its pool waiting.
	tripTime = time.Millisecond
	stepTime = 5 * time.Millisecond
)

// serialStore is a store whose steps take a while, one after the other.
type serialStore struct {
	*memory.Store
	lock       chan struct{}
	dropsNotes bool // it loses what nodes leave to each other
}

func (s serialStore) Commit(ctx context.Context, step *store.Step) error {
	time.Sleep(tripTime)
	s.lock <- struct{}{}
	defer func() { <-s.lock }()
	err := s.Store.Commit(ctx, step)
	if err == nil {
		time.Sleep(stepTime)
	}
	return err
}

func (s serialStore) ChangesSince(ctx context.Context, pool string, rev int64) (*store.Conflict, error) {
	time.Sleep(tripTime)
	return s.Store.ChangesSince(ctx, pool, rev)
}

func (s serialStore) RequestTurn(ctx context.Context, pool, node string, h store.Delegation) (store.Turn, error) {
	time.Sleep(tripTime)
	p, err := s.Store.RequestTurn(ctx, pool, node, h)
	if p.Ahead <= 1 && !h.All { // who is next waits for the step that is under way
		s.lock <- struct{}{}
		defer func() { <-s.lock }()
		notes := p.Notes
		p, err = s.Store.RequestTurn(ctx, pool, node, store.Delegation{})
		p.Notes = append(notes, p.Notes...)
	}
	if s.dropsNotes {
		p.Notes = nil
	}
	return p, err
}

// odd is a result that is to be stored to the byte.
const odd = `{ "n" : 1.00 }`

// TestUnitsDoNotWaitForATurn submits tasks through several nodes to one pool, half of whose units they need, over a
// store in which a round of all nodes takes longer than a task. Hardly a task is parked: what a run had is free with the
// next step of any node. The goroutines of a run take turns as they like, so the worst of 100 tasks waits for 7 to 100 ms
// through 12 nodes. If units had to wait for a turn, it would be 1.5 s there, and half of the tasks would wait.
func TestUnitsDoNotWaitForATurn(t *testing.T) {
	for _, nodes := range []int{1, 3, 12} {
		for _, quiet := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				s := serialStore{Store: memory.New(), lock: make(chan struct{}, 1)}
				parked := runOnNodes(t, s, nodes, 24, 600, 2*time.Second, func(c *engine.Config) { c.Quiet = quiet })
				limit := max(50*time.Millisecond, 2*time.Duration(nodes)*(tripTime+stepTime))
				if half, most := parked[len(parked)/2], parked[len(parked)*99/100]; half > 0 || most > limit {
					t.Errorf("through %d nodes, quiet %t, half of the tasks are parked for up to %s, and most for %s", nodes, quiet, half, most)
				}
			})
		}
	}
}

// TestOutcomesLeftToNobodyAreStored has nodes leave outcomes to others that never get them.
func TestOutcomesLeftToNobodyAreStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serialStore{Store: memory.New(), lock: make(chan struct{}, 1), dropsNotes: true}
		runOnNodes(t, s, 6, 24, 300, time.Second, func(*engine.Config) {})
	})
}

// runOnNodes submits tasks of 20 ms through the nodes in turn, at random intervals, at a rate per second for some time.
// It returns how long each was parked, in order. It checks that each task ended once, with its result, and left one
// message.
func runOnNodes(t *testing.T, s serialStore, nodes int, units int64, rate float64, d time.Duration, edit func(*engine.Config)) []time.Duration {
	t.Helper()
	engines := make([]*harness, nodes)
	for i := range engines {
		c := engine.Config{
			Pools: []engine.Pool{poolConfig("cpu", units, oddExecutor{})}, Shared: []park.Backend{park.InMemory},
			Stores: map[park.Backend]store.Store{park.InMemory: s},
		}
		edit(&c)
		engines[i] = openEngine(t, c)
	}
	time.Sleep(time.Second) // until all know each other
	chance := rand.New(rand.NewPCG(1, 2))
	var all sync.WaitGroup
	n := 0
	for began, due := time.Now(), time.Duration(0); due < d; due += time.Duration(chance.ExpFloat64() / rate * float64(time.Second)) {
		time.Sleep(time.Until(began.Add(due)))
		b, id := engines[n%nodes], fmt.Sprint(n)
		n++
		all.Go(func() {
			r, err := b.Submit(t.Context(), "cpu", []park.Submission{{TaskID: id, MailboxKey: park.MailboxRef{Key: "box"}}})
			if err != nil || r[0].Err != nil {
				t.Error(err, r)
			}
		})
	}
	all.Wait()
	parked := make([]time.Duration, n)
	for i := range parked {
		got := engines[i%nodes].awaitTask("cpu", fmt.Sprint(i))
		if got.Status != park.Completed || got.Attempt != 1 || string(got.Result) != odd {
			t.Errorf("task %d: %s in attempt %d, with %s", i, got.Status, got.Attempt, got.Result)
		}
		parked[i] = got.StartedAt.Sub(got.SubmittedAt.Time)
	}
	if box := engines[0].readMailbox(park.MailboxQuery{Tenant: "default", Key: "box", Limit: 100}); len(box) != n {
		t.Errorf("%d messages of %d tasks", len(box), n)
	}
	checkLog(t, engines[0].events(park.AuditQuery{PoolID: "cpu"}), units)
	for _, b := range engines {
		b.closeNow()
	}
	slices.Sort(parked)
	return parked
}

// oddExecutor completes tasks after 20 ms with an odd result.
type oddExecutor struct{}

func (oddExecutor) Run(context.Context, park.Assignment) park.Outcome {
	time.Sleep(20 * time.Millisecond)
	return park.Outcome{Status: park.Completed, Result: []byte(odd)}
}
