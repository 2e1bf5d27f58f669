-- Times are microseconds since the Unix epoch, 0 where there is none; durations are nanoseconds.
--
-- Rows of jobs, messages and events are numbered in the order of their transactions: seq is the transaction's id,
-- shifted left by 24 bits, plus the row's number in it. Below the id of the oldest transaction that is still under
-- way the order is final: nothing comes to lie behind someone who reads along seq. A sequence could not promise
-- that, for its numbers are drawn in another order than transactions commit. A server that a dump was restored on
-- counts its transactions anew: pl_rebase then lifts the numbers above those that are there.

-- +goose Up
CREATE TABLE pl_pools (
    pool_id          text   PRIMARY KEY,
    rev              bigint NOT NULL, -- the last committed step
    max_units        bigint NOT NULL,
    max_queue_depth  bigint NOT NULL,
    state            text   NOT NULL,
    used             bigint NOT NULL CHECK (used >= 0),
    queued           bigint NOT NULL CHECK (queued >= 0),
    last_at          bigint NOT NULL,
    configured_units bigint NOT NULL,
    configured_depth bigint NOT NULL,
    last_step        text   NOT NULL,
    waiting          text[] NOT NULL DEFAULT '{}' -- nodes that have a step, in the order in which they shall store it
) WITH (fillfactor = 10); -- one row a page and room for its next versions: a step must not search for either

-- +goose StatementBegin
CREATE FUNCTION pl_guard_capacity() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.used > NEW.max_units AND (TG_OP = 'INSERT' OR NEW.used > OLD.used) THEN
        RAISE EXCEPTION 'a step of pool % would raise its use to % of % units', NEW.pool_id, NEW.used, NEW.max_units
            USING ERRCODE = 'check_violation', CONSTRAINT = 'pl_pools_capacity';
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER pl_pools_capacity BEFORE INSERT OR UPDATE ON pl_pools FOR EACH ROW EXECUTE FUNCTION pl_guard_capacity();

-- The tasks that the latest steps touched, for nodes that have fallen behind.
CREATE TABLE pl_steps (
    pool_id text   NOT NULL,
    rev     bigint NOT NULL,
    step_id text   NOT NULL,
    tasks   text[] NOT NULL,
    PRIMARY KEY (pool_id, rev)
);

CREATE TABLE pl_queue_jobs (
    seq          bigint  NOT NULL,
    pool_id      text    NOT NULL,
    task_id      text    NOT NULL,
    tenant       text    NOT NULL,
    status       text    NOT NULL,
    priority     bigint  NOT NULL,
    rank         bigint  NOT NULL, -- place among the queued of its priority, the lowest first
    units        bigint  NOT NULL,
    attempt      bigint  NOT NULL,
    strikes      bigint  NOT NULL,
    cancelled    boolean NOT NULL,
    submitted_at bigint  NOT NULL,
    started_at   bigint  NOT NULL,
    ended_at     bigint  NOT NULL,
    not_before   bigint  NOT NULL,
    deadline     bigint  NOT NULL,
    timeout      bigint  NOT NULL,
    lease_ttl    bigint  NOT NULL,
    max_attempts bigint  NOT NULL,
    backoff      bigint  NOT NULL,
    digest       bigint  NOT NULL,
    mailbox_key  text    NOT NULL,
    node         text    NOT NULL,
    lease        text    NOT NULL,
    reason       text    NOT NULL,
    message      text    NOT NULL,
    work_dir     text    NOT NULL,
    command      bytea, -- a JSON array
    result       bytea, -- JSON, to the byte as it came
    payload      bytea, -- the same
    -- The status, but for what most tasks are. Nothing else that changes from a start to a completion is in an index, so that
    -- the row changes in its page and no index learns of it.
    odd          text    GENERATED ALWAYS AS (CASE WHEN status NOT IN ('running', 'completed') THEN status END) STORED,
    PRIMARY KEY (task_id, pool_id)
) WITH (fillfactor = 45); -- room in the page for each row's second version, which has the result
CREATE UNIQUE INDEX pl_queue_jobs_pool ON pl_queue_jobs (pool_id, seq);
CREATE INDEX pl_queue_jobs_tenant ON pl_queue_jobs (pool_id, tenant, seq);
CREATE INDEX pl_queue_jobs_odd ON pl_queue_jobs (pool_id, odd, seq) WHERE odd IS NOT NULL;
CREATE INDEX pl_queue_jobs_priority ON pl_queue_jobs (pool_id, priority DESC, rank) WHERE odd = 'queued';
CREATE INDEX pl_queue_jobs_deadline ON pl_queue_jobs (deadline) WHERE odd = 'queued' AND deadline <> 0;

