-- Answers that are as safe as commits, functions that mean the same whoever may create objects beside them, and nodes
-- that tell each other how long they may be silent. Nothing that a node of the version before calls is gone or means
-- anything else, so nodes of both versions may run side by side.
--
-- Whoever may create objects in the schema of the tables can offer a function or an operator whose arguments suit better
-- than those of the system's. So what is not certain to be the system's own by the exact types of its arguments is
-- written with its schema, and the functions look nowhere but in the system's schema and that of the tables.

-- +goose Up
-- How long the node may be silent before it stops its runs, and how much longer the others wait; 0: not said.
ALTER TABLE pl_nodes ADD COLUMN ttl bigint NOT NULL DEFAULT 0, ADD COLUMN grace bigint NOT NULL DEFAULT 0;

-- pl_flush has this transaction's commit wait until it is on disk, and on those of standbys that commits wait for,
-- whatever the role's settings say.
-- +goose StatementBegin
CREATE FUNCTION pl_flush() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF pg_catalog.current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
        PERFORM pg_catalog.set_config('synchronous_commit', 'on', true);
    END IF;
END $$;
-- +goose StatementEnd

-- pl_durable has this transaction's commit wait for the standbys even where it changes nothing. What a transaction sees
-- may not be on a standby: a cancelled wait, or a restart of the server, shows what it did. Whoever answers by it waits
-- here first, for what a standby has it has with all that came before. The lock is for those who have stopped
-- waiting: they leave few sessions behind, not one each.
-- +goose StatementBegin
CREATE FUNCTION pl_durable() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF pg_catalog.current_setting('synchronous_standby_names') <> '' THEN
        PERFORM pl_flush();
        PERFORM pg_catalog.pg_advisory_xact_lock(1886151016, pg_catalog.pg_backend_pid() % 4);
        PERFORM pg_catalog.pg_logical_emit_message(true, 'parkd', ''::text);
    END IF;
    RETURN true;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION pl_rebase() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    -- Whatever is numbered. A table that is added later belongs here too.
    top  bigint := greatest((SELECT max(seq) FROM pl_mailbox_messages), (SELECT max(parcel_id) FROM pl_outbox),
        (SELECT max(seq) FROM pl_audit_events WHERE lead::int & 1 <> 0), (SELECT max(last_seq) FROM pl_audit_segments),
        (SELECT max(batch) << 24 FROM pl_batches),
        (SELECT max(last) FROM pl_pools p, LATERAL (SELECT max(seq) AS last FROM pl_queue_jobs j WHERE j.pool_id = p.pool_id) AS jobs), 0) >> 24;
BEGIN
    UPDATE pl_base SET base = top + 1 - pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint
    WHERE base + pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint <= top;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION pl_horizon() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    snap   pg_snapshot := pg_catalog.pg_current_snapshot(); -- before the look at the locks
    oldest bigint;
