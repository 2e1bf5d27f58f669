package daemon

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// The runtime's own settings cost more. On a quiet machine a load of 20,000 short tasks on a file takes 10.7 s of processor
// time with the pacing below, 12.2 s with GOGC=100 and 13.7 s with GOGC=50 (parkd loadtest -n 20000 --backend file
// --work 100us -u 1000, medians of 4 runs in turn).

// spare is how much a small heap may grow before it is collected. A daemon under load makes a hundred megabytes of garbage a
// second around a heap of a few, and the usual doubling would collect it thirty times a second. A larger heap may grow less,
// down to a quarter of what is live: a million parked tasks must not take twice the memory that they need.
const spare = 96 << 20

// paceCollector sets after each collection how much garbage the process makes before the next one. It does nothing if the
// environment says how the collector is to run.
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
