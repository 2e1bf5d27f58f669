package daemon

import "github.com/prometheus/client_golang/prometheus"

// metric is the name of something that is measured. All of them are here; docs/operations.md says which are of a node and
// which of a pool.
type metric string

const (
	eventsTotal      metric = "parkd_events_total"
	commitSeconds    metric = "parkd_commit_duration_seconds"
	stepOperations   metric = "parkd_step_operations"
	parkedSeconds    metric = "parkd_parked_duration_seconds"
	startsDeferred   metric = "parkd_starts_deferred_total"
	runSeconds       metric = "parkd_run_duration_seconds"
	tasksEnded       metric = "parkd_tasks_ended_total"
	rejectionsTotal  metric = "parkd_rejections_total"
	stepsRetried     metric = "parkd_steps_retried_total"
	storeErrors      metric = "parkd_store_errors_total"
	maxUnits         metric = "parkd_pool_max_units"
	usedUnits        metric = "parkd_pool_used_units"
	runningTasks     metric = "parkd_pool_running_tasks"
	parkedTasks      metric = "parkd_pool_parked_tasks"
	maxQueueDepth    metric = "parkd_pool_max_queue_depth"
	poolHalted       metric = "parkd_pool_halted"
	poolReady        metric = "parkd_pool_ready"
	runningHere      metric = "parkd_pool_running_here"
	oldestParked     metric = "parkd_pool_oldest_parked_seconds"
	deferring        metric = "parkd_pool_starts_deferred"
	storeUp          metric = "parkd_store_up"
	beatAge          metric = "parkd_beat_age_seconds"
	livingNodes      metric = "parkd_nodes"
	storeConnections metric = "parkd_store_connections"
	storeConnsMax    metric = "parkd_store_max_connections"
	snapshotSeconds  metric = "parkd_store_oldest_snapshot_seconds"
	snapshotBehind   metric = "parkd_store_oldest_snapshot_transactions"
	outboxParcels    metric = "parkd_outbox_parcels"
	outboxSeconds    metric = "parkd_outbox_oldest_seconds"
	requestsTotal    metric = "parkd_http_requests_total"
	requestSeconds   metric = "parkd_http_request_duration_seconds"
	requestsHeld     metric = "parkd_requests_held"
	connectionsOpen  metric = "parkd_connections"
	connsRefused     metric = "parkd_connections_refused_total"
	buildInfo        metric = "parkd_build_info"
)

// about returns what a metric means, and by what it is told apart.
func (m metric) about() (help string, labels []string) {
	of := func(labels ...string) []string { return labels }
	switch m {
	case eventsTotal:
		return "Audit events by pool and action.", of("pool", "action")
	case commitSeconds:
		return "Time to make one step durable.", of("pool")
	case stepOperations:
		return "Operations that shared one step.", of("pool")
	case parkedSeconds:
		return "Time that started tasks were parked.", of("pool")
	case startsDeferred:
		return "Starts that this daemon put off because it lacked the means, by pool and reason.", of("pool", "reason")
	case runSeconds:
		return "Time of the runs that ended their tasks.", of("pool", "status")
	case tasksEnded:
		return "Ended tasks by status and reason; other for reasons that are not parkd's own.", of("pool", "status", "reason")
	case rejectionsTotal:
		return "Submissions that a pool refused, by code.", of("pool", "code")
	case stepsRetried:
		return "Steps that were decided or sent again: conflict, in_doubt or refused.", of("store", "reason")
	case storeErrors:
		return "What a store did not do: step, beat, outbox, delivery or read.", of("store", "asked")
	default:
		return m.aboutNow()
	}
}

// aboutNow is about for what is read when it is asked for.
func (m metric) aboutNow() (help string, labels []string) {
	of := func(labels ...string) []string { return labels }
	switch m {
	case maxUnits:
		return "Capacity in units.", of("pool")
	case usedUnits:
		return "Units of the running tasks.", of("pool")
	case runningTasks:
		return "Running tasks.", of("pool")
	case parkedTasks:
		return "Parked tasks.", of("pool")
	case maxQueueDepth:
		return "How many tasks may be parked.", of("pool")
	case poolHalted:
		return "1 where the pool has halted because its invariants were broken.", of("pool")
	case poolReady:
		return "1 where this node takes tasks for the pool; 0: its store is away, or it has halted.", of("pool")
	case runningHere:
		return "Runs of this node.", of("pool")
	case oldestParked:
		return "Age of the oldest of the tasks that come next in their classes.", of("pool")
	case deferring:
		return "1 while this node puts starts off because it lacks the means.", of("pool")
	case storeUp:
		return "1 where the store did what it was asked last, and what was read last could be read.", of("store")
	case beatAge:
		return "Time since this node last showed the others that it is alive.", of("store")
	case livingNodes:
		return "Nodes that are alive, by this node's last beat.", of("store")
	default:
		return m.aboutOutside()
	}
}

// aboutOutside is about for connections, other stores and requests.
func (m metric) aboutOutside() (help string, labels []string) {
	of := func(labels ...string) []string { return labels }
	switch m {
	case storeConnections:
		return "Connections of this node to Postgres: idle or in_use.", of("store", "state")
	case storeConnsMax:
		return "Connections that this node may have to Postgres.", of("store")
	case snapshotSeconds:
		return "Age of the oldest transaction that keeps Postgres from removing old rows.", of("store")
	case snapshotBehind:
		return "Transactions since the oldest snapshot that keeps Postgres from removing old rows.", of("store")
	case outboxParcels:
		return "Parcels that this node's relay found waiting, as far as one batch goes.", of("store", "dest")
	case outboxSeconds:
		return "Age of the oldest parcel that this node's relay found waiting.", of("store", "dest")
	case requestsTotal:
		return "Answered requests by route, method and status.", of("route", "method", "code")
	case requestSeconds:
		return "Time to answer requests that neither wait nor stream.", of("route", "method")
	case requestsHeld:
		return "Requests under way that last: waits, streams or logs.", of("way", "kind")
	case connectionsOpen:
		return "Open connections by way in: tcp or unix.", of("way")
	case connsRefused:
		return "Connections that were turned away because all were at work.", of("way")
	case buildInfo:
		return "1, with the version of the daemon and of Go.", of("version", "goversion")
	default:
		panic("daemon: nothing is known of metric " + string(m))
	}
}

func (m metric) counter() *prometheus.CounterVec {
	help, labels := m.about()
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: string(m), Help: help}, labels)
}

func (m metric) gauge() *prometheus.GaugeVec {
	help, labels := m.about()
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: string(m), Help: help}, labels)
}

func (m metric) histogram(buckets []float64) *prometheus.HistogramVec {
	help, labels := m.about()
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: string(m), Help: help, Buckets: buckets}, labels)
}

func (m metric) desc() *prometheus.Desc {
	help, labels := m.about()
	return prometheus.NewDesc(string(m), help, labels, nil)
}

// now returns what a gauge says at the moment.
func (m metric) now(v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(m.desc(), prometheus.GaugeValue, v, labels...)
}

func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}
