-- A pool's numbers are those of its newest step, and no row is changed by every step. A row that is has a version for each
-- step, and as long as any transaction of the database holds an old snapshot (a dump does, for hours) none of them can be
-- removed, so each step has to find its way past all before it. What a step looks at here has a key of its own: the newest
-- step is found from the end of an index, however many are dead at its beginning.
--
-- Nodes of the version before may run beside those of this one: what they read is there under its name, as a view.

-- +goose Up
-- One row for each pool, which never changes: who stores a step locks it.
DROP TRIGGER pl_pools_capacity ON pl_pools;
DROP FUNCTION pl_guard_capacity;
ALTER TABLE pl_steps ADD COLUMN max_units bigint NOT NULL DEFAULT 0, ADD COLUMN max_queue_depth bigint NOT NULL DEFAULT 0,
    ADD COLUMN state text NOT NULL DEFAULT '', ADD COLUMN used bigint NOT NULL DEFAULT 0 CHECK (used >= 0),
    ADD COLUMN queued bigint NOT NULL DEFAULT 0 CHECK (queued >= 0), ADD COLUMN last_at bigint NOT NULL DEFAULT 0,
    ADD COLUMN configured_units bigint NOT NULL DEFAULT 0, ADD COLUMN configured_depth bigint NOT NULL DEFAULT 0,
    ADD COLUMN used_before bigint NOT NULL DEFAULT 0; -- by the step before, as the database has it
-- Only the newest step of a pool is looked at for the pool's numbers. Those before this version have none.
INSERT INTO pl_steps (pool_id, rev, step_id, tasks, max_units, max_queue_depth, state, used, queued, last_at, configured_units,
    configured_depth, used_before)
SELECT pool_id, rev, last_step, '{}', max_units, max_queue_depth, state, used, queued, last_at, configured_units, configured_depth, used FROM pl_pools
ON CONFLICT (pool_id, rev) DO UPDATE SET max_units = excluded.max_units, max_queue_depth = excluded.max_queue_depth, state = excluded.state,
    used = excluded.used, queued = excluded.queued, last_at = excluded.last_at, configured_units = excluded.configured_units,
    configured_depth = excluded.configured_depth, used_before = excluded.used_before;
ALTER TABLE pl_steps ALTER COLUMN max_units DROP DEFAULT, ALTER COLUMN max_queue_depth DROP DEFAULT, ALTER COLUMN state DROP DEFAULT,
    ALTER COLUMN used DROP DEFAULT, ALTER COLUMN queued DROP DEFAULT, ALTER COLUMN last_at DROP DEFAULT,
    ALTER COLUMN configured_units DROP DEFAULT, ALTER COLUMN configured_depth DROP DEFAULT, ALTER COLUMN used_before DROP DEFAULT;
-- Whatever the scheduler thinks: no step raises the use above the capacity.
ALTER TABLE pl_steps ADD CONSTRAINT pl_steps_capacity CHECK (used <= max_units OR used <= used_before);

ALTER TABLE pl_pools RENAME TO pl_pool_locks;
ALTER TABLE pl_pool_locks DROP COLUMN rev, DROP COLUMN max_units, DROP COLUMN max_queue_depth, DROP COLUMN state, DROP COLUMN used,
    DROP COLUMN queued, DROP COLUMN last_at, DROP COLUMN configured_units, DROP COLUMN configured_depth, DROP COLUMN last_step, DROP COLUMN waiting;
CREATE VIEW pl_pools AS
    SELECT l.pool_id, s.rev, s.max_units, s.max_queue_depth, s.state, s.used, s.queued, s.last_at, s.configured_units, s.configured_depth,
        s.step_id AS last_step
    FROM pl_pool_locks l, LATERAL (SELECT * FROM pl_steps p WHERE p.pool_id = l.pool_id ORDER BY p.rev DESC LIMIT 1) AS s;

-- The nodes that have a step for a pool, in the order in which they shall store it: since when, by the rev, and in which
-- place. Who has stood there for 64 steps is not waited for any more. A row with a note is no place: it is what a node
-- would have another store for it.
CREATE TABLE pl_line (
    pool_id text   NOT NULL,
    rev     bigint NOT NULL,
    place   bigint GENERATED ALWAYS AS IDENTITY,
    node_id text   NOT NULL,
    note    bytea,
    PRIMARY KEY (pool_id, rev, place)
);

