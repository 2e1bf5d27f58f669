package lot

import (
	"math"

	"github.com/parkd-dev/parkd/pkg/park"
)

// OldestSubmission returns when the task was submitted that was submitted first of those that come next in their classes; zero where
// no class has one. It takes the same time however many are parked.
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
