package main

// The table: what is wanted, and what to say of it.

// row is a line of the table. A figure is good if it is at least, or at most, the limit.
type row struct {
	id      string
	what    string
	limit   float64
	least   bool // the limit is the least that will do
	format  string
	section string
	why     string // what a miss comes from
}

func targets() []row {
	return []row{
		{
			id: "memory", section: "memory", what: "memory, 64 clients, over bare HTTP", limit: 0.75, least: true, format: "%.2f ×",
			why: "of the daemon's time a third is net/http and its system calls, which the bare server has too; beyond it a task costs two passes over its JSON (a sixteenth), the step (a fifth), three handovers between goroutines (request, step, run), and the collector, for in memory the history is the database. What it would take: pooled requests, a run without a context and a timer of its own",
		},
		{
			id: "memory-p99", section: "memory", what: "the same, p99 of a submission over bare HTTP's", limit: 1.3, format: "%.2f ×",
			why: "both ends share the cores, so the p99 of a full machine is the length of its queue and grows as the rate falls; see the row above",
		},
		{
			id: "file", section: "file", what: "file, durable, over bare HTTP", limit: 0.40, least: true, format: "%.2f ×",
			why: "one goroutine writes, and a step of 130 tasks takes it 7 ms. Three fifths of this are SQLite's interpreter and B-trees. Two fifths are its COMMIT, which writes the pages and waits about 1 ms for the flush and then for a CPU. What would help: SQLite in C (1.4 × faster, but needs cgo). Tried and rejected: indexing only the first message of a mailbox among 512 (1.15 × faster with 64 mailboxes; no gain with thousands, where almost every message is a first one, and reading one of those takes eight times as long), the same for jobs (no gain), and storing the next step before the last one is acknowledged (no gain)",
		},
		{
			id: "postgres", section: "postgres", what: "Postgres, one node, durable, over bare HTTP", limit: 0.28, least: true, format: "%.2f ×",
			why: "a step is one call in one backend, which spends 40 to 55 µs a task, a quarter of it on nine index entries; and the daemon waits for it, for the next step is decided on the one before. What it would take: two steps of a pool stored in two sessions at once. Tried and left: to store the next step before the last one is answered (3 to 5 %)",
		},
		{
			id: "postgres-river", section: "postgres", what: "the same, over River's single inserts with work, default settings", limit: 3, least: true, format: "%.1f ×",
			why: "River's rate hangs on its cooldown of 100 ms, parkd's on the processor: see the row above",
		},
		{
			id: "postgres-three", section: "postgres", what: "Postgres, three nodes on one pool, over one node", limit: 0.8, least: true, format: "%.2f ×",
			why: "a node learns of each task of the others, mostly twice: that it runs and that it has ended. This costs about 15 µs of the server and 6 µs of the daemons per task. A node also has only a third of the clients, so a step has half as many tasks, in each of three sessions with their own caches. And one step in seven is decided in vain. What would help: nodes that follow only the totals of the pool and the parked tasks. Tried: letting a node store three or six steps in a row costs as much",
		},
		{
			id: "batch-memory", section: "memory", what: "batches of 100, memory, over single submissions", limit: 3, least: true, format: "%.2f ×",
			why: "a batch spares the HTTP of its tasks, some 30 of 47 µs of each; what is left is the step, the run and the collector, and whatever makes single submissions cheaper makes this ratio smaller",
		},
		{
			id: "batch-file", section: "file", what: "batches of 100, file, over single submissions", limit: 1.5, least: true, format: "%.2f ×",
			why: "a batch saves only HTTP; the inserts are the same, see the row of single submissions",
		},
		{
			id: "batch-postgres", section: "postgres", what: "batches of 100, Postgres, over single submissions", limit: 1.5, least: true, format: "%.2f ×",
			why: "a batch saves only HTTP; the work of the server is the same, see the row of single submissions",
		},
		{
			id: "command", section: "command", what: "one client, idle: submission to the command's first line, file, beyond fork and exec", limit: 15, format: "%.1f ms",
			why: "the command runs under a supervisor that is the program again, whose start takes 5 ms on an idle machine, after a commit and before its own fork",
		},
		{
			id: "across", section: "across", what: "idle submission to one node, start on another, Postgres: p99 over River's tuned idle start", limit: 1.0 / 3, format: "%.2f ×",
			why: "the p99 of sixty starts is the slowest of them: one of its two commits waited for its flush or for a CPU. This appears in both figures. A typical start takes 0.5 ms until the submission's step is decided, 1.2 ms for its commit, 0.4 ms for the notification (which nothing delays), 0.4 ms until the other node has read the change, 1.1 ms for the commit of the start, and 0.3 ms until the work begins. What would help: a start without a commit of its own. The target was set when River's p99 was 17 ms",
		},
		{
			id: "wake-memory", section: "wake", what: "capacity free to next start under load, memory, p99", limit: 2, format: "%.1f ms",
			why: "of this the daemon has some hundredths of a millisecond, 0.1 at the p99 (BenchmarkWake of pkg/engine: from the return of a run to the beginning of the next). The rest is how late the timer of the simulated work is, for the figure is taken from its end: in a process that waits Go's timers go by whole milliseconds, 0.5 late at the median, and on full cores they wait for their turn",
		},
		{
			id: "wake-file", section: "wake", what: "the same, file", limit: 10, format: "%.1f ms",
			why: "the start is committed first, after what is being committed already (BenchmarkWake of pkg/engine); the rest is as in memory",
		},
		{
			id: "wake-postgres", section: "wake", what: "the same, Postgres", limit: 25, format: "%.1f ms",
			why: "the start is committed first, with what came meanwhile; the rest is as in memory",
		},
		{
			id: "lot", section: "lot", what: "scheduler alone: submit, start and complete 10,000", limit: 5, format: "%.2f ms",
			why: "a task makes four events and three rows for the store, 1.5 KB, which are written once into reused memory. With such a small heap, a garbage collection is nearly always running",
		},
		{
			id: "lot-queue", section: "lot", what: "its queue alone: park and take out 10,000", limit: 0.9, format: "%.2f ms",
			why: "the chunks of the ring are made anew",
		},
		{
			id: "parked-lot", section: "lot", what: "cost of an operation, 1,000 to 1,000,000 parked: scheduler alone", limit: 1.5, format: "%.2f ×",
			why: "the hash table of tasks no longer fits into the CPU cache: one cache miss per task, about 250 ns, in a table of 8 MB as well as of 16 MB",
		},
		{
			id: "parked-memory", section: "parked", what: "the same, whole process, memory", limit: 1.5, format: "%.2f ×",
			why: "the collector follows what a million tasks and their history consist of",
		},
		{
			id: "parked-file", section: "parked", what: "the same, file", limit: 1.5, format: "%.2f ×",
			why: "deeper trees, and the collector follows what a million tasks consist of",
		},
		{
			id: "parked-postgres", section: "parked", what: "the same, Postgres", limit: 1.5, format: "%.2f ×",
			why: "deeper trees, and the collector follows what a million tasks consist of",
		},
		{
			id: "resident-file", section: "parked", what: "memory of 1,000,000 parked tasks, payloads on disk, file", limit: 400, format: "%.0f MB",
			why: "170 MB of tasks, 50 MB that the collector leaves, 50 MB of SQLite's pages, and what the load itself just needed",
		},
		{
			id: "resident-file-again", section: "parked", what: "the same after a restart", limit: 400, format: "%.0f MB",
			why: "170 MB of tasks, 50 MB that the collector leaves, and SQLite's pages",
		},
		{
			id: "resident-postgres", section: "parked", what: "the same, Postgres", limit: 400, format: "%.0f MB",
			why: "170 MB of tasks, and what the collector leaves",
		},
		{
			id: "resident-postgres-again", section: "parked", what: "the same after a restart", limit: 400, format: "%.0f MB",
			why: "170 MB of tasks, and what the collector leaves",
		},
		{
			id: "restart-file", section: "parked", what: "restart with 1,000,000 parked until the first start, file, killed", limit: 5, format: "%.1f s",
			why: "reading a million rows through database/sql takes 4 µs a row, half of it conversions. What it would take: reading them as the writer does, without it",
		},
		{
			id: "restart-postgres", section: "parked", what: "the same, Postgres, stopped", limit: 5, format: "%.1f s",
			why: "reading a million rows takes 2 to 3 µs a row on each side",
		},
		{
			id: "audit-file", section: "audit", what: "audit by tenant, task or pool, 10,000,000 events, 100 rows, file, p99", limit: 50, format: "%.1f ms",
			why: "see the detail below",
		},
		{
			id: "audit-file-cold", section: "audit", what: "the same, cold cache", limit: 500, format: "%.0f ms",
			why: "each event of a tenant is a page of its own to read",
		},
		{
			id: "audit-postgres", section: "audit", what: "the same, Postgres, p99", limit: 50, format: "%.1f ms",
			why: "see the detail below",
		},
		{
			id: "audit-postgres-cold", section: "audit", what: "the same, cold cache", limit: 500, format: "%.0f ms",
			why: "each event of a tenant is a page of its own to read",
		},
		{
			id: "retention-file", section: "retention", what: "retention deleting 1,000,000 rows under load, file: p99 of a submission over that without", limit: 2, format: "%.2f ×",
			why: "one writer deletes and inserts",
		},
		{
			id: "retention-postgres", section: "retention", what: "the same, Postgres", limit: 2, format: "%.2f ×",
			why: "what is deleted is vacuumed meanwhile",
		},
		{
			id: "status", section: "small", what: "`parkd status` against a running daemon, whole process", limit: 30, format: "%.1f ms",
			why: "the start of the program",
		},
		{
			id: "start-version", section: "start", what: "processor time of `parkd version`, whole process", limit: 10, format: "%.1f ms",
			why: "a page fault takes 20 to 40 µs on this machine, and there are four times as many as in a Go program that prints a line. Most are in the initialisation of packages that a client does not use, which Go does in every program that has them: modernc.org/sqlite, pgx, viper. What it would take: a second executable, or fewer such packages. Tried and left: to have the kernel map the heap in one call (5 %)",
		},
		{
			id: "start-status", section: "start", what: "the same of `parkd status` against a running daemon", limit: 10, format: "%.1f ms",
			why: "see `parkd version`",
		},
		{
			id: "start-tsp", section: "start", what: "the same over task-spooler's `tsp`", limit: 3, format: "%.1f ×",
			why: "see `parkd version`",
		},
		{
			id: "start-shim", section: "start", what: "processor time of the shim that each command gets, without a job", limit: 10, format: "%.1f ms",
			why: "it begins before those packages are initialised, but after a hundred others that the language puts before it by their paths. What it would take: a package of the shim alone that does not import os/exec (5 ms less)",
		},
		{
			id: "binary", section: "small", what: "binary, stripped", limit: 40, format: "%.1f MB",
			why: "see go version -m",
		},
	}
}

// others are figures without a target.
func others() []row {
	return []row{
		{id: "memory-unnamed", section: "memory", what: "memory, 64 clients, ids made by the daemon, over bare HTTP", format: "%.2f ×"},
		{id: "raw-file", section: "file", what: "file: tasks over rows of raw batched inserts into SQLite", format: "%.2f ×"},
		{id: "raw-postgres", section: "postgres", what: "Postgres: tasks over rows of raw batched inserts", format: "%.2f ×"},
		{id: "river-tuned", section: "peers", what: "Postgres, over River's single inserts with work, tuned", format: "%.2f ×"},
		{id: "river-batches", section: "peers", what: "Postgres, batches of 100, over River's fastest batches of 100 with work", format: "%.2f ×"},
		{id: "asynq", section: "peers", what: "memory, 256 clients, over asynq on Redis without persistence", format: "%.2f ×"},
		{id: "asynq-aof", section: "peers", what: "file, 256 clients, over asynq on Redis, flushed at each write", format: "%.2f ×"},
	}
}
