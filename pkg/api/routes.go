package api

import (
	"net/http"
	"reflect"

	"github.com/parkd-dev/parkd/pkg/internal/wire"
	"github.com/parkd-dev/parkd/pkg/park"
)

// route is one method and path of the API.
type route struct {
	method       string
	path         string // in the syntax of [http.ServeMux]
	summary      string
	operatorOnly bool     // concerns whole pools: forbidden for tokens that are bound to a tenant
	public       bool     // needs no authentication; see caller
	query        []string // names of query parameters, see parameters
	body         reflect.Type
	required     bool         // the body is required
	maxBody      int64        // maximum size of the body in bytes; 0 for [Limits.MaxBody]
	status       int          // of a successful answer; 0 for 200
	answer       reflect.Type // nil if the answer is not JSON; see content
	content      string
	headers      []header // of a successful answer
	handle       func(*call) error
}

const metricsPath = "/metrics"

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

// routes returns the complete table of routes.
func routes(l Limits) []*route {
	all := table(l)
	for _, rt := range all {
		if rt.status == 0 {
			rt.status = http.StatusOK
		}
		if rt.maxBody == 0 {
			rt.maxBody = l.MaxBody
		}
	}
	return all
}

func table(l Limits) []*route {
	return []*route{
		{
			method: http.MethodPost, path: "/pools/{poolId}/tasks", summary: "Submit a task: it starts at once or is parked",
			body: typeOf[park.Submission](), status: http.StatusAccepted, answer: typeOf[park.Accepted](), handle: (*call).submit,
		},
		{
			method: http.MethodPost, path: "/pools/{poolId}/tasks:batch", summary: "Submit many tasks; each has its own result",
			body: typeOf[batch](), required: true, maxBody: l.MaxBatch, answer: typeOf[batchAnswer](), handle: (*call).submitBatch,
		},
		{
			method: http.MethodGet, path: "/pools/{poolId}/tasks", summary: "List a pool's tasks, newest first",
			query: []string{"status", "tenant", "limit", "cursor"}, answer: typeOf[park.TaskPage](), handle: (*call).listTasks,
		},
		{
			method: http.MethodGet, path: "/pools/{poolId}/tasks/{taskId}", summary: "Read a task; with wait, once it has ended",
			query: []string{"wait"}, answer: typeOf[park.Task](), handle: (*call).getTask,
		},
		{
			method: http.MethodDelete, path: "/pools/{poolId}/tasks/{taskId}", summary: "Cancel a task",
			answer: typeOf[park.Task](), handle: (*call).cancelTask,
		},
		{
			method: http.MethodGet, path: "/pools/{poolId}/tasks/{taskId}/log", summary: "Read the output of a task's command",
			query: []string{"follow", "attempt", "offset"}, headers: logHeaders(), content: "text/plain; charset=utf-8", handle: (*call).readLog,
		},
		{
			method: http.MethodGet, path: "/pools", summary: "List all pools", answer: typeOf[poolList](), handle: (*call).listPools,
		},
		{
			method: http.MethodGet, path: "/pools/{poolId}", summary: "Read a pool", answer: typeOf[park.Pool](), handle: (*call).getPool,
		},
		{
			method: http.MethodPatch, path: "/pools/{poolId}", summary: "Change a pool's state or limits", operatorOnly: true,
			body: typeOf[park.PoolPatch](), required: true, answer: typeOf[park.Pool](), handle: (*call).patchPool,
		},
		{
			method: http.MethodGet, path: "/mailbox/{tenant}/{mailboxKey}", summary: "Read a mailbox, oldest message first; removes nothing",
			query: []string{"since", "limit", "wait"}, answer: typeOf[park.MessagePage](), handle: (*call).readMailbox,
		},
		{
			method: http.MethodDelete, path: "/mailbox/{tenant}/{mailboxKey}", summary: "Remove messages, up to and including one of them",
			query: []string{"upTo"}, status: http.StatusNoContent, handle: (*call).trimMailbox,
		},
		{
			method: http.MethodGet, path: "/audit", summary: "Read the audit log, oldest event first",
			query: []string{"task", "pool", "tenant", "action", "changes", "since", "until", "limit", "cursor"}, answer: typeOf[park.EventPage](), handle: (*call).readAudit,
		},
		{
			method: http.MethodGet, path: "/pools/{poolId}/evidence", summary: "Read how far the stored data of a pool goes, to compare its parts",
			operatorOnly: true, answer: typeOf[park.Evidence](), handle: (*call).evidence,
		},
		{
			method: http.MethodGet, path: "/pools/{poolId}/evidence/events", summary: "Read a pool's stored events, oldest first",
			operatorOnly: true, query: []string{"since", "limit", "cursor"}, content: wire.ContentType, handle: (*call).keptEvents,
		},
		{
			method: http.MethodGet, path: "/pools/{poolId}/evidence/tasks", summary: "Read a pool's stored tasks, newest first",
			operatorOnly: true, query: []string{"limit", "cursor"}, content: wire.ContentType, handle: (*call).keptTasks,
		},
		{
			method: http.MethodGet, path: "/pools/{poolId}/evidence/messages", summary: "Read a pool's stored messages, in the order in which they arrived",
			operatorOnly: true, query: []string{"limit", "cursor"}, content: wire.ContentType, handle: (*call).keptMessages,
		},
		{
			method: http.MethodGet, path: "/events", summary: "Follow the audit log as server-sent events",
			query: []string{"task", "pool", "tenant", "action", "changes", "since", "until", "cursor"}, content: "text/event-stream", handle: (*call).streamEvents,
		},
		{
			method: http.MethodPost, path: "/pools/{poolId}/leases", summary: "Lease tasks", operatorOnly: true,
			body: typeOf[park.LeaseRequest](), answer: typeOf[park.LeasePage](), handle: (*call).lease,
		},
		{
			method: http.MethodPut, path: "/leases/{leaseId}", summary: "Renew a lease", operatorOnly: true,
			body: typeOf[park.KeepRequest](), answer: typeOf[park.Kept](), handle: (*call).keepLease,
		},
		{
			method: http.MethodPost, path: "/leases/{leaseId}/complete", summary: "Complete a lease's task", operatorOnly: true,
			body: typeOf[park.LeaseResult](), required: true, maxBody: l.MaxResult, answer: typeOf[leaseEnded](), handle: (*call).endLease,
		},
		{
			method: http.MethodPost, path: "/leases/{leaseId}/release", summary: "Release a lease whose task has not begun", operatorOnly: true,
			body: typeOf[park.LeaseRelease](), answer: typeOf[leaseReleased](), handle: (*call).releaseLease,
		},
		{method: http.MethodGet, path: "/health", summary: "Read the health of the daemon", answer: typeOf[health](), handle: (*call).health},
		{method: http.MethodGet, path: "/livez", summary: "Check that the process answers", public: true, answer: typeOf[health](), handle: (*call).live},
		{method: http.MethodGet, path: "/readyz", summary: "Check that the daemon accepts work", public: true, answer: typeOf[health](), handle: (*call).ready},
		{method: http.MethodGet, path: metricsPath, summary: "Metrics for Prometheus", operatorOnly: true, content: "text/plain", handle: (*call).metrics},
		{method: http.MethodGet, path: "/openapi.json", summary: "This document", content: "application/json", handle: (*call).document},
	}
}

