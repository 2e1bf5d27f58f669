package lot

import (
	"math"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// LeaseRequest is a worker that waits for tasks.
type LeaseRequest struct {
	Worker string
	Secret string // makes the lease ids of this demand unguessable
	Max    int    // how many tasks it takes; Apply counts it down
	// MaxBytes is what the submissions of the tasks that it takes may hold together, unless it is one alone; 0: anything. Of a
	// task whose size is not known it takes nothing else beside it.
	MaxBytes int
	TTL      time.Duration

	assignedBytes int // bytes
}

// leaseOverhead is what a lease takes beside the submission, roughly.
const leaseOverhead = 512

// accepts reports whether the demand takes one more task, of the given size.
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

// requestFor returns the index of the demand that takes a task of the given size, -1 where none does.
func (l *Lot) requestFor(size int32) int {
	for i := range l.requests {
		if l.requests[i].accepts(size) {
			return i
		}
	}
	return -1
}

// leaseSize returns what a submission of so many bytes takes of a demand, and is never 0, which is a size not known.
func leaseSize(bytes int) int32 {
	return int32(min(bytes, math.MaxInt32-leaseOverhead)) + leaseOverhead
}

// leaseSizeOf returns the size of a submission. Where no task is leased, nobody asks.
func (l *Lot) leaseSizeOf(s *ledger.Spec) int32 {
	if !l.leased {
		return 0
	}
	return leaseSize(s.Size())
}

// maxSkipped is how many tasks that cost more than the pool has Unsized passes over: there may be a million such.
const maxSkipped = 1000

// UnknownSizes returns how many of the next tasks, of most at most, there are units for, and those among them whose sizes are
// not known: another node took them in, or this one before it was started anew.
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

// SetSize says how many bytes the submission of a live task holds. It is no part of the pool's state: it only says how many
// tasks one demand takes.
func (l *Lot) SetSize(id string, bytes int) {
	if e := l.tasks.find(id); e != nil {
		e.size = leaseSize(bytes)
	}
}
