-- Times are microseconds since the Unix epoch, 0 where there is none; durations are nanoseconds.
--
-- Rows of jobs, messages and events are numbered in the order in which they were written (seq). Their own
-- times rise nearly, but not quite, in that order, so each has a column late: time + late never falls along
-- seq, and a row is found by time with a binary search over seq instead of one more index. late is mostly 0.
--
-- Events are indexed by the span: up to 128 events of one step, of one time and with ords in a row, that were written
-- with seqs in a row. An index leads to the first event of a span, or the first of a tenant or a task within it;
-- further ones follow among the next rest - 1 rows.

-- +goose Up
CREATE TABLE pl_pools (
    pool_id          TEXT    PRIMARY KEY,
    rev              INTEGER NOT NULL, -- the last committed step
    max_units        INTEGER NOT NULL,
    max_queue_depth  INTEGER NOT NULL,
    state            TEXT    NOT NULL,
    used             INTEGER NOT NULL,
    queued           INTEGER NOT NULL,
    last_at          INTEGER NOT NULL,
    configured_units INTEGER NOT NULL,
    configured_depth INTEGER NOT NULL,
    last_step        TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE pl_queue_jobs (
    seq          INTEGER PRIMARY KEY,
    pool_id      TEXT    NOT NULL,
    task_id      TEXT    NOT NULL,
    tenant       TEXT    NOT NULL,
    status       TEXT    NOT NULL,
    priority     INTEGER NOT NULL,
    rank         INTEGER NOT NULL, -- place among the queued of its priority, the lowest first
    units        INTEGER NOT NULL,
    attempt      INTEGER NOT NULL,
    strikes      INTEGER NOT NULL,
    cancelled    INTEGER NOT NULL,
    submitted_at INTEGER NOT NULL,
    late         INTEGER NOT NULL,
    started_at   INTEGER NOT NULL,
    ended_at     INTEGER NOT NULL,
    not_before   INTEGER NOT NULL,
    deadline     INTEGER,
    timeout      INTEGER NOT NULL,
    lease_ttl    INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    backoff      INTEGER NOT NULL,
    digest       INTEGER NOT NULL,
    mailbox_key  TEXT    NOT NULL,
    node         TEXT    NOT NULL,
    lease        TEXT    NOT NULL,
    reason       TEXT    NOT NULL,
    message      TEXT    NOT NULL,
    work_dir     TEXT    NOT NULL,
    command      BLOB, -- a JSON array
    result       BLOB, -- JSON
    payload      BLOB  -- JSON
) STRICT;
CREATE UNIQUE INDEX pl_queue_jobs_task ON pl_queue_jobs (pool_id, task_id);
CREATE INDEX pl_queue_jobs_priority ON pl_queue_jobs (pool_id, priority DESC, rank) WHERE status = 'queued';
CREATE INDEX pl_queue_jobs_deadline ON pl_queue_jobs (deadline) WHERE status = 'queued' AND deadline IS NOT NULL;
CREATE INDEX pl_queue_jobs_status ON pl_queue_jobs (pool_id, status) WHERE status <> 'completed';
CREATE INDEX pl_queue_jobs_pool ON pl_queue_jobs (pool_id);
CREATE INDEX pl_queue_jobs_tenant ON pl_queue_jobs (tenant, pool_id);
CREATE INDEX pl_queue_jobs_late ON pl_queue_jobs (late) WHERE late > 60000000;

CREATE TABLE pl_mailbox_messages (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT, -- the message's id: never given twice
    tenant      TEXT    NOT NULL,
    mailbox_key TEXT    NOT NULL,
    pool_id     TEXT    NOT NULL,
    task_id     TEXT    NOT NULL,
    status      TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    message     TEXT    NOT NULL,
    attempt     INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    late        INTEGER NOT NULL,
    trimmed     INTEGER NOT NULL, -- 1: kept only so that the message is not taken once more
    payload     BLOB -- JSON
) STRICT;
CREATE UNIQUE INDEX pl_mailbox_messages_task ON pl_mailbox_messages (pool_id, task_id);
CREATE INDEX pl_mailbox_messages_key ON pl_mailbox_messages (tenant, mailbox_key) WHERE trimmed = 0;
CREATE INDEX pl_mailbox_messages_late ON pl_mailbox_messages (late) WHERE late > 60000000;

CREATE TABLE pl_audit_events (
    seq     INTEGER PRIMARY KEY,
    pool_id TEXT    NOT NULL,
    rev     INTEGER NOT NULL,
    ord     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    late    INTEGER NOT NULL,
    rest    INTEGER NOT NULL, -- how many rows its span has from this one on
    lead    INTEGER NOT NULL, -- 1: the first of its span, +2: the first of its tenant there, +4: of its task, +8: a rare action
    action  TEXT    NOT NULL,
    task_id TEXT    NOT NULL, -- '' where the event is the pool's
    tenant  TEXT    NOT NULL,
    units   INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    node    TEXT    NOT NULL,
    detail  BLOB -- a JSON object
) STRICT;
CREATE UNIQUE INDEX pl_audit_events_step ON pl_audit_events (pool_id, rev, ord) WHERE lead & 1;
CREATE INDEX pl_audit_events_tenant ON pl_audit_events (tenant) WHERE lead & 2;
CREATE INDEX pl_audit_events_task ON pl_audit_events (task_id) WHERE lead & 4;
CREATE INDEX pl_audit_events_action ON pl_audit_events (action) WHERE lead & 8;
CREATE INDEX pl_audit_events_late ON pl_audit_events (late) WHERE late > 60000000;

CREATE TABLE pl_outbox (
    parcel_id INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice: a late settle must not hit another parcel
    dest      TEXT    NOT NULL,
    due       INTEGER NOT NULL, -- 0: not put off yet
    attempts  INTEGER NOT NULL,
    since     INTEGER NOT NULL,
    body      BLOB    NOT NULL, -- JSON
    payload   BLOB              -- the message's payload or the event's detail
) STRICT;
CREATE INDEX pl_outbox_due ON pl_outbox (dest, due);

-- +goose Down
DROP TABLE pl_outbox;
DROP TABLE pl_audit_events;
DROP TABLE pl_mailbox_messages;
DROP TABLE pl_queue_jobs;
DROP TABLE pl_pools;
