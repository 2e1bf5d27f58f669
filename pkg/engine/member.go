package engine

import (
	"context"
	"maps"
	"slices"

	"github.com/parkd-dev/parkd/pkg/internal/cluster"
	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/park"
)

// member is a pool as its node in the cluster sees it. It implements [cluster.Pool].
type member struct{ *pool }

var _ cluster.Pool = member{}

func (m member) Name() string        { return m.ID }
func (m member) Rev() int64          { return m.rev.Load() }
func (m member) Fingerprint() string { return m.Pool.fingerprint() }
func (m member) Abandoned() bool     { return m.abandonedRuns > 0 }

// Follow has the pool catch up to rev, unless it is there already or a message for that is on its way.
func (m member) Follow(rev int64) {
	if m.rev.Load() < rev && m.refreshPending.CompareAndSwap(false, true) {
		m.post(&refreshRequest{})
	}
}

func (m member) Resume(reload bool) { m.post(&refreshRequest{reload: reload}) }

// TakeOver requeues the tasks of a dead node, the last first, so that they end up in their order. Leased tasks stay
// with their workers.
func (m member) TakeOver(dead string) {
	if m.Runtime.Leased() {
		return
	}
	m.post(&refreshRequest{derive: func(l *loop) (ops []lot.Op) {
		for _, id := range slices.Backward(l.lot.TasksByNode()[dead]) {
			s, _, _ := l.lot.State(id)
			ops = append(ops, lot.Requeue{TaskID: id, Attempt: s.Attempt, Reason: park.ReasonNodeLost})
		}
		return ops
	}})
}

func (m member) Nodes(ctx context.Context) (names []string, err error) {
	if m.Runtime.Leased() {
		return nil, nil
	}
	var found map[string][]string
	if err := m.inLoop(ctx, func(l *loop) { found = l.lot.TasksByNode() }); err != nil {
		return nil, err
	}
	return slices.Collect(maps.Keys(found)), nil
}

func (m member) Executing(ctx context.Context) (n int, err error) {
	var executing int
	if err := m.inLoop(ctx, func(l *loop) { executing = l.countExecuting() }); err != nil {
		return 0, err
	}
	return executing, nil
}

func (m member) Renamed(ctx context.Context) error {
	return m.inLoop(ctx, func(l *loop) { l.mustReload = true })
}
