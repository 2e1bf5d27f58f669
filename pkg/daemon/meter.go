package daemon

import (
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/executor/httpcall"
	"github.com/parkd-dev/parkd/pkg/executor/simulate"
	"github.com/parkd-dev/parkd/pkg/park"
)

// meter implements [engine.Meter] with Prometheus metrics.
type meter struct {
	events, defers, ended, rejected, retried, failed *family // counters
	commits, ops, waits, runs                        *family // histograms
}

func newMeter() *meter {
	return &meter{
		events:   counter("parkd_events_total", "Audit events by pool and action.", "action", "pool"),
		defers:   counter("parkd_starts_deferred_total", "Starts that this daemon deferred because it lacked resources, by pool and reason.", "pool", "reason"),
		ended:    counter("parkd_tasks_ended_total", "Ended tasks by status and reason; other stands for reasons that parkd did not set.", "pool", "reason", "status"),
		rejected: counter("parkd_rejections_total", "Submissions that a pool refused, by code.", "code", "pool"),
		retried:  counter("parkd_steps_retried_total", "Steps that were retried: conflict, in_doubt or refused.", "reason", "store"),
		failed:   counter("parkd_store_errors_total", "Failed store operations: step, beat, outbox, delivery or read.", "asked", "store"),
		commits:  histogram(buckets(0.00005, 2, 18), "parkd_commit_duration_seconds", "Time to make one step durable.", "pool"),
		ops:      histogram(buckets(1, 2, 10), "parkd_step_operations", "Operations that shared one step.", "pool"),
		waits:    histogram(buckets(0.001, 4, 12), "parkd_parked_duration_seconds", "Time that tasks were parked before they started.", "pool"),
		runs:     histogram(buckets(0.01, 3, 15), "parkd_run_duration_seconds", "Run time of the runs that ended their tasks.", "pool", "status"),
	}
}

func (m *meter) families() []*family {
	return []*family{m.events, m.commits, m.ops, m.waits, m.defers, m.ended, m.rejected, m.retried, m.failed, m.runs}
}

// StepCommitted implements [engine.Meter].
func (m *meter) StepCommitted(pool string, ops int, commit time.Duration) {
	m.commits.observe(commit.Seconds(), pool)
	m.ops.observe(float64(ops), pool)
}

// Events implements [engine.Meter].
func (m *meter) Events(pool string, action park.Action, n int) {
	m.events.add(n, string(action), pool)
}

// QueueWait implements [engine.Meter].
func (m *meter) QueueWait(pool string, wait time.Duration) {
	m.waits.observe(wait.Seconds(), pool)
}

// StartDeferred implements [engine.Meter].
func (m *meter) StartDeferred(pool, reason string) {
	m.defers.add(1, pool, reason)
}

// RunTime implements [engine.Meter].
func (m *meter) RunTime(pool string, status park.Status, took time.Duration) {
	m.runs.observe(took.Seconds(), pool, string(status))
}

// TaskEnded implements [engine.Meter].
func (m *meter) TaskEnded(pool string, status park.Status, reason string) {
	m.ended.add(1, pool, known(reason), string(status))
}

// Rejected implements [engine.Meter].
func (m *meter) Rejected(pool string, code park.Code) {
	m.rejected.add(1, string(code), pool)
}

// StepRetried implements [engine.Meter].
func (m *meter) StepRetried(store park.Backend, why engine.RetryReason) {
	m.retried.add(1, string(why), string(store))
}

// StoreFailed implements [engine.Meter].
func (m *meter) StoreFailed(store park.Backend, what engine.StoreRequest) {
	m.failed.add(1, string(what), string(store))
}

// known returns the reason if it is one of parkd's, else "other". Workers may give any reason, and each would be a series of its
// own for ever.
func known(reason string) string {
	if reason == "" || slices.Contains([]string{
		park.ReasonExitNonzero, park.ReasonTimeout, park.ReasonExecutorError, park.ReasonNodeLost, park.ReasonWorkerLost,
		park.ReasonDeadlinePassed, park.ReasonCancelled, park.ReasonShutdown, park.ReasonResultTooLarge, park.ReasonStartDeferred,
		httpcall.ReasonStatus, httpcall.ReasonTooLarge, simulate.ReasonRequested,
	}, reason) {
		return reason
	}
	return "other"
}
