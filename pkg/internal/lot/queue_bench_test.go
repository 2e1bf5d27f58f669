package lot

import (
	"testing"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// BenchmarkQueue parks 10,000 tasks of all priorities and removes them in order: the queue alone.
func BenchmarkQueue(b *testing.B) {
	const n = 10_000
	var all tasks
	refs := make([]*entry, n)
	for i := range refs {
		refs[i] = all.allocate()
		refs[i].priority, refs[i].units, refs[i].rank, refs[i].phase = park.Priorities()[i%4], 1, int64(i), waiting
	}
	for b.Loop() {
		l := Lot{tasks: all, row: ledger.Pool{MaxUnits: 1}}
		for _, e := range refs {
			l.class(e.priority).insert(e)
		}
		for range n {
			e := l.nextTask()
			l.class(e.priority).remove(e)
		}
	}
}