-- How many of the tasks that one transaction added are live, where any is: the way to the live ones among all.
CREATE TABLE pl_batches (
    pool_id text   NOT NULL,
    batch   bigint NOT NULL, -- their seq >> 24
    live    bigint NOT NULL CHECK (live > 0),
    PRIMARY KEY (pool_id, batch)
) WITH (fillfactor = 50);

CREATE TABLE pl_mailbox_messages (
    seq         bigint  PRIMARY KEY, -- the message's id: never given twice
    tenant      text    NOT NULL,
    mailbox_key text    NOT NULL,
    pool_id     text    NOT NULL,
    task_id     text    NOT NULL,
    status      text    NOT NULL,
    reason      text    NOT NULL,
    message     text    NOT NULL,
    attempt     bigint  NOT NULL,
    created_at  bigint  NOT NULL,
    trimmed     boolean NOT NULL DEFAULT false, -- kept only so that the message is not taken once more
    payload     bytea, -- JSON
    relayed     boolean NOT NULL DEFAULT false, -- it came from another store, and may come once more
    lead        boolean NOT NULL DEFAULT true -- it is the first of its block
);
-- A step's messages are there once, as the step is. They are in blocks of at most 64 of one time, numbered in a row, of
-- which only the first is in the index by time. Who goes takes it last.
CREATE UNIQUE INDEX pl_mailbox_messages_task ON pl_mailbox_messages (pool_id, task_id) WHERE relayed;
CREATE INDEX pl_mailbox_messages_key ON pl_mailbox_messages (tenant, mailbox_key, seq) INCLUDE (created_at) WHERE NOT trimmed;
CREATE INDEX pl_mailbox_messages_created ON pl_mailbox_messages (created_at) WHERE lead;

CREATE TABLE pl_audit_events (
    seq     bigint NOT NULL,
    pool_id text   NOT NULL,
    rev     bigint NOT NULL,
    ord     bigint NOT NULL,
    at      bigint NOT NULL,
    action  text   NOT NULL,
    task_id text   NOT NULL, -- '' where the event is the pool's
    tenant  text   NOT NULL,
    units   bigint NOT NULL,
    attempt bigint NOT NULL,
    node    text   NOT NULL,
    detail  bytea, -- a JSON object
    lead    smallint NOT NULL DEFAULT 7, -- bits: what it leads in its block
    PRIMARY KEY (pool_id, rev, ord)
);
-- The events of a step are in blocks of 64, by ord, and those of a block are numbered in a row. Only its first event (bit 1), the
-- first of each tenant (2) and of each task (4) are in an index of their own; the others of the tenant or task follow them
-- in the primary key. An event that came from another store leads itself in all of them. Who goes takes the last of a block first.
CREATE INDEX pl_audit_events_seq ON pl_audit_events (seq) WHERE lead & 1 <> 0;
CREATE INDEX pl_audit_events_tenant ON pl_audit_events (tenant, seq, pool_id) WHERE lead & 2 <> 0;
CREATE INDEX pl_audit_events_task ON pl_audit_events (task_id, seq) WHERE lead & 4 <> 0;
CREATE INDEX pl_audit_events_action ON pl_audit_events (action, seq, tenant, pool_id) WHERE action NOT IN ('submit', 'enqueue', 'start', 'complete');

-- The times of events between two seqs, both included: an index by time of a few rows for millions of events.
-- What was written after the last segment is in none yet.
CREATE TABLE pl_audit_segments (
    first_seq bigint PRIMARY KEY,
    last_seq  bigint NOT NULL,
    min_at    bigint NOT NULL,
    max_at    bigint NOT NULL
);

