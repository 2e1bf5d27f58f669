package daemon

import "strings"

// metric is the name of a metric. All of them are here; docs/operations.md says which are per node and which per pool.
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
	poolDeferring    metric = "parkd_pool_starts_deferred"
	storeUp          metric = "parkd_store_up"
	heartbeatAge     metric = "parkd_beat_age_seconds"
	liveNodes        metric = "parkd_nodes"
	storeConnections metric = "parkd_store_connections"
	storeConnsMax    metric = "parkd_store_max_connections"
	snapshotSeconds  metric = "parkd_store_oldest_snapshot_seconds"
	snapshotBehind   metric = "parkd_store_oldest_snapshot_transactions"
	outboxEntries    metric = "parkd_outbox_parcels"
	outboxSeconds    metric = "parkd_outbox_oldest_seconds"
	requestsTotal    metric = "parkd_http_requests_total"
	requestSeconds   metric = "parkd_http_request_duration_seconds"
	requestsHeld     metric = "parkd_requests_held"
	connectionsOpen  metric = "parkd_connections"
	connsRefused     metric = "parkd_connections_refused_total"
	buildInfo        metric = "parkd_build_info"
)

// describe returns the help text of a metric, and the names of its labels.
func (m metric) describe() (help string, labels []string) {
	of := func(labels ...string) []string { return labels }
	switch m {
	case eventsTotal:
		return "Audit events by pool and action.", of("action", "pool")
	case commitSeconds:
		return "Time to make one step durable.", of("pool")
	case stepOperations:
		return "Operations that shared one step.", of("pool")
	case parkedSeconds:
		return "Time that tasks were parked before they started.", of("pool")
	case startsDeferred:
		return "Starts that this daemon deferred because it lacked resources, by pool and reason.", of("pool", "reason")
	case runSeconds:
		return "Run time of the runs that ended their tasks.", of("pool", "status")
	case tasksEnded:
		return "Ended tasks by status and reason; other stands for reasons that parkd did not set.", of("pool", "reason", "status")
	case rejectionsTotal:
		return "Submissions that a pool refused, by code.", of("code", "pool")
	case stepsRetried:
		return "Steps that were retried: conflict, in_doubt or refused.", of("reason", "store")
	case storeErrors:
		return "Failed store operations: step, beat, outbox, delivery or read.", of("asked", "store")
	default:
		return m.describeState()
	}
}

// describeState is describe for metrics of pools, stores and nodes.
func (m metric) describeState() (help string, labels []string) {
	of := func(labels ...string) []string { return labels }
	switch m {
	case maxUnits:
		return "Capacity in units.", of("pool")
	case usedUnits:
		return "Units in use by running tasks.", of("pool")
	case runningTasks:
		return "Running tasks.", of("pool")
	case parkedTasks:
		return "Parked tasks.", of("pool")
	case maxQueueDepth:
		return "Maximum number of parked tasks.", of("pool")
	case poolHalted:
		return "1 if the pool has halted because its invariants were broken.", of("pool")
	case poolReady:
		return "1 if this node accepts tasks for the pool; 0 if its store is unavailable, or the pool has halted.", of("pool")
	case runningHere:
		return "Running tasks on this node.", of("pool")
	case oldestParked:
		return "Age of the oldest task that is next in its priority class.", of("pool")
	case poolDeferring:
		return "1 while this node defers starts because it lacks resources.", of("pool")
	case storeUp:
		return "1 if the last operation and the last read of the store succeeded.", of("store")
	case heartbeatAge:
		return "Time since the last heartbeat of this node.", of("store")
	case liveNodes:
		return "Live nodes, as of this node's last heartbeat.", of("store")
	default:
		return m.describeConnections()
	}
}

// describeConnections is describe for connections, outboxes and requests.
func (m metric) describeConnections() (help string, labels []string) {
	of := func(labels ...string) []string { return labels }
	switch m {
	case storeConnections:
		return "Connections of this node to Postgres: idle or in_use.", of("state", "store")
	case storeConnsMax:
		return "Maximum number of connections of this node to Postgres.", of("store")
	case snapshotSeconds:
		return "Age of the oldest transaction that keeps Postgres from removing old rows.", of("store")
	case snapshotBehind:
		return "Transactions since the oldest snapshot that keeps Postgres from removing old rows.", of("store")
	case outboxEntries:
		return "Outbox messages that this node's relay found waiting, up to one batch.", of("dest", "store")
	case outboxSeconds:
		return "Age of the oldest outbox message that this node's relay found waiting.", of("dest", "store")
	case requestsTotal:
		return "Answered requests by route, method and status.", of("code", "method", "route")
	case requestSeconds:
		return "Time to answer requests that neither wait nor stream.", of("method", "route")
	case requestsHeld:
		return "Open long-lived requests: waits, streams or logs.", of("kind", "way")
	case connectionsOpen:
		return "Open connections: tcp or unix.", of("way")
	case connsRefused:
		return "Connections refused because all were in use.", of("way")
	case buildInfo:
		return "1, with the version of the daemon and of Go.", of("goversion", "version")
	default:
		panic("daemon: unknown metric " + string(m))
	}
}

// kind is the type of a metric in Prometheus' terms.
func (m metric) kind() string {
	switch m {
	case commitSeconds, stepOperations, parkedSeconds, runSeconds, requestSeconds:
		return "histogram"
	default:
		if strings.HasSuffix(string(m), "_total") {
			return "counter"
		}
		return "gauge"
	}
}

// boolValue is the value of a gauge that is 1 for yes and 0 for no.
func boolValue(on bool) float64 {
	if on {
		return 1
	}
	return 0
}
