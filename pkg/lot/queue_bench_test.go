package lot

import (
	"testing"

	"github.com/parkd-dev/parkd/pkg/park"
)

// BenchmarkQueue parks 10,000 tasks of all priorities and takes them out in order: the queue alone.
func BenchmarkQueue(b *testing.B) {
	const n = 10_000
	entries := make([]entry, n)
	for i := range entries {
		entries[i] = entry{priority: park.Priorities()[i%4], units: 1, rank: int64(i), where: waiting}
	}
	for b.Loop() {
		l := Lot{}
		for i := range entries {
			l.class(entries[i].priority).insert(&entries[i])
		}
		for range n {
			e := l.next()
			l.class(e.priority).remove(e)
		}
	}
}
