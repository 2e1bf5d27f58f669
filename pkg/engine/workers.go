package engine

// Workers that wait for tasks, on the side of the loop.

import (
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/park"
)

// waiter is a worker that waits for tasks. It gets all its leases at once, and then waits no more.
type waiter struct {
	request lot.LeaseRequest
	granted bool // it has been granted tasks, which may still have to be read
	leases  chan []park.Lease
}

// registerWaiters adds workers that start to wait, and removes those that stop.
func (l *loop) registerWaiters(batch []message) {
	for _, m := range batch {
		switch m := m.(type) {
		case *workerJoins:
			l.waiters = append(l.waiters, m.worker)
		case *workerLeaves:
			l.waiters = slices.DeleteFunc(l.waiters, func(w *waiter) bool { return w == m.worker })
		}
	}
}

// leaseRequests returns the requests of the waiting workers, the longest wait first.
func (l *loop) leaseRequests() []lot.LeaseRequest {
	if len(l.waiters) == 0 {
		return nil
	}
	d := make([]lot.LeaseRequest, len(l.waiters))
	for i, w := range l.waiters {
		d[i] = w.request
	}
	return d
}

// loadSizes reads from the store the sizes of submissions that waiting workers are about to get, if this node does not
// know them: it accepted them before a restart, or another node did. A leased task must be delivered, and an answer has
// a maximum size.
func (l *loop) loadSizes() error {
	demand := 0
	for _, w := range l.waiters {
		demand += w.request.Max
	}
	if demand < 2 || l.startsHeld() {
		return nil
	}
	next, ids := l.lot.UnknownSizes(min(demand, maxLeases))
	if next < 2 || len(ids) == 0 {
		return nil // a single task may have any size
	}
	sizes, err := l.queue.Sizes(l.ctx, l.ID, ids)
	if err != nil {
		return err
	}
	for id, n := range sizes {
		l.lot.SetSize(id, n)
	}
	return nil
}

// grantLeases sends started tasks to the workers that they are leased to.
func (l *loop) grantLeases(started []runStart) {
	if len(started) == 0 {
		return
	}
	granted := make(map[*waiter][]runStart)
	for _, s := range started {
		w := l.waiters[s.Request]
		granted[w] = append(granted[w], s)
	}
	var waiting []*waiter
	now := l.eng.env.Wall()
	for _, w := range l.waiters {
		starts := granted[w]
		if starts == nil {
			waiting = append(waiting, w)
			continue
		}
		w.granted = true
		missing := slices.ContainsFunc(starts, func(s runStart) bool { return s.spec == nil })
		if !missing {
			w.leases <- l.leasesOf(starts, w, now)
			continue
		}
		p, prefetched := l.pool, l.prefetch
		p.eng.env.Go(func() {
			p.readStarts(starts, prefetched)
			w.leases <- p.leasesOf(starts, w, now)
		})
	}
	l.waiters = waiting
}

func (p *pool) leasesOf(starts []runStart, w *waiter, now park.Time) []park.Lease {
	leases := make([]park.Lease, 0, len(starts))
	for _, s := range starts {
		if s.spec == nil {
			continue
		}
		leases = append(leases, park.Lease{
			LeaseID: lot.LeaseID(p.ID, s.Attempt, w.request.Secret, s.TaskID), TaskID: s.TaskID, PoolID: p.ID,
			Tenant: s.spec.Tenant, Attempt: s.Attempt, Units: s.spec.Units, Payload: s.spec.Payload,
			Command: s.spec.Command, WorkDir: s.spec.WorkDir, TimeoutSecs: park.Seconds(s.spec.Timeout / time.Second),
			ExpiresAt: park.At(now.Add(w.request.TTL)),
		})
	}
	return leases
}