CREATE TABLE pl_outbox (
    parcel_id bigint PRIMARY KEY,
    dest      text   NOT NULL,
    due       bigint NOT NULL, -- 0: not put off yet
    attempts  bigint NOT NULL,
    since     bigint NOT NULL,
    body      bytea  NOT NULL, -- JSON
    payload   bytea            -- the message's payload or the event's detail
);
CREATE INDEX pl_outbox_due ON pl_outbox (dest, due, parcel_id);

-- How often the lease of a running task was kept, for nodes that did not see it.
CREATE TABLE pl_leases (
    pool_id text        NOT NULL,
    task_id text        NOT NULL,
    lease   text        NOT NULL,
    counter bigint      NOT NULL,
    ttl     bigint      NOT NULL,
    kept_at timestamptz NOT NULL DEFAULT now(), -- only for forgetting what is old
    PRIMARY KEY (pool_id, task_id)
) WITH (fillfactor = 50);

-- A node is alive while its counter moves. Who has not seen it move for long enough marks it as dead.
CREATE TABLE pl_nodes (
    node_id    text        PRIMARY KEY,
    counter    bigint      NOT NULL,
    dead       boolean     NOT NULL DEFAULT false,
    started_at timestamptz NOT NULL DEFAULT now(),
    beat_at    timestamptz NOT NULL DEFAULT now() -- for people: nothing is decided by it
) WITH (fillfactor = 50);

-- What a step is made of, in the order in which parkd writes the fields.
CREATE TYPE pl_step AS (
    pool_id text, step_id text, node text, rev bigint, max_units bigint, max_queue_depth bigint, state text, used bigint,
    queued bigint, last_at bigint, configured_units bigint, configured_depth bigint, live bigint -- jobs among the new ones
);
CREATE TYPE pl_job AS (
    task_id text, tenant text, status text, priority bigint, rank bigint, units bigint, attempt bigint, strikes bigint,
    cancelled boolean, submitted_at bigint, started_at bigint, ended_at bigint, not_before bigint, deadline bigint,
    timeout bigint, lease_ttl bigint, max_attempts bigint, backoff bigint, digest bigint, mailbox_key text, node text,
    lease text, reason text, message text, work_dir text, command bytea, result bytea, payload bytea
);
CREATE TYPE pl_change AS (
    task_id text, status text, rank bigint, attempt bigint, strikes bigint, cancelled boolean, started_at bigint,
    ended_at bigint, not_before bigint, lease_ttl bigint, node text, lease text, reason text, message text, result bytea
);
CREATE TYPE pl_message AS (
    tenant text, mailbox_key text, pool_id text, task_id text, status text, reason text, message text, attempt bigint,
    created_at bigint, payload bytea, lead boolean
);
CREATE TYPE pl_event AS (
    pool_id text, rev bigint, ord bigint, at bigint, action text, task_id text, tenant text, units bigint, attempt bigint,
    node text, detail bytea, lead bigint
);
-- What a node is told of a pool that has moved on: the numbers and the words of its tasks that are live, and who waits
-- for those that have ended, a row for each task. Not as composite types: to send each field of one the server takes a
-- kilobyte, which it gives back only when all are sent.
CREATE TYPE pl_row AS (
    last_step text, state text, rev bigint, max_units bigint, max_queue_depth bigint, used bigint, queued bigint, last_at bigint,
    configured_units bigint, configured_depth bigint
);
CREATE TYPE pl_news AS (answer text, waits bigint, pool pl_row, numbers bigint[], words text[], past text[]);
CREATE TYPE pl_parcel AS (dest text, attempts bigint, since bigint, body bytea, payload bytea);

-- What is added to a transaction's id.
CREATE TABLE pl_base (base bigint NOT NULL);
INSERT INTO pl_base VALUES (0);

-- pl_number returns the first number of this transaction's rows.
CREATE FUNCTION pl_number() RETURNS bigint LANGUAGE sql AS
    $$ SELECT (base + pg_current_xact_id()::text::bigint) << 24 FROM pl_base $$;

