package lot

import "github.com/parkd-dev/parkd/pkg/park"

// Oldest returns when the task was submitted that was submitted first of those that come next in their classes; zero where
// no class has one. It takes the same time however many are parked.
func (l *Lot) Oldest() park.Time {
	var oldest int64
	for i := range l.classes {
		c := &l.classes[i]
		if c.live == 0 {
			continue
		}
		k := c.chunks[0]
		if at := l.tasks.at(k.slots[c.lead()]).submitted; oldest == 0 || at < oldest {
			oldest = at
		}
	}
	return park.FromMicro(oldest)
}
