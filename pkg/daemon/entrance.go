package daemon

import (
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// entrance measures what comes in: requests, connections, and which pools take work.
type entrance struct {
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	build     *prometheus.GaugeVec
	doors     map[string]*door
	troubles  func() map[string]error // set before anybody reads the metrics
}

func newEntrance(version string, doors map[string]*door) *entrance {
	e := &entrance{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parkd_http_requests_total", Help: "Answered requests by route, method and status.",
		}, []string{"route", "method", "code"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "parkd_http_request_duration_seconds", Help: "Time to answer requests that neither wait nor stream.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}, []string{"route", "method"}),
		build: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "parkd_build_info", Help: "1, with the version of the daemon and of Go.",
		}, []string{"version", "goversion"}),
		doors: doors,
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

type entranceDescs struct{ open, refused, ready *prometheus.Desc }

func describeEntrance() entranceDescs {
	return entranceDescs{
		prometheus.NewDesc("parkd_connections", "Open connections by way in: tcp or unix.", []string{"way"}, nil),
		prometheus.NewDesc("parkd_connections_refused_total", "Connections that were turned away because all were at work.", []string{"way"}, nil),
		prometheus.NewDesc("parkd_pool_ready", "1 where this node takes tasks for the pool; 0: its store is away, or it has halted.", []string{"pool"}, nil),
	}
}

// Describe implements [prometheus.Collector].
func (e *entrance) Describe(to chan<- *prometheus.Desc) {
	d := describeEntrance()
	to <- d.open
	to <- d.refused
	to <- d.ready
}

// Collect implements [prometheus.Collector].
func (e *entrance) Collect(to chan<- prometheus.Metric) {
	d := describeEntrance()
	for way, door := range e.doors {
		open, refused := door.counts()
		to <- prometheus.MustNewConstMetric(d.open, prometheus.GaugeValue, float64(open), way)
		to <- prometheus.MustNewConstMetric(d.refused, prometheus.CounterValue, float64(refused), way)
	}
	for pool, err := range e.troubles() {
		ready := 1.0
		if err != nil {
			ready = 0
		}
		to <- prometheus.MustNewConstMetric(d.ready, prometheus.GaugeValue, ready, pool)
	}
}