-- The nodes that are known and not dead. Their rows in pl_nodes have a new version with each beat.
CREATE TABLE pl_lives (node_id text PRIMARY KEY);
INSERT INTO pl_lives SELECT node_id FROM pl_nodes WHERE NOT dead;
-- +goose StatementBegin
CREATE FUNCTION pl_note_life() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM pl_lives WHERE node_id = OLD.node_id;
    END IF;
    IF TG_OP <> 'DELETE' AND NOT NEW.dead THEN
        INSERT INTO pl_lives VALUES (NEW.node_id);
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER pl_nodes_life AFTER INSERT OR DELETE OR UPDATE OF dead ON pl_nodes FOR EACH ROW EXECUTE FUNCTION pl_note_life();

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
          AND relation IN ('pl_pool_locks'::regclass::oid, 'pl_audit_events'::regclass::oid, 'pl_mailbox_messages'::regclass::oid)),
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
CREATE OR REPLACE FUNCTION pl_changes(pool text, since bigint) RETURNS pl_news LANGUAGE plpgsql STABLE SET jit = off SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET enable_material = off AS $$
DECLARE
    n     pl_news;
    steps bigint;
    size  bigint;
BEGIN
    SELECT 'moved', NULL, ROW(step_id, state, rev, max_units, max_queue_depth, used, queued, last_at, configured_units,
        configured_depth)::pl_row INTO n.answer, n.waits, n.pool FROM pl_steps WHERE pool_id = pool ORDER BY rev DESC LIMIT 1;
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

-- pl_stand has a node wait in line for the pool, and returns how many go first. Who is next waits for a step that is under
-- way. The others only look: a lock that all of them wait for keeps the one whose turn it is from his step. A node with
-- a note that is all it has stands in no line where others do. Who goes first gets the others' notes.
-- +goose StatementBegin
CREATE FUNCTION pl_stand(pool text, node text, brings bytea, whole boolean, OUT ahead bigint, OUT notes bytea[])
LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
DECLARE
    top  bigint := (SELECT s.rev FROM pl_steps s WHERE s.pool_id = pool ORDER BY s.rev DESC LIMIT 1);
    line text[];
BEGIN
    ahead := 0;
    IF top IS NULL THEN
        RETURN;
    END IF;
    PERFORM pg_catalog.set_config('synchronous_commit', 'off', true); -- a place in the line may be lost
    FOR i IN 1..2 LOOP
        SELECT pg_catalog.array_agg(l.node_id ORDER BY l.rev, l.place) INTO line
            FROM pl_line l WHERE l.pool_id = pool AND l.rev > top - 64 AND l.note IS NULL;
        IF i = 1 AND EXISTS (SELECT FROM pg_catalog.unnest(line) AS other WHERE other <> node) THEN
            IF brings IS NOT NULL THEN
                INSERT INTO pl_line (pool_id, rev, node_id, note) VALUES (pool, top, node, brings);
            END IF;
            IF whole THEN
                DELETE FROM pl_line l WHERE l.pool_id = pool AND l.rev > top - 64 AND l.node_id = node AND l.note IS NULL;
                ahead := pg_catalog.cardinality(pg_catalog.array_remove(line, node));
                RETURN;
            END IF;
        END IF;
        IF line IS NULL OR NOT node = ANY (line) THEN
            INSERT INTO pl_line (pool_id, rev, node_id) VALUES (pool, top, node);
            line := pg_catalog.array_append(line, node);
        END IF;
        ahead := pg_catalog.array_position(line, node) - 1;
        IF i = 2 OR ahead > 1 THEN
            EXIT;
        END IF;
        PERFORM FROM pl_pool_locks WHERE pool_id = pool FOR NO KEY UPDATE;
        top := (SELECT s.rev FROM pl_steps s WHERE s.pool_id = pool ORDER BY s.rev DESC LIMIT 1);
    END LOOP;
    IF ahead = 0 THEN
        WITH taken AS (
            DELETE FROM pl_line l WHERE l.pool_id = pool AND l.rev > top - 64 AND l.note IS NOT NULL RETURNING l.node_id, l.rev, l.place, l.note)
        SELECT pg_catalog.array_agg(t.note ORDER BY t.rev, t.place) INTO notes FROM taken t WHERE t.node_id <> node;
    END IF;
END $$;
-- +goose StatementEnd