BEGIN
    WITH locks AS MATERIALIZED (SELECT locktype, pid, mode, transactionid, database, relation FROM pg_locks WHERE granted),
    writers AS (
        SELECT pid FROM locks
        WHERE locktype = 'relation' AND mode IN ('RowShareLock', 'RowExclusiveLock')
          AND database = (SELECT oid FROM pg_database WHERE datname = pg_catalog.current_database())
          AND relation IN ('pl_pools'::regclass::oid, 'pl_audit_events'::regclass::oid, 'pl_mailbox_messages'::regclass::oid)),
    others AS (
        SELECT transactionid::text::bigint AS low FROM locks
        WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND NOT EXISTS (SELECT FROM writers w WHERE w.pid = locks.pid))
    SELECT min(x::text::bigint) INTO oldest FROM pg_catalog.pg_snapshot_xip(snap) x
    -- pg_locks has the lower half of a transaction's id.
    WHERE NOT EXISTS (SELECT FROM others o WHERE o.low = x::text::bigint & 4294967295);
    RETURN (SELECT base FROM pl_base) + coalesce(oldest, pg_catalog.pg_snapshot_xmax(snap)::text::bigint) << 24;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION pl_deliver(start bigint, messages pl_message[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO pl_mailbox_messages (seq, tenant, mailbox_key, pool_id, task_id, status, reason, message, attempt, created_at, payload, relayed)
    SELECT start + n, m.tenant, m.mailbox_key, m.pool_id, m.task_id, m.status, m.reason, m.message, m.attempt, m.created_at, m.payload, true
    FROM pg_catalog.unnest(messages) WITH ORDINALITY AS m (tenant, mailbox_key, pool_id, task_id, status, reason, message, attempt, created_at, payload, lead, n)
    ORDER BY n ON CONFLICT (pool_id, task_id) WHERE relayed DO NOTHING
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION pl_append(start bigint, events pl_event[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO pl_audit_events (seq, pool_id, rev, ord, at, action, task_id, tenant, units, attempt, node, detail, lead)
    SELECT start + n, e.pool_id, e.rev, e.ord, e.at, e.action, e.task_id, e.tenant, e.units, e.attempt, e.node, e.detail, e.lead
    FROM pg_catalog.unnest(events) WITH ORDINALITY AS e (pool_id, rev, ord, at, action, task_id, tenant, units, attempt, node, detail, lead, n)
    ORDER BY n ON CONFLICT (pool_id, rev, ord) DO NOTHING
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION pl_changes(pool text, since bigint) RETURNS pl_news LANGUAGE plpgsql STABLE SET jit = off SET enable_seqscan = off
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
    SELECT count(*), coalesce(sum(pg_catalog.cardinality(tasks)), 0) INTO steps, size FROM pl_steps WHERE pool_id = pool AND rev > since;
    IF since > (n.pool).rev OR steps < (n.pool).rev - since OR size > 4096 THEN
        n.answer := 'reload';
        RETURN n;
    END IF;
    SELECT pg_catalog.array_agg(ARRAY[priority, rank, units, attempt, strikes, cancelled::int, submitted_at, started_at, ended_at,
            not_before, deadline, timeout, lease_ttl, max_attempts, backoff, digest]) FILTER (WHERE status IN ('queued', 'running')),
        pg_catalog.array_agg(ARRAY[task_id, tenant, status, mailbox_key, node, lease, reason, message]) FILTER (WHERE status IN ('queued', 'running')),
        pg_catalog.array_agg(ARRAY[task_id, tenant, mailbox_key, status]) FILTER (WHERE status NOT IN ('queued', 'running'))
    INTO n.numbers, n.words, n.past FROM (
        SELECT found.* FROM (
            SELECT DISTINCT t FROM pl_steps s, pg_catalog.unnest(s.tasks) AS t WHERE s.pool_id = pool AND s.rev > since
        ) AS touched, LATERAL (
            SELECT * FROM pl_queue_jobs WHERE task_id = t AND pool_id || '' = pool OFFSET 0) AS found) AS j;
    RETURN n;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION pl_turn(pool text, node text) RETURNS bigint LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
DECLARE
    line text[];
BEGIN
    PERFORM pg_catalog.set_config('synchronous_commit', 'off', true); -- a place in the line may be lost
    SELECT waiting INTO line FROM pl_pools WHERE pool_id = pool FOR NO KEY UPDATE;
    IF NOT node = ANY (line) THEN
        UPDATE pl_pools SET waiting = pg_catalog.array_append(line, node) WHERE pool_id = pool;
        RETURN pg_catalog.cardinality(line);
    END IF;
    RETURN coalesce(pg_catalog.array_position(line, node) - 1, 0);
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION pl_relay(messages pl_message[], events pl_event[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF pg_catalog.cardinality(messages) > 0 THEN
        LOCK TABLE pl_mailbox_messages IN ROW EXCLUSIVE MODE;
        PERFORM pl_deliver(pl_number(), messages);
    END IF;
    IF pg_catalog.cardinality(events) > 0 THEN
        LOCK TABLE pl_audit_events IN ROW EXCLUSIVE MODE;
        PERFORM pl_append(pl_number(), events);
    END IF;
    PERFORM pl_durable(); -- what is there already is not added, and was only seen
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION pl_commit(s pl_step, jobs pl_job[], changes pl_change[], messages pl_message[], events pl_event[], parcels pl_parcel[])
RETURNS pl_news LANGUAGE plpgsql SET lock_timeout = '5s' SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET enable_material = off SET jit = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    start   bigint;
    changed bigint;
    waits   bigint := 0;
    news    pl_news;
BEGIN
    PERFORM pl_flush();
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
            waiting = p.waiting[coalesce(pg_catalog.array_position(p.waiting, s.node), 0) + 1:]
        WHERE p.pool_id = s.pool_id AND p.rev = s.rev - 1 RETURNING pg_catalog.cardinality(p.waiting) INTO waits;
    END IF;
    IF NOT FOUND THEN
        IF EXISTS (SELECT FROM pl_steps p WHERE p.pool_id = s.pool_id AND p.rev = s.rev AND p.step_id = s.step_id) THEN
            -- Seen, which is less than safe: see pl_durable. The lock is written to the log, and waited for like a step.
            PERFORM FROM pl_pools WHERE pool_id = s.pool_id FOR UPDATE;
            RETURN NULL;
        END IF;
        news := pl_changes(s.pool_id, s.rev - 1);
        IF s.node <> '' THEN
            news.waits := pl_turn(s.pool_id, s.node);
        END IF;
        RETURN news;
    END IF;

    SELECT (base + pg_catalog.pg_current_xact_id()::text::bigint) << 24 INTO start FROM pl_base; -- as pl_number does
    IF pg_catalog.cardinality(jobs) > 0 THEN
        INSERT INTO pl_queue_jobs (seq, pool_id, task_id, tenant, status, priority, rank, units, attempt, strikes, cancelled,
            submitted_at, started_at, ended_at, not_before, deadline, timeout, lease_ttl, max_attempts, backoff, digest,
            mailbox_key, node, lease, reason, message, work_dir, command, result, payload)
        SELECT start + n, s.pool_id, task_id, tenant, status, priority, rank, units, attempt, strikes, cancelled,
            submitted_at, started_at, ended_at, not_before, deadline, timeout, lease_ttl, max_attempts, backoff, digest,
            mailbox_key, node, lease, reason, message, work_dir, command, result, payload
        FROM pg_catalog.unnest(jobs) WITH ORDINALITY AS j (task_id, tenant, status, priority, rank, units, attempt, strikes, cancelled,
            submitted_at, started_at, ended_at, not_before, deadline, timeout, lease_ttl, max_attempts, backoff, digest,
            mailbox_key, node, lease, reason, message, work_dir, command, result, payload, n);
    END IF;
    IF s.live > 0 THEN
        INSERT INTO pl_batches VALUES (s.pool_id, start >> 24, s.live);
    END IF;
    IF pg_catalog.cardinality(changes) > 0 THEN
        WITH done AS (
            UPDATE pl_queue_jobs j SET status = c.status, rank = c.rank, attempt = c.attempt, strikes = c.strikes,
                cancelled = c.cancelled, started_at = c.started_at, ended_at = c.ended_at, not_before = c.not_before,
                lease_ttl = c.lease_ttl, node = c.node, lease = c.lease, reason = c.reason, message = c.message, result = c.result
            -- A plan made while the table is empty is kept for long, so it may look for each task by the primary key alone: no
            -- other index must suit, nor may it go through the table and look for each row among the changes. The same above.
            FROM pg_catalog.unnest(changes) AS c, LATERAL (
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
        IF changed <> pg_catalog.cardinality(changes) THEN
            RAISE EXCEPTION 'a step of pool % changes % tasks, but there are % of them', s.pool_id, pg_catalog.cardinality(changes), changed;
        END IF;
    END IF;
    -- Not by pl_deliver and pl_append: what a function in SQL does is planned anew at each call. Nor is anything of it there
    -- already, unless the step is, and that was seen above.
    IF pg_catalog.cardinality(messages) > 0 THEN
        INSERT INTO pl_mailbox_messages (seq, tenant, mailbox_key, pool_id, task_id, status, reason, message, attempt, created_at, payload, lead)
        SELECT start + n, m.tenant, m.mailbox_key, m.pool_id, m.task_id, m.status, m.reason, m.message, m.attempt, m.created_at, m.payload, m.lead
        FROM pg_catalog.unnest(messages) WITH ORDINALITY AS m (tenant, mailbox_key, pool_id, task_id, status, reason, message, attempt, created_at, payload, lead, n);
    END IF;
    IF pg_catalog.cardinality(events) > 0 THEN
        INSERT INTO pl_audit_events (seq, pool_id, rev, ord, at, action, task_id, tenant, units, attempt, node, detail, lead)
        SELECT start + n, e.pool_id, e.rev, e.ord, e.at, e.action, e.task_id, e.tenant, e.units, e.attempt, e.node, e.detail, e.lead
        FROM pg_catalog.unnest(events) WITH ORDINALITY AS e (pool_id, rev, ord, at, action, task_id, tenant, units, attempt, node, detail, lead, n);
    END IF;
    IF pg_catalog.cardinality(parcels) > 0 THEN
        INSERT INTO pl_outbox (parcel_id, dest, due, attempts, since, body, payload)
        SELECT start + n, dest, 0, attempts, since, body, payload
        FROM pg_catalog.unnest(parcels) WITH ORDINALITY AS o (dest, attempts, since, body, payload, n);
    END IF;
    INSERT INTO pl_steps SELECT s.pool_id, s.rev, s.step_id,
        ARRAY(SELECT task_id FROM pg_catalog.unnest(jobs) UNION ALL SELECT task_id FROM pg_catalog.unnest(changes));
    DELETE FROM pl_steps WHERE pool_id = s.pool_id AND rev = s.rev - 512;
    IF waits > 0 THEN
        news.answer := 'done';
        news.waits := waits;
        RETURN news;
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- Now that all are there: where they look. SET search_path FROM CURRENT would keep what the session happened to have.
-- +goose StatementBegin
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_class c ON c.relnamespace = p.pronamespace
        WHERE c.oid = 'pl_pools'::regclass::oid AND pg_catalog.pg_has_role(p.proowner, 'USAGE') 
            AND p.proname::text = ANY (ARRAY['pl_guard_capacity', 'pl_number', 'pl_final', 'pl_rebase', 'pl_horizon', 'pl_deliver', 'pl_append',
            'pl_changes', 'pl_turn', 'pl_relay', 'pl_commit', 'pl_flush', 'pl_durable'])
    LOOP
        EXECUTE pg_catalog.format('ALTER FUNCTION %s SET search_path = pg_catalog, %I, pg_temp', f,
            (SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = 'pl_pools'::regclass::oid));
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION pl_rebase() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    top  bigint := greatest((SELECT max(seq) FROM pl_mailbox_messages),
        (SELECT max(seq) FROM pl_audit_events WHERE lead & 1 <> 0), (SELECT max(last_seq) FROM pl_audit_segments), (SELECT max(parcel_id) FROM pl_outbox), 0) >> 24;
BEGIN
    UPDATE pl_base SET base = top + 1 - pg_snapshot_xmin(pg_current_snapshot())::text::bigint
    WHERE base + pg_snapshot_xmax(pg_current_snapshot())::text::bigint <= top;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION pl_horizon() RETURNS bigint LANGUAGE plpgsql AS $$
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

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION pl_deliver(start bigint, messages pl_message[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO pl_mailbox_messages (seq, tenant, mailbox_key, pool_id, task_id, status, reason, message, attempt, created_at, payload, relayed)
    SELECT start + n, m.tenant, m.mailbox_key, m.pool_id, m.task_id, m.status, m.reason, m.message, m.attempt, m.created_at, m.payload, true
    FROM unnest(messages) WITH ORDINALITY AS m (tenant, mailbox_key, pool_id, task_id, status, reason, message, attempt, created_at, payload, lead, n)
    ORDER BY n ON CONFLICT (pool_id, task_id) WHERE relayed DO NOTHING
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION pl_append(start bigint, events pl_event[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO pl_audit_events (seq, pool_id, rev, ord, at, action, task_id, tenant, units, attempt, node, detail, lead)
    SELECT start + n, e.pool_id, e.rev, e.ord, e.at, e.action, e.task_id, e.tenant, e.units, e.attempt, e.node, e.detail, e.lead
    FROM unnest(events) WITH ORDINALITY AS e (pool_id, rev, ord, at, action, task_id, tenant, units, attempt, node, detail, lead, n)
    ORDER BY n ON CONFLICT (pool_id, rev, ord) DO NOTHING
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION pl_changes(pool text, since bigint) RETURNS pl_news LANGUAGE plpgsql STABLE SET jit = off SET enable_seqscan = off
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

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION pl_turn(pool text, node text) RETURNS bigint LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
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

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION pl_relay(messages pl_message[], events pl_event[]) RETURNS void LANGUAGE plpgsql AS $$
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

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION pl_commit(s pl_step, jobs pl_job[], changes pl_change[], messages pl_message[], events pl_event[], parcels pl_parcel[])
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

ALTER FUNCTION pl_guard_capacity() RESET search_path;
ALTER FUNCTION pl_number() RESET search_path;
ALTER FUNCTION pl_final() RESET search_path;
DROP FUNCTION pl_durable, pl_flush;
ALTER TABLE pl_nodes DROP COLUMN ttl, DROP COLUMN grace;