-- pl_final returns the seq below which the order is final, by the statement's own snapshot. A transaction of anyone
-- else on the server holds it up; see pl_horizon.
CREATE FUNCTION pl_final() RETURNS bigint LANGUAGE sql STABLE AS
    $$ SELECT (base + pg_snapshot_xmin(pg_current_snapshot())::text::bigint) << 24 FROM pl_base $$;

-- pl_rebase sees that new rows are numbered above those that are there. Every node calls it before it writes.
-- +goose StatementBegin
CREATE FUNCTION pl_rebase() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    top  bigint := greatest((SELECT max(seq) FROM pl_mailbox_messages),
        (SELECT max(seq) FROM pl_audit_events WHERE lead & 1 <> 0), (SELECT max(last_seq) FROM pl_audit_segments), (SELECT max(parcel_id) FROM pl_outbox), 0) >> 24;
BEGIN
    UPDATE pl_base SET base = top + 1 - pg_snapshot_xmin(pg_current_snapshot())::text::bigint
    WHERE base + pg_snapshot_xmax(pg_current_snapshot())::text::bigint <= top;
END $$;
-- +goose StatementEnd

-- pl_horizon returns the same for later statements, and only writers of the numbered tables hold it up. Each of them
-- locks one of the tables before it gets its transaction id. So whoever holds an id and no such lock is someone else.
-- Nobody is taken for someone else who is under way by the snapshot but not among the locks: he may have got his id
-- only just now, before the lock that shows it, and whoever asks again finds him or finds him gone.
-- +goose StatementBegin
CREATE FUNCTION pl_horizon() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    snap   pg_snapshot := pg_current_snapshot(); -- before the look at the locks
    oldest bigint;
BEGIN
    WITH locks AS MATERIALIZED (SELECT locktype, pid, mode, transactionid, database, relation FROM pg_locks WHERE granted),
    writers AS (
        SELECT pid FROM locks
        WHERE locktype = 'relation' AND mode IN ('RowShareLock', 'RowExclusiveLock')
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND relation IN ('pl_pools'::regclass, 'pl_audit_events'::regclass, 'pl_mailbox_messages'::regclass)),
    others AS (
        SELECT transactionid::text::bigint AS low FROM locks
        WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND NOT EXISTS (SELECT FROM writers w WHERE w.pid = locks.pid))
    SELECT min(x::text::bigint) INTO oldest FROM pg_snapshot_xip(snap) x
    -- pg_locks has the lower half of a transaction's id.
    WHERE NOT EXISTS (SELECT FROM others o WHERE o.low = x::text::bigint & 4294967295);
    RETURN (SELECT base FROM pl_base) + coalesce(oldest, pg_snapshot_xmax(snap)::text::bigint) << 24;
END $$;
-- +goose StatementEnd

