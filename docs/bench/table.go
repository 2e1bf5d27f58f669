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
		{id: "memory", section: "memory", what: "memory, 64 clients, over bare HTTP", limit: 0.75, least: true, format: "%.2f ×"},
		{id: "memory-p99", section: "memory", what: "the same, p99 of a submission over bare HTTP's", limit: 1.3, format: "%.2f ×"},
		{id: "file", section: "file", what: "file, durable, over bare HTTP", limit: 0.40, least: true, format: "%.2f ×"},
		{id: "postgres", section: "postgres", what: "Postgres, one node, durable, over bare HTTP", limit: 0.28, least: true, format: "%.2f ×"},
		{id: "postgres-river", section: "postgres", what: "the same, over River's single inserts with work, default settings", limit: 3, least: true, format: "%.1f ×"},
		{id: "postgres-three", section: "postgres", what: "Postgres, three nodes on one pool, over one node", limit: 0.8, least: true, format: "%.2f ×"},
		{id: "batch-memory", section: "memory", what: "batches of 100, memory, over single submissions", limit: 3, least: true, format: "%.2f ×"},
		{id: "batch-file", section: "file", what: "batches of 100, file, over single submissions", limit: 1.5, least: true, format: "%.2f ×"},
		{id: "batch-postgres", section: "postgres", what: "batches of 100, Postgres, over single submissions", limit: 1.5, least: true, format: "%.2f ×"},
		{id: "command", section: "command", what: "one client, idle: submission to the command's first line, file, beyond fork and exec", limit: 15, format: "%.1f ms"},
		{id: "across", section: "across", what: "idle submission to one node, start on another, Postgres: p99 over River's tuned idle start", limit: 1.0 / 3, format: "%.2f ×"},
		{id: "wake-memory", section: "wake", what: "capacity free to next start under load, memory, p99", limit: 2, format: "%.1f ms"},
		{id: "wake-file", section: "wake", what: "the same, file", limit: 10, format: "%.1f ms"},
		{id: "wake-postgres", section: "wake", what: "the same, Postgres", limit: 25, format: "%.1f ms"},
		{id: "lot", section: "lot", what: "scheduler alone: submit, start and complete 10,000", limit: 5, format: "%.2f ms"},
		{id: "lot-queue", section: "lot", what: "its queue alone: park and take out 10,000", limit: 0.9, format: "%.2f ms"},
		{id: "parked-lot", section: "lot", what: "cost of an operation, 1,000 to 1,000,000 parked: scheduler alone", limit: 1.5, format: "%.2f ×"},
		{id: "parked-memory", section: "parked", what: "the same, whole process, memory", limit: 1.5, format: "%.2f ×"},
		{id: "parked-file", section: "parked", what: "the same, file", limit: 1.5, format: "%.2f ×"},
		{id: "parked-postgres", section: "parked", what: "the same, Postgres", limit: 1.5, format: "%.2f ×"},
		{id: "resident-file", section: "parked", what: "memory of 1,000,000 parked tasks, payloads on disk, file", limit: 400, format: "%.0f MB"},
		{id: "resident-file-again", section: "parked", what: "the same after a restart", limit: 400, format: "%.0f MB"},
		{id: "resident-postgres", section: "parked", what: "the same, Postgres", limit: 400, format: "%.0f MB"},
		{id: "resident-postgres-again", section: "parked", what: "the same after a restart", limit: 400, format: "%.0f MB"},
		{id: "restart-file", section: "parked", what: "restart with 1,000,000 parked until the first start, file, killed", limit: 5, format: "%.1f s"},
		{id: "restart-postgres", section: "parked", what: "the same, Postgres, stopped", limit: 5, format: "%.1f s"},
		{id: "audit-file", section: "audit", what: "audit by tenant, task or pool, 10,000,000 events, 100 rows, file, p99", limit: 50, format: "%.1f ms"},
		{id: "audit-file-cold", section: "audit", what: "the same, cold cache", limit: 500, format: "%.0f ms"},
		{id: "audit-postgres", section: "audit", what: "the same, Postgres, p99", limit: 50, format: "%.1f ms"},
		{id: "audit-postgres-cold", section: "audit", what: "the same, cold cache", limit: 500, format: "%.0f ms"},
		{id: "retention-file", section: "retention", what: "retention deleting 1,000,000 rows under load, file: p99 of a submission over that without", limit: 2, format: "%.2f ×"},
		{id: "retention-postgres", section: "retention", what: "the same, Postgres", limit: 2, format: "%.2f ×"},
		{id: "status", section: "small", what: "`parkd status` against a running daemon, whole process", limit: 30, format: "%.1f ms"},
		{id: "binary", section: "small", what: "binary, stripped", limit: 40, format: "%.1f MB"},
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
