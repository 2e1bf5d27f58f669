package lot

import "time"

// This file is for pools that several nodes share. Nothing here is part of the pool's state, so nothing here makes a step.

// ExpiredLeases returns by task the leases that the next Apply at now would end because they were not renewed.
func (l *Lot) ExpiredLeases(now Instant) map[string]string {
	due := make(map[string]string)
	for _, t := range l.leases.heap {
		if e := l.tasks.at(t.ref); e.run.leaseEnd <= now.Mono {
			due[e.id] = e.run.lease
		}
	}
	return due
}

// ExtendLease makes a lease last for ttl from now on, because its worker has renewed it on another node.
func (l *Lot) ExtendLease(task, lease string, ttl time.Duration, now Instant) {
	e := l.tasks.find(task)
	if e == nil || e.phase != running || e.run.lease != lease {
		return
	}
	e.run.ttl, e.run.leaseEnd = ttl, now.Mono+ttl
	l.leases.remove(e)
	l.leases.add(e, int64(e.run.endsAt()))
}

// TasksByNode returns the running tasks by node, in the order of [Lot.RunningTasks].
func (l *Lot) TasksByNode() map[string][]string {
	nodes := make(map[string][]string)
	for _, id := range l.RunningTasks() {
		node := l.tasks.find(id).run.node
		nodes[node] = append(nodes[node], id)
	}
	return nodes
}
