package api

import (
	"net/http"
	"reflect"

	"github.com/parkd-dev/parkd/pkg/internal/wire"
	"github.com/parkd-dev/parkd/pkg/park"
)

// route is one thing that can be asked of a daemon.
type route struct {
	method   string
	path     string // as [http.ServeMux] has it
	summary  string
	operator bool     // concerns whole pools: closed to tokens that are bound to a tenant
	open     bool     // may be got by anybody; see caller
	query    []string // names of query parameters, see parameters
	body     reflect.Type
	required bool         // a body
	most     int64        // bytes of a body; 0 for [Limits.MaxBody]
	status   int          // of a good answer; 0 for 200
	answer   reflect.Type // nil where the answer is not JSON: see content
	content  string
	headers  []header // of a good answer
	handle   func(*call) error
	shape    *shape // of the body
}

const metricsPath = "/metrics"

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

// routes returns the table of routes, completed.
func routes(l Limits) []*route {
	all := table(l)
	for _, rt := range all {
		if rt.status == 0 {
			rt.status = http.StatusOK
		}
		if rt.most == 0 {
			rt.most = l.MaxBody
		}
		if rt.body != nil {
			rt.shape = shapeOf(rt.body)
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
			method: http.MethodPost, path: "/pools/{poolId}/tasks:batch", summary: "Submit many tasks; each is answered for itself",
			body: typeOf[batch](), required: true, most: l.MaxBatch, answer: typeOf[batchAnswer](), handle: (*call).submitBatch,
		},
		{
			method: http.MethodGet, path: "/pools/{poolId}/tasks", summary: "List a pool's tasks, newest first",
			query: []string{"status", "tenant", "limit", "cursor"}, answer: typeOf[park.TaskPage](), handle: (*call).listTasks,
		},
		{
			method: http.MethodGet, path: "/pools/{poolId}/tasks/{taskId}", summary: "See a task; with wait, when it has ended",
			query: []string{"wait"}, answer: typeOf[park.Task](), handle: (*call).getTask,
		},
		{
			method: http.MethodDelete, path: "/pools/{poolId}/tasks/{taskId}", summary: "Cancel a task",
			answer: typeOf[park.Task](), handle: (*call).cancelTask,
		},
		{
			method: http.MethodGet, path: "/pools/{poolId}/tasks/{taskId}/log", summary: "Read what a task's command wrote",
			query: []string{"follow", "attempt", "offset"}, headers: logHeaders(), content: "text/plain; charset=utf-8", handle: (*call).readLog,
		},
		{
			method: http.MethodGet, path: "/pools", summary: "See all pools", answer: typeOf[poolList](), handle: (*call).listPools,
		},
		{
			method: http.MethodGet, path: "/pools/{poolId}", summary: "See a pool", answer: typeOf[park.Pool](), handle: (*call).getPool,
		},
		{
			method: http.MethodPatch, path: "/pools/{poolId}", summary: "Change a pool's state or limits", operator: true,
			body: typeOf[park.PoolPatch](), required: true, answer: typeOf[park.Pool](), handle: (*call).patchPool,
		},
		{
			method: http.MethodGet, path: "/mailbox/{tenant}/{mailboxKey}", summary: "Read a mailbox, oldest message first; removes nothing",
			query: []string{"since", "limit", "wait"}, answer: typeOf[park.MessagePage](), handle: (*call).readMailbox,
		},
		{
			method: http.MethodDelete, path: "/mailbox/{tenant}/{mailboxKey}", summary: "Remove messages up to one of them",
			query: []string{"upTo"}, status: http.StatusNoContent, handle: (*call).trimMailbox,
		},
		{
			method: http.MethodGet, path: "/audit", summary: "Read the audit log, oldest event first",
			query: []string{"task", "pool", "tenant", "action", "changes", "since", "until", "limit", "cursor"}, answer: typeOf[park.EventPage](), handle: (*call).readAudit,
		},
		{
			method: http.MethodGet, path: "/pools/{poolId}/evidence", summary: "See how far what is kept of a pool goes, for who holds one part against another",
			operator: true, answer: typeOf[park.Evidence](), handle: (*call).evidence,
		},
		{
			method: http.MethodGet, path: "/pools/{poolId}/evidence/events", summary: "Read a pool's log for that, oldest event first",
			operator: true, query: []string{"since", "limit", "cursor"}, content: wire.ContentType, handle: (*call).keptEvents,
		},
		{
			method: http.MethodGet, path: "/pools/{poolId}/evidence/tasks", summary: "Read what is kept of a pool's tasks, newest first",
			operator: true, query: []string{"limit", "cursor"}, content: wire.ContentType, handle: (*call).keptTasks,
		},
		{
			method: http.MethodGet, path: "/pools/{poolId}/evidence/messages", summary: "Read what is kept of a pool's messages, in the order in which they came",
			operator: true, query: []string{"limit", "cursor"}, content: wire.ContentType, handle: (*call).keptMessages,
		},
		{
			method: http.MethodGet, path: "/events", summary: "Follow the audit log as server-sent events",
			query: []string{"task", "pool", "tenant", "action", "changes", "since", "until", "cursor"}, content: "text/event-stream", handle: (*call).streamEvents,
		},
		{
			method: http.MethodPost, path: "/pools/{poolId}/leases", summary: "Take tasks to work on", operator: true,
			body: typeOf[park.LeaseRequest](), answer: typeOf[park.LeasePage](), handle: (*call).lease,
		},
		{
			method: http.MethodPut, path: "/leases/{leaseId}", summary: "Keep a lease", operator: true,
			body: typeOf[park.KeepRequest](), answer: typeOf[park.Kept](), handle: (*call).keepLease,
		},
		{
			method: http.MethodPost, path: "/leases/{leaseId}/complete", summary: "End a lease's task", operator: true,
			body: typeOf[park.LeaseResult](), required: true, most: l.MaxResult, answer: typeOf[leaseEnded](), handle: (*call).endLease,
		},
		{
			method: http.MethodPost, path: "/leases/{leaseId}/release", summary: "Give a lease back whose task has not begun", operator: true,
			body: typeOf[park.LeaseRelease](), answer: typeOf[leaseReleased](), handle: (*call).releaseLease,
		},
		{method: http.MethodGet, path: "/health", summary: "See whether all is well", answer: typeOf[health](), handle: (*call).health},
		{method: http.MethodGet, path: "/livez", summary: "The process answers", open: true, answer: typeOf[health](), handle: (*call).live},
		{method: http.MethodGet, path: "/readyz", summary: "The daemon takes work", open: true, answer: typeOf[health](), handle: (*call).ready},
		{method: http.MethodGet, path: metricsPath, summary: "Measurements for Prometheus", operator: true, content: "text/plain", handle: (*call).metrics},
		{method: http.MethodGet, path: "/openapi.json", summary: "This document", content: "application/json", handle: (*call).document},
	}
}