// header is a header of an answer.
type header struct {
	name string
	text string // its meaning
}

// The headers of a log describe its first byte.
const (
	logAttempt = "Parkd-Log-Attempt"
	logOffset  = "Parkd-Log-Offset"
)

func logHeaders() []header {
	return []header{
		{logAttempt, "The attempt at which the answer begins"},
		{logOffset, "The byte of the attempt at which the answer begins: later than requested if the bytes before it were rotated away"},
	}
}

// parameter is a query parameter.
type parameter struct {
	text     string   // its meaning
	format   string   // of its JSON schema
	words    []string // the allowed values; nil for any
	number   bool
	zero     bool // a number may be 0
	required bool
}

// parameters returns all query parameters. A name means the same everywhere.
func parameters() map[string]parameter {
	return map[string]parameter{
		"status": {text: "Only tasks with this status", words: names(park.Statuses())},
		"tenant": {text: "Only this tenant"},
		"task":   {text: "Only this task"},
		"pool":   {text: "Only this pool"},
		"action": {text: "Only this action", words: names(park.Actions())},
		"limit":  {text: "Maximum number of items; default 100, for messages 50. A page has at most 1000, for events 10000", number: true},
		"cursor": {text: "Continue after this: next of the previous page, or for events an event's id"},
		"wait":   {text: "How long to wait, such as 30s; at most 10m"},
		"changes": {
			text:  "true: also events with the action update: changes of a pool, and requests to stop a running task",
			words: []string{"true", "false"},
		},
		"follow":  {text: "true: continue until the task has ended; with attempt, until that attempt has ended", words: []string{"true", "false"}},
		"attempt": {text: "The attempt whose log to read; default: the latest, and with follow those after it", number: true},
		"offset":  {text: "Skip this many bytes of the attempt. Bytes that were rotated away are skipped in any case, see Parkd-Log-Offset", number: true, zero: true},
		"since":   {text: "Only items from this time on; a mailbox also takes a message id, and begins after it"},
		"until":   {text: "Only items before this time", format: "date-time"},
		"upTo":    {text: "Id of the last message to remove", required: true},
	}
}
