package verify_test

import (
	"fmt"
	"strings"
	"testing"
)

const (
	events   = " pl_audit_events "
	rows     = " pl_queue_jobs "
	messages = " pl_mailbox_messages "
)

// doctored is good evidence that was changed by hand.
type doctored struct {
	name string
	how  string // statements, separated by ;
}

// catalogue returns changes that verification must find, in the pool gpu of [live].
func catalogue() []doctored {
	one := func(task string) string { return " WHERE pool_id = 'gpu' AND task_id = '" + task + "' " }
	act := func(task, action string) string { return one(task) + "AND action = '" + action + "' " }
	set := func(table, what, where string) string { return "UPDATE" + table + "SET " + what + where }
	gone := func(table, where string) string { return "DELETE FROM" + table + where }
	const pool = " WHERE pool_id = 'gpu' "
	// A copy of another row with some other columns.
	like := func(table, columns, values, where string) string {
		return "INSERT INTO" + table + "(" + columns + ") SELECT " + values + " FROM" + table + where
	}
	const (
		jobs = "pool_id, task_id, tenant, status, priority, rank, units, attempt, strikes, cancelled, submitted_at, late, started_at, ended_at," +
			" not_before, timeout, lease_ttl, max_attempts, backoff, digest, mailbox_key, node, lease, reason, message, work_dir, result"
		mail = "pool_id, task_id, tenant, mailbox_key, status, reason, message, attempt, created_at, late, trimmed, payload"
	)
	renumbered := "UPDATE" + events + "SET rev = -rev" + pool + ";" +
		"UPDATE" + events + "SET rev = (SELECT count(DISTINCT e.rev) FROM pl_audit_events e WHERE e.pool_id = 'gpu' AND e.rev >= pl_audit_events.rev)" + pool + ";" +
		"UPDATE" + events + "SET ord = -1 - ord" + pool + ";" +
		"UPDATE" + events + "SET ord = (SELECT count(*) FROM pl_audit_events e WHERE e.pool_id = 'gpu' AND e.rev = pl_audit_events.rev AND e.ord > pl_audit_events.ord)" + pool + ";" +
		"UPDATE pl_pools SET rev = (SELECT max(rev) FROM pl_audit_events WHERE pool_id = 'gpu')" + pool
	mark := func(place, pool string, rev int, before string) string {
		return fmt.Sprintf("INSERT INTO pl_marks VALUES ('%s', '%s', %d, %s, 0)", place, pool, rev, before)
	}
	const future = "4102444800000000"
	// Two rows change places.
	swapped := func(table, column, a, b string) string {
		of := func(task string) string { return "(SELECT " + column + " FROM" + table + one(task) + ")" }
		return "CREATE TEMP TABLE place AS SELECT " + of(a) + " AS a, " + of(b) + " AS b;" + set(table, column+" = -1", one(a)) + ";" +
			set(table, column+" = (SELECT a FROM place)", one(b)) + ";" + set(table, column+" = (SELECT b FROM place)", one(a))
	}
	resumed := func(tasks string) string {
		return set(events, `detail = CAST('{"resumed":{"tasks":"`+tasks+`","maxUnits":4,"maxQueueDepth":100,"state":"paused"}}' AS BLOB)`,
			pool+"AND action = 'update' AND CAST(detail AS TEXT) LIKE '%paused%'")
	}
	return []doctored{
		// Marks.
		{"a mark of what is there", mark("events", "gpu", 12, "1")},
		{"a mark of more than is gone", gone(events, pool+"AND rev <= 10") + ";" + mark("events", "gpu", 12, "1")},
		{"a mark of less than is gone", gone(events, pool+"AND rev <= 10") + ";" + mark("events", "gpu", 8, "1")},
		{"another pool's mark", gone(events, pool+"AND rev <= 10") + ";" + mark("events", "cpu", 10, "1")},
		{"a mark of more than there was", gone(events, pool) + ";" + mark("events", "gpu", 1000, "1")},
		{"a mark of all tasks, which are gone", gone(rows, pool+"AND ended_at > 0") + ";" + mark("tasks", "", 0, future)},
		{"a mark of all messages, which are gone", gone(messages, "") + ";" + mark("messages", "", 0, future)},
		{"a mark of a task, which is gone", gone(rows, one("first")) + ";" + mark("tasks", "", 0, "(SELECT max(at) + 1 FROM pl_audit_events"+one("first")+")")},

		// The log as a whole.
		{"the log's last step is cut off", gone(events, pool+"AND rev = (SELECT max(rev) FROM pl_audit_events"+pool+")")},
		{"the log's last ten steps are cut off", gone(events, pool+"AND rev > (SELECT max(rev) - 10 FROM pl_audit_events"+pool+")")},
		{"the whole log is gone", gone(events, pool)},
		{"the log's first step is cut off", gone(events, pool+"AND rev = 1")},
		{"the log's first ten steps are cut off", gone(events, pool+"AND rev <= 10")},
		{"the log of both pools is gone", gone(events, "")},
		{"a step in the middle is gone", gone(events, pool+"AND rev = 12")},
		{"the end of a step is gone", gone(events, act("n2", "start"))},
		{"a life is taken out and the steps are numbered anew", gone(events, one("b3")) + ";" + renumbered},
		{"a life is taken out of the log, the queue and the mailbox, but for the step", gone(events, one("b5")) + ";" + gone(rows, one("b5")) + ";" + gone(messages, one("b5"))},
		{"the end of a life is taken out and the steps are numbered anew", gone(events, act("b3", "complete")) + ";" + renumbered},
		{"a step is told twice", like(events, "pool_id, rev, ord, at, late, rest, lead, action, task_id, tenant, units, attempt, node", "pool_id, rev, ord + 50, at, late, 1, 7, action, task_id, tenant, units, attempt, node", act("b1", "complete"))},
		{"the queue was lost, and its tasks are there", resumed("lost")},
		{"the queue was put back without its log", resumed("older")},
		{"the pool is at a later rev", set(" pl_pools ", "rev = rev + 1", pool)},

		// Lives.
		{"units through a whole life", set(events, "units = 3", one("b1"))},
		{"units of a start", set(events, "units = 2", act("b1", "start"))},
		{"a refusal for a reason that was none", set(events, `detail = CAST('{"code":"queue_full"}' AS BLOB)`, act("huge", "reject"))},
		{"the tenant through a whole life", set(events, "tenant = 'globex'", one("b1"))},
		{"the tenant of an end", set(events, "tenant = 'globex'", act("b1", "complete"))},
		{"a completion is a failure", set(events, "action = 'fail'", act("b1", "complete"))},
		{"a failure is a completion", set(events, "action = 'complete'", act("r2", "fail"))},
		{"an expiry is a cancellation", set(events, "action = 'cancel'", act("late", "expire"))},
		{"a cancellation of a run is a completion", set(events, "action = 'complete'", act("stopped", "cancel"))},
		{"a run was cancelled though nobody asked for it", set(events, "detail = CAST('{}' AS BLOB)", pool+"AND action = 'update' AND CAST(detail AS TEXT) LIKE '%stopped%'")},
		{"the reason of an end", set(events, `detail = CAST('{"reason":"timeout"}' AS BLOB)`, act("r2", "fail"))},
		{"the attempt of an end", set(events, "attempt = 2", act("b1", "complete"))},
		{"the attempts of a whole life", set(events, "attempt = attempt + 1", one("b1")+"AND attempt > 0")},
		{"the node of a start", set(events, "node = 'elsewhere'", act("b1", "start"))},
		{"the time of an end, later", set(events, "at = at + 1", act("b1", "complete"))},
		{"the time of a start, earlier", set(events, "at = at - 1", act("b1", "start"))},
		{"a requeue without loss", set(events, `detail = CAST('{"reason":"exit_nonzero"}' AS BLOB)`, act("again", "requeue"))},
		{"a requeue that is said to count", set(events, `detail = CAST('{"reason":"shutdown","strike":1}' AS BLOB)`, act("again", "requeue"))},
		{"a retry that was not to be", set(events, `detail = CAST('{"priority":"normal","mailbox":"box"}' AS BLOB)`, act("r1", "submit"))},
		{"a retry before its rest was over", set(events, `detail = CAST(replace(CAST(detail AS TEXT), '"notBefore":"20', '"notBefore":"21') AS BLOB)`, act("r1", "requeue"))},
		{"a failure before the last attempt", set(events, `detail = CAST('{"priority":"normal","mailbox":"box","maxAttempts":3}' AS BLOB)`, act("r1", "submit"))},
		{"a start after the deadline", set(events, `detail = CAST('{"priority":"normal","mailbox":"acked","deadline":"2001-01-01T00:00:00Z"}' AS BLOB)`, act("b1", "submit"))},
		{"a deadline that nobody saw to", set(events, `detail = CAST(replace(CAST(detail AS TEXT), '"deadline":"20', '"deadline":"19') AS BLOB)`, act("p3", "submit"))},
		{"an expiry without a deadline", set(events, `detail = CAST('{"priority":"normal","mailbox":"box"}' AS BLOB)`, act("late", "submit"))},
		{"an expiry before the deadline", set(events, `detail = CAST('{"priority":"normal","mailbox":"box","deadline":"2101-01-01T00:00:00Z"}' AS BLOB)`, act("late", "submit"))},
		{"a submission tells nothing", set(events, "detail = NULL", act("b1", "submit"))},
		{"a submission tells what cannot be read", set(events, "detail = x'ff'", act("b1", "submit"))},
		{"no submission tells anything", set(events, "detail = NULL", pool+"AND action = 'submit'")},
		{"the low one started before others", set(events, `detail = CAST('{"priority":"critical","mailbox":"box"}' AS BLOB)`, act("low", "submit"))},
		{"the high one waited for others", set(events, `detail = CAST('{"priority":"low","mailbox":"other"}' AS BLOB)`, act("high", "submit"))},
		{"a start while the pool was paused", set(events, `action = 'start', attempt = 1`, act("p1", "enqueue"))},

		// Tasks.
		{"a task that has ended is gone", gone(rows, one("b1"))},
		{"all tasks that have ended are gone", gone(rows, pool+"AND ended_at > 0")},
		{"a parked task is gone", gone(rows, one("p1")) + ";" + set(" pl_pools ", "queued = queued - 1", pool)},
		{"a task is invented", like(rows, jobs, strings.Replace(jobs, "task_id", "'invented'", 1), one("b1"))},
		{"a parked task is invented", like(rows, jobs, strings.Replace(jobs, "task_id", "'invented'", 1), one("p1")) + ";" + set(" pl_pools ", "queued = queued + 1", pool)},
		{"a task is another pool's", set(rows, "pool_id = 'cpu'", one("b1"))},
		{"a task's status", set(rows, "status = 'failed'", one("b1"))},
		{"a task's units", set(rows, "units = 2", one("b1"))},
		{"a task's tenant", set(rows, "tenant = 'globex'", one("b1"))},
		{"a task's attempt", set(rows, "attempt = 2", one("b1"))},
		{"a task's node", set(rows, "node = 'elsewhere'", one("b1"))},
		{"a task's reason", set(rows, "reason = 'timeout'", one("r2"))},
		{"a task's mailbox", set(rows, "mailbox_key = 'other'", one("b1"))},
		{"a task's priority", set(rows, "priority = 2", one("b1"))},
		{"a task's deadline", set(rows, "deadline = 4102444800000000", one("b1"))},
		{"a task's submission", set(rows, "submitted_at = submitted_at - 1", one("b1"))},
		{"a task's start", set(rows, "started_at = started_at + 1", one("b1"))},
		{"a task's end", set(rows, "ended_at = ended_at + 1", one("b1"))},
		{"a task's result", set(rows, `result = CAST('{"of":"b2"}' AS BLOB)`, one("b5"))},
		{"a task's failed runs", set(rows, "strikes = 0", one("r1"))},
		{"a parked task's failed runs", set(rows, "strikes = 1", one("p1"))},
		{"a task's rest", set(rows, "not_before = not_before + 1", one("r1"))},
		{"a parked task's rest", set(rows, "not_before = 4102444800000000", one("p1"))},
		{"a task was not asked to stop", set(rows, "cancelled = 0", one("stopped"))},
		{"a parked task's result", set(rows, "result = CAST('1' AS BLOB)", one("p1"))},
		{"a parked task's end", set(rows, "ended_at = submitted_at", one("p1"))},
		{"two parked tasks have changed their places", swapped(rows, "rank", "p1", "p3")},
		{"two tasks have changed their places", swapped(rows, "seq", "b1", "b2")},
		{"a parked task's units", set(rows, "units = 2", one("p1"))},
		{"a parked task's priority", set(rows, "priority = 2", one("p1"))},
		{"a parked task's deadline", set(rows, "deadline = NULL", one("p3"))},
		{"a parked task's tenant", set(rows, "tenant = 'globex'", one("p1"))},
		{"a parked task has ended", set(rows, "status = 'completed', ended_at = submitted_at", one("p1"))},
		{"a task that has ended is parked", set(rows, "status = 'queued', ended_at = 0, started_at = 0", one("b1"))},
		{"two tasks have changed their names", set(rows, "task_id = 'x'", one("b1")) + ";" + set(rows, "task_id = 'b1'", one("b2")) + ";" + set(rows, "task_id = 'b2'", one("x"))},
		{"the pool's units in use", set(" pl_pools ", "used = 1", pool)},
		{"the pool's parked tasks", set(" pl_pools ", "queued = queued + 1", pool)},
		{"the pool's time", set(" pl_pools ", "last_at = last_at + 1", pool)},
		{"the pool's capacity is lower", set(" pl_pools ", "max_units = 1", pool)},

		// Messages.
		{"a message is gone", gone(messages, one("b5"))},
		{"all messages of a mailbox are gone", gone(messages, pool+"AND tenant = 'globex'")},
		{"all messages are gone", gone(messages, "")},
		{"all messages of a mailbox are in another", set(messages, "mailbox_key = 'other'", pool+"AND mailbox_key = 'box'")},
		{"all messages of a mailbox are another tenant's", set(messages, "tenant = 'globex'", pool+"AND mailbox_key = 'acked'")},
		{"a message is in another mailbox", set(messages, "mailbox_key = 'box'", one("b5"))},
		{"a message is another tenant's", set(messages, "tenant = 'globex'", one("b5"))},
		{"a message is there twice", like(messages, mail, strings.Replace(mail, "created_at", "created_at + 1", 1), one("b5"))},
		{"a message is of a task that never was", like(messages, mail, strings.Replace(mail, "task_id", "'invented'", 1), one("b5"))},
		{"a message of a task without a mailbox", like(messages, mail, strings.Replace(mail, "task_id", "'quiet'", 1), one("b5"))},
		{"a message of a parked task", like(messages, mail, strings.Replace(mail, "task_id", "'p1'", 1), one("b5"))},
		{"a message's payload", set(messages, `payload = CAST('{"of":"b2"}' AS BLOB)`, one("b5"))},
		{"a message's payload is gone", set(messages, "payload = NULL", one("b5"))},
		{"a message's text", set(messages, "message = 'all is well'", one("r2"))},
		{"a message's status", set(messages, "status = 'failed'", one("b5"))},
		{"a message's attempt", set(messages, "attempt = 2", one("b5"))},
		{"a message's reason", set(messages, "reason = 'timeout'", one("r2"))},
		{"a message's time", set(messages, "created_at = created_at + 1", one("b5"))},
		{"a message is another pool's", set(messages, "pool_id = 'cpu'", one("b5"))},
		{"two messages have changed their places", swapped(messages, "seq", "b5", "b6")},
		{"a message was removed, and those before it were not", set(messages, "trimmed = 1, message = '', payload = NULL", one("b6"))},
		{"a message that its client removed has a payload", set(messages, `payload = CAST('{"of":"b1"}' AS BLOB)`, one("b1"))},
		{"a message that its client removed has a reason", set(messages, "reason = 'timeout'", one("b1"))},
		{"a message that its client removed is gone", gone(messages, one("b1"))},
		{"a message that its client removed was another's", set(messages, "tenant = 'globex'", one("b1"))},
		{"a payload in both places, of another task", set(messages, `payload = CAST('"x"' AS BLOB)`, one("b4")) + ";" + set(messages, `payload = CAST('{"of":"b4"}' AS BLOB)`, one("b5"))},
	}
}

// TestDoctored: every change by hand is found.
func TestDoctored(t *testing.T) {
	copied := good(t)
	for _, d := range catalogue() {
		t.Run(d.name, func(t *testing.T) {
			path := copied(t)
			// As if all migrations had run at once.
			edit(t, path, append(strings.Split(d.how, ";"), "UPDATE pl_migrations SET tstamp = datetime('now')")...)
			a := archived(t, path)
			for _, pool := range []string{"gpu", "cpu"} {
				if o := found(t, a, pool); o != nil {
					t.Log(o)
					return
				}
			}
			t.Error("nothing was found")
		})
	}
}
