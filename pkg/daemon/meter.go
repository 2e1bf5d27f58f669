package daemon

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/executor/httpcall"
	"github.com/parkd-dev/parkd/pkg/executor/simulate"
	"github.com/parkd-dev/parkd/pkg/park"
)

// meter is the engine's meter in Prometheus terms.
type meter struct {
	events, defers, ended, rejected, retried, failed *prometheus.CounterVec
	commits, ops, waits, runs                        *prometheus.HistogramVec
}

func newMeter() *meter {
	return &meter{
		events: eventsTotal.counter(), defers: startsDeferred.counter(), ended: tasksEnded.counter(),
		rejected: rejectionsTotal.counter(), retried: stepsRetried.counter(), failed: storeErrors.counter(),
		commits: commitSeconds.histogram(prometheus.ExponentialBuckets(0.00005, 2, 18)),
		ops:     stepOperations.histogram(prometheus.ExponentialBuckets(1, 2, 10)),
		waits:   parkedSeconds.histogram(prometheus.ExponentialBuckets(0.001, 4, 12)),
		runs:    runSeconds.histogram(prometheus.ExponentialBuckets(0.01, 3, 15)),
	}
}

func (m *meter) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.events, m.commits, m.ops, m.waits, m.defers, m.ended, m.rejected, m.retried, m.failed, m.runs}
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

// Ran implements [engine.Meter].
func (m *meter) Ran(pool string, status park.Status, took time.Duration) {
	m.runs.WithLabelValues(pool, string(status)).Observe(took.Seconds())
}

// Ended implements [engine.Meter].
func (m *meter) Ended(pool string, status park.Status, reason string) {
	m.ended.WithLabelValues(pool, string(status), known(reason)).Inc()
}

// Rejected implements [engine.Meter].
func (m *meter) Rejected(pool string, code park.Code) {
	m.rejected.WithLabelValues(pool, string(code)).Inc()
}

// Retried implements [engine.Meter].
func (m *meter) Retried(store park.Backend, why engine.Retry) {
	m.retried.WithLabelValues(string(store), string(why)).Inc()
}

// Failed implements [engine.Meter].
func (m *meter) Failed(store park.Backend, what engine.Asked) {
	m.failed.WithLabelValues(string(store), string(what)).Inc()
}

// known returns a reason that is one of parkd's own. Workers may give any, and each would be a series of its own for ever.
func known(reason string) string {
	if reason == "" || slices.Contains([]string{
		park.ReasonExitNonzero, park.ReasonTimeout, park.ReasonExecutorError, park.ReasonNodeLost, park.ReasonWorkerLost,
		park.ReasonDeadlinePassed, park.ReasonCancelled, park.ReasonShutdown, park.ReasonResultTooLarge, park.ReasonStartDeferred,
		httpcall.ReasonStatus, httpcall.ReasonTooLarge, simulate.ReasonTold,
	}, reason) {
		return reason
	}
	return "other"
}
