package daemon

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// spare is how much a small heap may grow before it is collected: a daemon under load makes a hundred megabytes of garbage a
// second around a heap of a few, and the usual doubling would collect it thirty times a second. A larger heap has less of
// it, down to a quarter of what is live: a million parked tasks must not take twice what they are, and hold little for the
// collector to follow.
const spare = 96 << 20

// paceCollector sets how much garbage the process makes before it is collected, after each collection by what that has
// left. It does nothing where the environment says how that is to be.
func paceCollector() (stop func()) {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if _, set := os.LookupEnv(name); set {
			return func() {}
		}
	}
	var stopped atomic.Bool
	var watch func(was int)
	watch = func(was int) {
		if stopped.Load() {
			return
		}
		if now := growth(liveHeap()); now != was {
			was = now
			debug.SetGCPercent(now)
		}
		afterCollection(func() { watch(was) })
	}
	watch(0)
	return func() { stopped.Store(true) }
}

// afterCollection calls f once after the next collection.
func afterCollection(f func()) {
	sentinel := new([16]byte)
	runtime.AddCleanup(sentinel, func(struct{}) { f() }, struct{}{})
}

func liveHeap() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return s[0].Value.Uint64()
}

// growth returns how much a heap of so many live bytes may grow, in percent of them.
func growth(live uint64) int {
	// The runtime takes no heap for smaller than 4 MiB.
	live = max(live, 4<<20)
	return int(max(spare-min(spare, live/4), live/4) * 100 / live)
}
