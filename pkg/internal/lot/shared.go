package lot

import "time"

// What follows is for a pool that several nodes share. None of it is part of the pool's state, so none of it makes
// a step.

// ExpiredLeases returns the leases by task that the next Apply at now would end because they were not kept.
func (l *Lot) ExpiredLeases(now Instant) map[string]string {
	due := make(map[string]string)
	for _, t := range l.leases.heap {
		if e := l.tasks.at(t.ref); e.run.leaseEnd <= now.Mono {
			due[e.id] = e.run.lease
		}
	}
	return due
}

// ExtendLease lets a lease live for ttl from now on, because its worker kept it at another node.
func (l *Lot) ExtendLease(task, lease string, ttl time.Duration, now Instant) {
	e := l.tasks.find(task)
	if e == nil || e.phase != running || e.run.lease != lease {
		return
	}
	e.run.ttl, e.run.leaseEnd = ttl, now.Mono+ttl
	l.leases.remove(e)
	l.leases.add(e, int64(e.run.endsAt()))
}

// TasksByNode returns the nodes that tasks run on, each with its tasks in the order of [Lot.RunningTasks].
func (l *Lot) TasksByNode() map[string][]string {
	nodes := make(map[string][]string)
	for _, id := range l.RunningTasks() {
		node := l.tasks.find(id).run.node
		nodes[node] = append(nodes[node], id)
	}
	return nodes
}
