package daemon

import (
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parkd-dev/parkd/pkg/api"
)

// entrance measures what comes in: requests, connections, and which pools take work.
type entrance struct {
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	build     *prometheus.GaugeVec
	doors     map[string]*door
	troubles  func() map[string]error    // set before anybody reads the metrics
	held      func() map[string]api.Held // by way in
}

func newEntrance(version string, doors map[string]*door) *entrance {
	e := &entrance{
		requests: requestsTotal.counter(), durations: requestSeconds.histogram(prometheus.ExponentialBuckets(0.0005, 2, 15)),
		build: buildInfo.gauge(), doors: doors,
	}
	e.build.WithLabelValues(version, runtime.Version()).Set(1)
	return e
}

func (e *entrance) collectors() []prometheus.Collector {
	return []prometheus.Collector{e, e.requests, e.durations, e.build}
}

// observe is [api.Config.Observe].
func (e *entrance) observe(route, method string, status int, took time.Duration, lasting bool) {
	e.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
	if !lasting {
		e.durations.WithLabelValues(route, method).Observe(took.Seconds())
	}
}

// Describe implements [prometheus.Collector].
func (e *entrance) Describe(to chan<- *prometheus.Desc) {
	for _, m := range []metric{connectionsOpen, connsRefused, poolReady, requestsHeld} {
		to <- m.desc()
	}
}

// Collect implements [prometheus.Collector].
func (e *entrance) Collect(to chan<- prometheus.Metric) {
	for way, door := range e.doors {
		open, refused := door.counts()
		to <- connectionsOpen.now(float64(open), way)
		to <- prometheus.MustNewConstMetric(connsRefused.desc(), prometheus.CounterValue, float64(refused), way)
	}
	for way, held := range e.held() {
		to <- requestsHeld.now(float64(held.Waits), way, "waits")
		to <- requestsHeld.now(float64(held.Streams), way, "streams")
		to <- requestsHeld.now(float64(held.Logs), way, "logs")
	}
	for pool, err := range e.troubles() {
		to <- poolReady.now(flag(err == nil), pool)
	}
}