// header is one that an answer has.
type header struct {
	name string
	text string // what it means
}

// The headers of a log are about its first byte.
const (
	logAttempt = "Parkd-Log-Attempt"
	logOffset  = "Parkd-Log-Offset"
)

func logHeaders() []header {
	return []header{
		{logAttempt, "The attempt that the answer begins with"},
		{logOffset, "The byte of the attempt at which the answer begins: more than was asked for if the bytes before were rotated away"},
	}
}

// parameter is a query parameter.
type parameter struct {
	text     string   // what it means
	format   string   // of its JSON schema
	words    []string // that it may be; nil for any
	number   bool
	zero     bool // a number may be 0
	required bool
}

// parameters returns all query parameters: one name means one thing everywhere.
func parameters() map[string]parameter {
	return map[string]parameter{
		"status": {text: "Only tasks of this status", words: names(park.Statuses())},
		"tenant": {text: "Only this tenant"},
		"task":   {text: "Only this task"},
		"pool":   {text: "Only this pool"},
		"action": {text: "Only this action", words: names(park.Actions())},
		"limit":  {text: "At most so many; default 100, of messages 50. A page holds no more than 1000, of events 10000", number: true},
		"cursor": {text: "Read on after this: the next of the page before, or for events an event's id"},
		"wait":   {text: "Wait for so long, such as 30s; at most 10m"},
		"changes": {
			text:  "true: with the action update, which tells of changes of a pool and of running tasks that are asked to stop",
			words: []string{"true", "false"},
		},
		"follow":  {text: "true: go on until the task has ended; with attempt until that one is over", words: []string{"true", "false"}},
		"attempt": {text: "The attempt whose log is read; default: the latest, and with follow those after it", number: true},
		"offset":  {text: "Leave out so many bytes of the attempt. What was rotated away is left out in any case, see Parkd-Log-Offset", number: true, zero: true},
		"since":   {text: "Begin at this time; a mailbox also takes a message id, and begins after it"},
		"until":   {text: "End before this time", format: "date-time"},
		"upTo":    {text: "Id of the last message to remove", required: true},
	}
}
