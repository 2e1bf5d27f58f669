package engine_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// TestClosingLeavesTheGrace: a run that has a minute to end, once it is stopped, has it also where the engine closes.
func TestClosingLeavesTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const grace = time.Minute
		saved := false
		x := park.ExecutorFunc(func(ctx context.Context, _ park.Assignment) (any, error) {
			<-ctx.Done()
			time.Sleep(grace - time.Second)
			saved = true
			return nil, context.Cause(ctx)
		})
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 1, x)}, NodeGrace: grace + 2*time.Second})
		b.submit("cpu", withID("a", park.Submission{}))
		synctest.Wait()
		b.closeNow()
		if !saved {
			t.Error("the engine did not wait")
		}
	})
}

// slowStore is a store whose commits take a while, or until they are cancelled.
type slowStore struct {
	*memory.Store
	mu    sync.Mutex
	delay time.Duration
}

func (s *slowStore) setDelay(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = d
}

func (s *slowStore) Commit(ctx context.Context, step *store.Step) error {
	s.mu.Lock()
	d := s.delay
	s.mu.Unlock()
	select {
	case <-time.After(d):
		return s.Store.Commit(ctx, step)
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", store.ErrInDoubt, ctx.Err())
	}
}

// TestClosingLeavesWhatIsOnlyToBeStored closes an engine that has many large results to store, in a store that is slow, and in
// one that does not answer. The engine goes in time, and what was not stored is done once more.
func TestClosingLeavesWhatIsOnlyToBeStored(t *testing.T) {
	const tasks, drain, grace = 40, 10 * time.Second, time.Minute
	for name, takes := range map[string]time.Duration{"slow": 2 * time.Second, "away": 1000 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &slowStore{Store: memory.New()}
				gate := make(chan struct{})
				p := poolConfig("cpu", tasks, park.ExecutorFunc(func(context.Context, park.Assignment) (any, error) {
					<-gate
					return jsonText(1 << 20), nil
				}))
				c := engine.Config{Pools: []engine.Pool{p}, Stores: map[park.Backend]store.Store{park.InMemory: s}, NodeGrace: grace}
				b := openEngine(t, c)
				for i := range tasks {
					b.submit("cpu", withID(fmt.Sprint(i), park.Submission{}))
				}
				s.setDelay(takes)
				close(gate)
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), drain)
				defer cancel()
				began := time.Now()
				if err := b.Close(ctx); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took > drain+5*time.Second {
					t.Errorf("closed after %s", took)
				}
				s.setDelay(0)
				again := openEngine(t, c)
				defer again.closeNow()
				for i := range tasks {
					if got := again.awaitTask("cpu", fmt.Sprint(i)); got.Status != park.Completed {
						t.Errorf("task %s: %s %s", got.TaskID, got.Status, got.Reason)
					}
				}
				again.checkIdle("cpu")
			})
		})
	}
}
