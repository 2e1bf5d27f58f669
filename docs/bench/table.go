package main

// The rows of the table: their targets, and why a target is missed.

// row is a row of the table. A figure must be at least, or at most, the limit.
type row struct {
	id      string
	title   string
	limit   float64
	minimum bool // the limit is a minimum
	format  string
	section string
	reason  string // why a target is missed
}

func targets() []row {
	return []row{
		{
			id: "memory", section: "memory", title: "memory, 64 clients, over bare HTTP", limit: 0.75, minimum: true, format: "%.2f ×",
			reason: "a third of the daemon's time is net/http and its system calls, which the bare server has too. Beyond that a task costs two passes over its JSON (a sixteenth), the step (a fifth), three handovers between goroutines (request, step, run), and garbage collection, since the history is in memory. What would help: pooled requests, and a run without its own context and timer",
		},
		{
			id: "memory-p99", section: "memory", title: "the same, p99 of a submission over bare HTTP's", limit: 1.3, format: "%.2f ×",
			reason: "client and server share the cores, so on a full machine the p99 is the length of the queue, and grows as the rate falls; see the row above",
		},
		{
			id: "file", section: "file", title: "file, durable, over bare HTTP", limit: 0.40, minimum: true, format: "%.2f ×",
			reason: "one goroutine writes, and a step of 130 tasks takes it 7 ms. Three fifths of this are SQLite's interpreter and B-trees. Two fifths are its COMMIT, which writes the pages and waits about 1 ms for the flush and then for a CPU. What would help: SQLite in C (1.4 × faster, but needs cgo). Tried and rejected: indexing only the first message of a mailbox among 512 (1.15 × faster with 64 mailboxes; no gain with thousands, where almost every message is a first one, and reading one of those takes eight times as long), the same for jobs (no gain), and storing the next step before the last one is acknowledged (no gain)",
		},
		{
			id: "postgres", section: "postgres", title: "Postgres, one node, durable, over bare HTTP", limit: 0.28, minimum: true, format: "%.2f ×",
			reason: "a step is one call in one server process, which takes 40 to 55 µs per task, a quarter of it for nine index entries. The daemon waits for it, since the next step depends on the one before. What would help: storing two steps of a pool in two sessions at once. Tried and rejected: storing the next step before the last one is acknowledged (3 to 5 %)",
		},
		{
			id: "postgres-river", section: "postgres", title: "the same, over River's single inserts and runs, default settings", limit: 3, minimum: true, format: "%.1f ×",
			reason: "River's rate depends on its cooldown of 100 ms, parkd's on the processor: see the row above",
		},
		{
			id: "postgres-three", section: "postgres", title: "Postgres, three nodes on one pool, over one node", limit: 0.8, minimum: true, format: "%.2f ×",
			reason: "a node reads about each task of the others, mostly twice: when it runs and when it has ended. This costs about 15 µs of the server and 6 µs of the daemons per task. A node also has only a third of the clients, so a step has half as many tasks, in each of three sessions with their own caches. And one step in seven is decided in vain. What would help: nodes that follow only the totals of the pool and the parked tasks. Tried: letting a node store three or six steps in a row costs as much",
		},
		{
			id: "batch-memory", section: "memory", title: "batches of 100, memory, over single submissions", limit: 3, minimum: true, format: "%.2f ×",
			reason: "a batch saves the HTTP of its tasks, about 30 of 47 µs each; the step, the run and the garbage collection remain. Whatever makes single submissions cheaper makes this ratio smaller",
		},
		{
			id: "batch-file", section: "file", title: "batches of 100, file, over single submissions", limit: 1.5, minimum: true, format: "%.2f ×",
			reason: "a batch saves only HTTP; the inserts are the same, see the row of single submissions",
		},
		{
			id: "batch-postgres", section: "postgres", title: "batches of 100, Postgres, over single submissions", limit: 1.5, minimum: true, format: "%.2f ×",
			reason: "a batch saves only HTTP; the work of the server is the same, see the row of single submissions",
		},
		{
			id: "command", section: "command", title: "one idle client: from a submission to the command's first output, file, beyond fork and exec", limit: 15, format: "%.1f ms",
			reason: "the command runs under a supervisor, which is the same program. Its start takes 5 ms on an idle machine, after a commit and before its own fork",
		},
		{
			id: "across", section: "across", title: "idle: from a submission to one node to its start on another, Postgres: p99 over River's, tuned", limit: 1.0 / 3, format: "%.2f ×",
			reason: "the p99 of sixty starts is the slowest of them: one of its two commits waited for its flush or for a CPU. This appears in both figures. A typical start takes 0.5 ms until the submission's step is decided, 1.2 ms for its commit, 0.4 ms for the notification (which nothing delays), 0.4 ms until the other node has read the change, 1.1 ms for the commit of the start, and 0.3 ms until the work begins. What would help: a start without a commit of its own. The target was set when River's p99 was 17 ms",
		},
		{
			id: "wake-memory", section: "wake", title: "from free capacity to the next start under load, memory, p99", limit: 2, format: "%.1f ms",
			reason: "of this the daemon has some hundredths of a millisecond, 0.1 at the p99 (BenchmarkWake of pkg/engine: from the return of a run to the beginning of the next). The rest is how late the timer of the simulated work is, for the figure is taken from its end: in a process that waits Go's timers go by whole milliseconds, 0.5 late at the median, and on full cores they wait for their turn",
		},
		{
			id: "wake-file", section: "wake", title: "the same, file", limit: 10, format: "%.1f ms",
			reason: "the start is committed first, after what is being committed already (BenchmarkWake of pkg/engine); the rest is as in memory",
		},
		{
			id: "wake-postgres", section: "wake", title: "the same, Postgres", limit: 25, format: "%.1f ms",
			reason: "the start is committed first, with what came meanwhile; the rest is as in memory",
		},
		{
			id: "lot", section: "lot", title: "scheduler alone: submit, start and complete 10,000", limit: 5, format: "%.2f ms",
			reason: "a task makes four events and three rows for the store, 1.5 KB, which are written once into reused memory. With such a small heap, a garbage collection is nearly always running",
		},
		{
			id: "lot-queue", section: "lot", title: "its queue alone: park and remove 10,000", limit: 0.9, format: "%.2f ms",
			reason: "the chunks of the ring are allocated again",
		},
		{
			id: "parked-lot", section: "lot", title: "cost of an operation with 1,000,000 tasks parked over that with 1,000: scheduler alone", limit: 1.5, format: "%.2f ×",
			reason: "the hash table of tasks no longer fits into the CPU cache: one cache miss per task, about 250 ns, in a table of 8 MB as well as of 16 MB",
		},
		{
			id: "parked-memory", section: "parked", title: "the same, whole process, memory", limit: 1.5, format: "%.2f ×",
			reason: "the garbage collector scans a million tasks and their history",
		},
		{
			id: "parked-file", section: "parked", title: "the same, file", limit: 1.5, format: "%.2f ×",
			reason: "deeper B-trees, and the garbage collector scans a million tasks",
		},
		{
			id: "parked-postgres", section: "parked", title: "the same, Postgres", limit: 1.5, format: "%.2f ×",
			reason: "deeper B-trees, and the garbage collector scans a million tasks",
		},
		{
			id: "resident-file", section: "parked", title: "memory of 1,000,000 parked tasks, payloads on disk, file", limit: 400, format: "%.0f MB",
			reason: "170 MB for tasks, 50 MB of garbage, 50 MB of SQLite's pages, and memory that the load has just used",
		},
		{
			id: "resident-file-again", section: "parked", title: "the same after a restart", limit: 400, format: "%.0f MB",
			reason: "170 MB for tasks, 50 MB of garbage, and SQLite's pages",
		},
		{
			id: "resident-postgres", section: "parked", title: "the same, Postgres", limit: 400, format: "%.0f MB",
			reason: "170 MB for tasks, and garbage",
		},
		{
			id: "resident-postgres-again", section: "parked", title: "the same after a restart", limit: 400, format: "%.0f MB",
			reason: "170 MB for tasks, and garbage",
		},
		{
			id: "restart-file", section: "parked", title: "from a restart with 1,000,000 parked to the first start, file, killed", limit: 5, format: "%.1f s",
			reason: "reading a million rows through database/sql takes 4 µs per row, half of it for conversions. What would help: reading them without database/sql, as the writer does",
		},
		{
			id: "restart-postgres", section: "parked", title: "the same, Postgres, stopped", limit: 5, format: "%.1f s",
			reason: "reading a million rows takes 2 to 3 µs per row on each side",
		},
		{
			id: "audit-file", section: "audit", title: "audit by tenant, task or pool, 10,000,000 events, 100 rows, file, p99", limit: 50, format: "%.1f ms",
			reason: "see the detail below",
		},
		{
			id: "audit-file-cold", section: "audit", title: "the same, cold cache", limit: 500, format: "%.0f ms",
			reason: "each event of a tenant is on a different page",
		},
		{
			id: "audit-postgres", section: "audit", title: "the same, Postgres, p99", limit: 50, format: "%.1f ms",
			reason: "see the detail below",
		},
		{
			id: "audit-postgres-cold", section: "audit", title: "the same, cold cache", limit: 500, format: "%.0f ms",
			reason: "each event of a tenant is on a different page",
		},
		{
			id: "retention-file", section: "retention", title: "p99 of a submission while retention deletes 1,000,000 rows, over that without, file", limit: 2, format: "%.2f ×",
			reason: "a single writer both deletes and inserts",
		},
		{
			id: "retention-postgres", section: "retention", title: "the same, Postgres", limit: 2, format: "%.2f ×",
			reason: "deleted rows are vacuumed at the same time",
		},
		{
			id: "status", section: "small", title: "`parkd status` against a running daemon, whole process", limit: 30, format: "%.1f ms",
			reason: "the start of the program",
		},
		{
			id: "start-version", section: "start", title: "processor time of `parkd version`, whole process", limit: 10, format: "%.1f ms",
			reason: "a page fault takes 20 to 40 µs on this machine, and there are four times as many as in a Go program that prints a line. Most are in the initialisation of packages that a client does not use (modernc.org/sqlite, pgx, viper), which Go runs in every program that contains them. What would help: a second executable, or fewer such packages. Tried and rejected: mapping the heap in one system call (5 %)",
		},
		{
			id: "start-status", section: "start", title: "the same of `parkd status` against a running daemon", limit: 10, format: "%.1f ms",
			reason: "see `parkd version`",
		},
		{
			id: "start-tsp", section: "start", title: "the same over task-spooler's `tsp`", limit: 3, format: "%.1f ×",
			reason: "see `parkd version`",
		},
		{
			id: "start-shim", section: "start", title: "processor time of the shim of each command, without a job", limit: 10, format: "%.1f ms",
			reason: "it starts before those packages are initialised, but after about a hundred others, which Go initialises earlier because of their paths. What would help: a package for the shim alone that does not import os/exec (5 ms less)",
		},
		{
			id: "binary", section: "small", title: "binary, stripped", limit: 40, format: "%.1f MB",
			reason: "see go version -m",
		},
	}
}

// others returns the rows without a target.
func others() []row {
	return []row{
		{id: "memory-unnamed", section: "memory", title: "memory, 64 clients, ids made by the daemon, over bare HTTP", format: "%.2f ×"},
		{id: "raw-file", section: "file", title: "file: tasks over rows of raw batched inserts into SQLite", format: "%.2f ×"},
		{id: "raw-postgres", section: "postgres", title: "Postgres: tasks over rows of raw batched inserts", format: "%.2f ×"},
		{id: "river-tuned", section: "peers", title: "Postgres, over River's single inserts and runs, tuned", format: "%.2f ×"},
		{id: "river-batches", section: "peers", title: "Postgres, batches of 100, over River's fastest batches of 100 and their runs", format: "%.2f ×"},
		{id: "asynq", section: "peers", title: "memory, 256 clients, over asynq on Redis without persistence", format: "%.2f ×"},
		{id: "asynq-aof", section: "peers", title: "file, 256 clients, over asynq on Redis, flushed after each write", format: "%.2f ×"},
	}
}
