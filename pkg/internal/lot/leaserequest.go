package lot

import (
	"math"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// LeaseRequest is the request of a worker that waits for tasks.
type LeaseRequest struct {
	Worker string
	Secret string // makes the lease ids of this request unguessable
	Max    int    // how many tasks the worker takes; Apply counts it down
	// MaxBytes bounds the size of the submissions of all its tasks together; 0: no limit. A single task may be larger. A task
	// of unknown size is assigned alone.
	MaxBytes int
	TTL      time.Duration

	assignedBytes int
}

// leaseOverhead is roughly how many bytes a lease has besides the submission.
const leaseOverhead = 512

// accepts reports whether the request takes one more task, of the given size.
func (d *LeaseRequest) accepts(size int32) bool {
	fits := d.MaxBytes == 0 || d.assignedBytes == 0 || size > 0 && d.assignedBytes+int(size) <= d.MaxBytes
	return d.Max > 0 && fits
}

// assign counts a task of the given size.
func (d *LeaseRequest) assign(size int32) {
	d.Max--
	if d.assignedBytes += int(size); size == 0 {
		d.assignedBytes = max(d.MaxBytes, 1)
	}
}

// requestFor returns the index of the first request that accepts a task of the given size, or -1.
func (l *Lot) requestFor(size int32) int {
	for i := range l.requests {
		if l.requests[i].accepts(size) {
			return i
		}
	}
	return -1
}

// leaseSize returns the size of the lease for a submission of this many bytes. It is never 0, which stands for an unknown
// size.
func leaseSize(bytes int) int32 {
	return int32(min(bytes, math.MaxInt32-leaseOverhead)) + leaseOverhead
}

// leaseSizeOf returns the lease size of a submission. If the pool's tasks are not leased, the size is not needed.
func (l *Lot) leaseSizeOf(s *ledger.Spec) int32 {
	if !l.leased {
		return 0
	}
	return leaseSize(s.Size())
}

// maxSkipped bounds how many tasks UnknownSizes skips because they cost more than the pool has: there may be a million.
const maxSkipped = 1000

// UnknownSizes returns how many of the next tasks fit into the free units, at most limit, and the ids of those whose sizes
// are unknown: another node accepted them, or this node did before it was restarted.
func (l *Lot) UnknownSizes(limit int) (next int, ids []string) {
	if l.row.State == park.Paused {
		return 0, nil
	}
	free, skipped := l.row.MaxUnits-l.used, 0
	for i := len(l.classes) - 1; i >= 0; i-- {
		for _, r := range l.classes[i].waiting.All {
			e := l.tasks.at(*r)
			if e.units > l.row.MaxUnits {
				if skipped++; skipped > maxSkipped {
					return next, ids
				}
				continue
			}
			if free -= e.units; free < 0 || next >= limit {
				return next, ids
			}
			if next++; e.size == 0 {
				ids = append(ids, e.id)
			}
		}
	}
	return next, ids
}

// SetSize sets how many bytes the submission of a live task has. The size is no part of the pool's state: it only decides
// how many tasks one request takes.
func (l *Lot) SetSize(id string, bytes int) {
	if e := l.tasks.find(id); e != nil {
		e.size = leaseSize(bytes)
	}
}