-- pl_deliver and pl_append add what is not there yet, numbered from start on.
CREATE FUNCTION pl_deliver(start bigint, messages pl_message[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO pl_mailbox_messages (seq, tenant, mailbox_key, pool_id, task_id, status, reason, message, attempt, created_at, payload, relayed)
    SELECT start + n, m.tenant, m.mailbox_key, m.pool_id, m.task_id, m.status, m.reason, m.message, m.attempt, m.created_at, m.payload, true
    FROM unnest(messages) WITH ORDINALITY AS m (tenant, mailbox_key, pool_id, task_id, status, reason, message, attempt, created_at, payload, lead, n)
    ORDER BY n ON CONFLICT (pool_id, task_id) WHERE relayed DO NOTHING
$$;
CREATE FUNCTION pl_append(start bigint, events pl_event[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO pl_audit_events (seq, pool_id, rev, ord, at, action, task_id, tenant, units, attempt, node, detail, lead)
    SELECT start + n, e.pool_id, e.rev, e.ord, e.at, e.action, e.task_id, e.tenant, e.units, e.attempt, e.node, e.detail, e.lead
    FROM unnest(events) WITH ORDINALITY AS e (pool_id, rev, ord, at, action, task_id, tenant, units, attempt, node, detail, lead, n)
    ORDER BY n ON CONFLICT (pool_id, rev, ord) DO NOTHING
$$;

-- pl_changes tells a node at an older rev what came since: the pool's row, and every task that was touched, or 'reload'
-- where that is too much or too long ago. Of those that have ended, which are most where there is much to tell, it says
-- no more than who waits for them needs.
-- +goose StatementBegin
CREATE FUNCTION pl_changes(pool text, since bigint) RETURNS pl_news LANGUAGE plpgsql STABLE SET jit = off SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET enable_material = off AS $$
DECLARE
    n     pl_news;
    steps bigint;
    size  bigint;
BEGIN
    SELECT 'moved', NULL, ROW(last_step, state, rev, max_units, max_queue_depth, used, queued, last_at, configured_units,
        configured_depth)::pl_row INTO n.answer, n.waits, n.pool FROM pl_pools WHERE pool_id = pool;
    IF NOT FOUND THEN
        n.answer := CASE WHEN since = 0 THEN 'moved' ELSE 'reload' END;
        RETURN n;
    END IF;
    IF (n.pool).rev = since THEN
        RETURN n;
    END IF;
    SELECT count(*), coalesce(sum(cardinality(tasks)), 0) INTO steps, size FROM pl_steps WHERE pool_id = pool AND rev > since;
    IF since > (n.pool).rev OR steps < (n.pool).rev - since OR size > 4096 THEN
        n.answer := 'reload';
        RETURN n;
    END IF;
    SELECT array_agg(ARRAY[priority, rank, units, attempt, strikes, cancelled::int, submitted_at, started_at, ended_at,
            not_before, deadline, timeout, lease_ttl, max_attempts, backoff, digest]) FILTER (WHERE status IN ('queued', 'running')),
        array_agg(ARRAY[task_id, tenant, status, mailbox_key, node, lease, reason, message]) FILTER (WHERE status IN ('queued', 'running')),
        array_agg(ARRAY[task_id, tenant, mailbox_key, status]) FILTER (WHERE status NOT IN ('queued', 'running'))
    INTO n.numbers, n.words, n.past FROM (
        SELECT found.* FROM (
            SELECT DISTINCT t FROM pl_steps s, unnest(s.tasks) AS t WHERE s.pool_id = pool AND s.rev > since
        ) AS touched, LATERAL (
            SELECT * FROM pl_queue_jobs WHERE task_id = t AND pool_id || '' = pool OFFSET 0) AS found) AS j;
    RETURN n;
END $$;
-- +goose StatementEnd

-- pl_turn has a node wait in line for the pool, and returns how many go first. It waits for a step that is under way.
-- +goose StatementBegin
CREATE FUNCTION pl_turn(pool text, node text) RETURNS bigint LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
DECLARE
    line text[];
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true); -- a place in the line may be lost
    SELECT waiting INTO line FROM pl_pools WHERE pool_id = pool FOR NO KEY UPDATE;
    IF NOT line @> ARRAY[node] THEN
        UPDATE pl_pools SET waiting = line || node WHERE pool_id = pool;
        RETURN cardinality(line);
    END IF;
    RETURN coalesce(array_position(line, node) - 1, 0);
END $$;
-- +goose StatementEnd

-- pl_relay adds what steps of another store brought. See pl_horizon for the locks.
-- +goose StatementBegin
CREATE FUNCTION pl_relay(messages pl_message[], events pl_event[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(messages) > 0 THEN
        LOCK TABLE pl_mailbox_messages IN ROW EXCLUSIVE MODE;
        PERFORM pl_deliver(pl_number(), messages);
    END IF;
    IF cardinality(events) > 0 THEN
        LOCK TABLE pl_audit_events IN ROW EXCLUSIVE MODE;
        PERFORM pl_append(pl_number(), events);
    END IF;
END $$;
-- +goose StatementEnd

-- pl_commit is a step. It returns NULL once the step is done, or was done before, or 'done' with how many other nodes wait
-- for their turn; and else what pl_changes says, and how many are to go first. All of it runs in the server: no lock is
-- held while a client thinks.
-- +goose StatementBegin
CREATE FUNCTION pl_commit(s pl_step, jobs pl_job[], changes pl_change[], messages pl_message[], events pl_event[], parcels pl_parcel[])
RETURNS pl_news LANGUAGE plpgsql SET lock_timeout = '5s' SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET enable_material = off SET jit = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    start   bigint;
    changed bigint;
    waits   bigint := 0;
    news    pl_news;
BEGIN
    IF s.node <> '' AND NOT EXISTS (SELECT FROM pl_nodes WHERE node_id = s.node AND NOT dead) THEN
        -- It may have been done while the node was alive, or be about to be: a call whose reply was lost may still be under way.
        PERFORM FROM pl_pools WHERE pool_id = s.pool_id FOR UPDATE;
        IF EXISTS (SELECT FROM pl_steps p WHERE p.pool_id = s.pool_id AND p.rev = s.rev AND p.step_id = s.step_id) THEN
            RETURN NULL;
        END IF;
        news.answer := 'dead';
        RETURN news;
    END IF;
    IF s.rev = 1 THEN
        INSERT INTO pl_pools VALUES (s.pool_id, 1, s.max_units, s.max_queue_depth, s.state, s.used, s.queued, s.last_at,
            s.configured_units, s.configured_depth, s.step_id)
        ON CONFLICT DO NOTHING;
    ELSE
        UPDATE pl_pools p SET rev = s.rev, max_units = s.max_units, max_queue_depth = s.max_queue_depth, state = s.state,
            used = s.used, queued = s.queued, last_at = s.last_at, configured_units = s.configured_units,
            configured_depth = s.configured_depth, last_step = s.step_id,
            waiting = p.waiting[coalesce(array_position(p.waiting, s.node), 0) + 1:]
        WHERE p.pool_id = s.pool_id AND p.rev = s.rev - 1 RETURNING cardinality(p.waiting) INTO waits;
    END IF;
    IF NOT FOUND THEN
        IF EXISTS (SELECT FROM pl_steps p WHERE p.pool_id = s.pool_id AND p.rev = s.rev AND p.step_id = s.step_id) THEN
            RETURN NULL;
        END IF;
        news := pl_changes(s.pool_id, s.rev - 1);
        IF s.node <> '' THEN
            news.waits := pl_turn(s.pool_id, s.node);
        END IF;
        RETURN news;
    END IF;

    SELECT (base + pg_current_xact_id()::text::bigint) << 24 INTO start FROM pl_base; -- as pl_number does
    IF cardinality(jobs) > 0 THEN
        INSERT INTO pl_queue_jobs (seq, pool_id, task_id, tenant, status, priority, rank, units, attempt, strikes, cancelled,
            submitted_at, started_at, ended_at, not_before, deadline, timeout, lease_ttl, max_attempts, backoff, digest,
            mailbox_key, node, lease, reason, message, work_dir, command, result, payload)
        SELECT start + n, s.pool_id, task_id, tenant, status, priority, rank, units, attempt, strikes, cancelled,
            submitted_at, started_at, ended_at, not_before, deadline, timeout, lease_ttl, max_attempts, backoff, digest,
            mailbox_key, node, lease, reason, message, work_dir, command, result, payload
        FROM unnest(jobs) WITH ORDINALITY AS j (task_id, tenant, status, priority, rank, units, attempt, strikes, cancelled,
            submitted_at, started_at, ended_at, not_before, deadline, timeout, lease_ttl, max_attempts, backoff, digest,
            mailbox_key, node, lease, reason, message, work_dir, command, result, payload, n);
    END IF;
    IF s.live > 0 THEN
        INSERT INTO pl_batches VALUES (s.pool_id, start >> 24, s.live);
    END IF;
    IF cardinality(changes) > 0 THEN
        WITH done AS (
            UPDATE pl_queue_jobs j SET status = c.status, rank = c.rank, attempt = c.attempt, strikes = c.strikes,
                cancelled = c.cancelled, started_at = c.started_at, ended_at = c.ended_at, not_before = c.not_before,
                lease_ttl = c.lease_ttl, node = c.node, lease = c.lease, reason = c.reason, message = c.message, result = c.result
            -- A plan made while the table is empty is kept for long, so it may look for each task by the primary key alone: no
            -- other index must suit, nor may it go through the table and look for each row among the changes. The same above.
            FROM unnest(changes) AS c, LATERAL (
                SELECT k.ctid AS place, k.seq >> 24 AS batch, k.status AS was FROM pl_queue_jobs k
                WHERE k.task_id = c.task_id AND k.pool_id || '' = s.pool_id OFFSET 0) AS found
            WHERE j.ctid = found.place
            RETURNING batch, (was IN ('queued', 'running'))::int - (c.status IN ('queued', 'running'))::int AS ended),
        less AS MATERIALIZED (SELECT batch, sum(ended) AS ended FROM done GROUP BY batch),
        gone AS (
            DELETE FROM pl_batches b USING less l WHERE b.pool_id = s.pool_id AND b.batch = l.batch AND b.live = l.ended),
        fewer AS (
            UPDATE pl_batches b SET live = b.live - l.ended FROM less l
            WHERE b.pool_id = s.pool_id AND b.batch = l.batch AND b.live <> l.ended AND l.ended <> 0)
        SELECT count(*) INTO changed FROM done;
        IF changed <> cardinality(changes) THEN
            RAISE EXCEPTION 'a step of pool % changes % tasks, but there are % of them', s.pool_id, cardinality(changes), changed;
        END IF;
    END IF;
    -- Not by pl_deliver and pl_append: what a function in SQL does is planned anew at each call. Nor is anything of it there
    -- already, unless the step is, and that was seen above.
    IF cardinality(messages) > 0 THEN
        INSERT INTO pl_mailbox_messages (seq, tenant, mailbox_key, pool_id, task_id, status, reason, message, attempt, created_at, payload, lead)
        SELECT start + n, m.tenant, m.mailbox_key, m.pool_id, m.task_id, m.status, m.reason, m.message, m.attempt, m.created_at, m.payload, m.lead
        FROM unnest(messages) WITH ORDINALITY AS m (tenant, mailbox_key, pool_id, task_id, status, reason, message, attempt, created_at, payload, lead, n);
    END IF;
    IF cardinality(events) > 0 THEN
        INSERT INTO pl_audit_events (seq, pool_id, rev, ord, at, action, task_id, tenant, units, attempt, node, detail, lead)
        SELECT start + n, e.pool_id, e.rev, e.ord, e.at, e.action, e.task_id, e.tenant, e.units, e.attempt, e.node, e.detail, e.lead
        FROM unnest(events) WITH ORDINALITY AS e (pool_id, rev, ord, at, action, task_id, tenant, units, attempt, node, detail, lead, n);
    END IF;
    IF cardinality(parcels) > 0 THEN
        INSERT INTO pl_outbox (parcel_id, dest, due, attempts, since, body, payload)
        SELECT start + n, dest, 0, attempts, since, body, payload
        FROM unnest(parcels) WITH ORDINALITY AS o (dest, attempts, since, body, payload, n);
    END IF;
    INSERT INTO pl_steps SELECT s.pool_id, s.rev, s.step_id,
        ARRAY(SELECT task_id FROM unnest(jobs) UNION ALL SELECT task_id FROM unnest(changes));
    DELETE FROM pl_steps WHERE pool_id = s.pool_id AND rev = s.rev - 512;
    IF waits > 0 THEN
        news.answer := 'done';
        news.waits := waits;
        RETURN news;
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION pl_commit, pl_turn, pl_relay, pl_changes, pl_append, pl_deliver, pl_horizon, pl_final, pl_number;
DROP TYPE pl_news, pl_row, pl_step, pl_job, pl_change, pl_message, pl_event, pl_parcel;
DROP FUNCTION pl_rebase;
DROP TABLE pl_base, pl_nodes, pl_leases, pl_outbox, pl_audit_segments, pl_audit_events, pl_mailbox_messages, pl_batches, pl_queue_jobs, pl_steps, pl_pools;
DROP FUNCTION pl_guard_capacity;
