package lot

import (
	"math"

	"github.com/parkd-dev/parkd/pkg/park"
)

// OldestSubmission returns the earliest submission time among the tasks that are next in their classes, or zero if no task
// waits. Its time does not depend on the number of parked tasks.
func (l *Lot) OldestSubmission() park.Time {
	var oldest int64
	for i := range l.classes {
		_, r := l.classes[i].waiting.From(math.MinInt64)
		if r == nil {
			continue
		}
		if at := l.tasks.at(*r).submitted; oldest == 0 || at < oldest {
			oldest = at
		}
	}
	return park.FromMicro(oldest)
}
