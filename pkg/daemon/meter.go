package daemon

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parkd-dev/parkd/pkg/park"
)

// meter is the engine's meter in Prometheus terms.
type meter struct {
	events  *prometheus.CounterVec
	commits *prometheus.HistogramVec
	ops     *prometheus.HistogramVec
	waits   *prometheus.HistogramVec
	defers  *prometheus.CounterVec
}

func newMeter() *meter {
	return &meter{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parkd_events_total", Help: "Audit events by pool and action.",
		}, []string{"pool", "action"}),
		commits: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "parkd_commit_duration_seconds", Help: "Time to make one step durable.",
			Buckets: prometheus.ExponentialBuckets(0.00005, 2, 18),
		}, []string{"pool"}),
		ops: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "parkd_step_operations", Help: "Operations that shared one step.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}, []string{"pool"}),
		waits: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "parkd_parked_duration_seconds", Help: "Time that started tasks were parked.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 12),
		}, []string{"pool"}),
		defers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parkd_starts_deferred_total", Help: "Starts that this daemon put off because it lacked the means, by pool and reason.",
		}, []string{"pool", "reason"}),
	}
}

func (m *meter) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.events, m.commits, m.ops, m.waits, m.defers}
}

// Stepped implements [engine.Meter].
func (m *meter) Stepped(pool string, ops int, commit time.Duration) {
	m.commits.WithLabelValues(pool).Observe(commit.Seconds())
	m.ops.WithLabelValues(pool).Observe(float64(ops))
}

// Happened implements [engine.Meter].
func (m *meter) Happened(pool string, action park.Action, n int) {
	m.events.WithLabelValues(pool, string(action)).Add(float64(n))
}

// Waited implements [engine.Meter].
func (m *meter) Waited(pool string, wait time.Duration) {
	m.waits.WithLabelValues(pool).Observe(wait.Seconds())
}

// Deferred implements [engine.Meter].
func (m *meter) Deferred(pool, reason string) {
	m.defers.WithLabelValues(pool, reason).Inc()
}