-- pl_turn is the same for a node that leaves no note and takes none, as those of the version before are.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION pl_turn(pool text, node text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    top  bigint := (SELECT s.rev FROM pl_steps s WHERE s.pool_id = pool ORDER BY s.rev DESC LIMIT 1);
    line text[];
BEGIN
    IF top IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM pg_catalog.set_config('synchronous_commit', 'off', true);
    SELECT pg_catalog.array_agg(l.node_id ORDER BY l.rev, l.place) INTO line
        FROM pl_line l WHERE l.pool_id = pool AND l.rev > top - 64 AND l.note IS NULL;
    IF line IS NULL OR NOT node = ANY (line) THEN
        INSERT INTO pl_line (pool_id, rev, node_id) VALUES (pool, top, node);
        RETURN coalesce(pg_catalog.cardinality(line), 0);
    END IF;
    RETURN pg_catalog.array_position(line, node) - 1;
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
    top     bigint;
    before  bigint;
    taken   boolean := false;
    waits   bigint := 0;
    line    text[];
    news    pl_news;
BEGIN
    PERFORM pl_flush();
    IF s.node <> '' AND NOT EXISTS (SELECT FROM pl_lives WHERE node_id = s.node) THEN
        -- It may have been done while the node was alive, or be about to be: a call whose reply was lost may still be under way.
        PERFORM FROM pl_pool_locks WHERE pool_id = s.pool_id FOR UPDATE;
        IF EXISTS (SELECT FROM pl_steps p WHERE p.pool_id = s.pool_id AND p.rev = s.rev AND p.step_id = s.step_id) THEN
            RETURN NULL;
        END IF;
        news.answer := 'dead';
        RETURN news;
    END IF;
    -- Who is late already need not wait for a step that is under way, nor keep others waiting while it is told what came.
    top := (SELECT p.rev FROM pl_steps p WHERE p.pool_id = s.pool_id ORDER BY p.rev DESC LIMIT 1);
    IF coalesce(top, 0) <= s.rev - 1 THEN
        IF s.rev = 1 THEN
            INSERT INTO pl_pool_locks VALUES (s.pool_id) ON CONFLICT DO NOTHING;
        END IF;
        PERFORM FROM pl_pool_locks WHERE pool_id = s.pool_id FOR NO KEY UPDATE;
        -- Once more, with the lock. Steps may be missing below the newest, but none comes after it that is not the next.
        SELECT p.rev, p.used INTO top, before FROM pl_steps p WHERE p.pool_id = s.pool_id ORDER BY p.rev DESC LIMIT 1;
        taken := coalesce(top, 0) = s.rev - 1;
    END IF;
    IF taken THEN
        INSERT INTO pl_steps (pool_id, rev, step_id, tasks, max_units, max_queue_depth, state, used, queued, last_at, configured_units,
            configured_depth, used_before)
        VALUES (s.pool_id, s.rev, s.step_id, ARRAY(SELECT task_id FROM pg_catalog.unnest(jobs) UNION ALL SELECT task_id FROM pg_catalog.unnest(changes)),
            s.max_units, s.max_queue_depth, s.state, s.used, s.queued, s.last_at, s.configured_units, s.configured_depth, coalesce(before, 0));
    ELSE
        IF EXISTS (SELECT FROM pl_steps p WHERE p.pool_id = s.pool_id AND p.rev = s.rev AND p.step_id = s.step_id) THEN
            -- Seen, which is less than safe: see pl_durable. The lock is written to the log, and waited for like a step.
            PERFORM FROM pl_pool_locks WHERE pool_id = s.pool_id FOR UPDATE;
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
        place AS MATERIALIZED (
            SELECT found.*, l.ended FROM less l, LATERAL (
                SELECT b.ctid AS place, b.live FROM pl_batches b WHERE b.pool_id = s.pool_id AND b.batch = l.batch OFFSET 0) AS found
            WHERE l.ended <> 0),
        gone AS (
            DELETE FROM pl_batches b USING place p WHERE b.ctid = p.place AND p.live = p.ended),
        fewer AS (
            UPDATE pl_batches b SET live = p.live - p.ended FROM place p WHERE b.ctid = p.place AND p.live <> p.ended)
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
    DELETE FROM pl_steps WHERE pool_id = s.pool_id AND rev = s.rev - 512;
    -- The node has had its turn, and so have those before it that have not come.
    SELECT pg_catalog.array_agg(l.node_id ORDER BY l.rev, l.place) INTO line FROM pl_line l WHERE l.pool_id = s.pool_id AND l.rev >= s.rev - 64 AND l.note IS NULL;
    IF line IS NOT NULL THEN
        waits := coalesce(pg_catalog.array_position(line, s.node), 0);
        DELETE FROM pl_line l USING (
            SELECT o.rev, o.place FROM pl_line o
            WHERE o.pool_id = s.pool_id AND o.rev >= s.rev - 64 AND o.note IS NULL ORDER BY o.rev, o.place LIMIT waits) AS gone
        WHERE l.pool_id = s.pool_id AND l.rev = gone.rev AND l.place = gone.place;
        waits := pg_catalog.cardinality(line) - waits;
    END IF;
    DELETE FROM pl_line WHERE pool_id = s.pool_id AND rev = s.rev - 65;
    IF waits > 0 THEN
        news.answer := 'done';
        news.waits := waits;
        RETURN news;
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- Now that all are there: where they look.
-- +goose StatementBegin
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_class c ON c.relnamespace = p.pronamespace
        WHERE c.oid = 'pl_steps'::regclass::oid AND pg_catalog.pg_has_role(p.proowner, 'USAGE')
            AND p.proname::text = ANY (ARRAY['pl_horizon', 'pl_changes', 'pl_stand', 'pl_turn', 'pl_commit', 'pl_note_life'])
    LOOP
        EXECUTE pg_catalog.format('ALTER FUNCTION %s SET search_path = pg_catalog, %I, pg_temp', f,
            (SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = 'pl_steps'::regclass::oid));
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose Down
DROP VIEW pl_pools;
ALTER TABLE pl_pool_locks RENAME TO pl_pools;
ALTER TABLE pl_pools ADD COLUMN rev bigint, ADD COLUMN max_units bigint, ADD COLUMN max_queue_depth bigint, ADD COLUMN state text,
    ADD COLUMN used bigint CHECK (used >= 0), ADD COLUMN queued bigint CHECK (queued >= 0), ADD COLUMN last_at bigint,
    ADD COLUMN configured_units bigint, ADD COLUMN configured_depth bigint, ADD COLUMN last_step text, ADD COLUMN waiting text[] NOT NULL DEFAULT '{}';
UPDATE pl_pools p SET rev = s.rev, max_units = s.max_units, max_queue_depth = s.max_queue_depth, state = s.state, used = s.used,
    queued = s.queued, last_at = s.last_at, configured_units = s.configured_units, configured_depth = s.configured_depth, last_step = s.step_id
    FROM (SELECT DISTINCT ON (pool_id) * FROM pl_steps ORDER BY pool_id, rev DESC) AS s WHERE s.pool_id = p.pool_id;
ALTER TABLE pl_pools ALTER COLUMN rev SET NOT NULL, ALTER COLUMN max_units SET NOT NULL, ALTER COLUMN max_queue_depth SET NOT NULL,
    ALTER COLUMN state SET NOT NULL, ALTER COLUMN used SET NOT NULL, ALTER COLUMN queued SET NOT NULL, ALTER COLUMN last_at SET NOT NULL,
    ALTER COLUMN configured_units SET NOT NULL, ALTER COLUMN configured_depth SET NOT NULL, ALTER COLUMN last_step SET NOT NULL;
ALTER TABLE pl_steps DROP COLUMN max_units, DROP COLUMN max_queue_depth, DROP COLUMN state, DROP COLUMN used, DROP COLUMN queued,
    DROP COLUMN last_at, DROP COLUMN configured_units, DROP COLUMN configured_depth, DROP COLUMN used_before;
DROP TRIGGER pl_nodes_life ON pl_nodes;
DROP FUNCTION pl_note_life, pl_stand;
DROP TABLE pl_lives, pl_line;
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

-- +goose StatementBegin
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_class c ON c.relnamespace = p.pronamespace
        WHERE c.oid = 'pl_steps'::regclass::oid AND pg_catalog.pg_has_role(p.proowner, 'USAGE')
            AND p.proname::text = ANY (ARRAY['pl_guard_capacity', 'pl_horizon', 'pl_changes', 'pl_turn', 'pl_commit'])
    LOOP
        EXECUTE pg_catalog.format('ALTER FUNCTION %s SET search_path = pg_catalog, %I, pg_temp', f,
            (SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = 'pl_steps'::regclass::oid));
    END LOOP;
END $$;
-- +goose StatementEnd

