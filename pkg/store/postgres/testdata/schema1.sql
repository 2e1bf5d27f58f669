-- A database as parkd left it whose last migration was 00001_schema.sql: three pools with tasks in every state, killed while
-- some ran. Made by pg_dump --inserts.
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE TYPE public.pl_change AS (
	task_id text,
	status text,
	rank bigint,
	attempt bigint,
	strikes bigint,
	cancelled boolean,
	started_at bigint,
	ended_at bigint,
	not_before bigint,
	lease_ttl bigint,
	node text,
	lease text,
	reason text,
	message text,
	result bytea
);
CREATE TYPE public.pl_event AS (
	pool_id text,
	rev bigint,
	ord bigint,
	at bigint,
	action text,
	task_id text,
	tenant text,
	units bigint,
	attempt bigint,
	node text,
	detail bytea,
	lead bigint
);
CREATE TYPE public.pl_job AS (
	task_id text,
	tenant text,
	status text,
	priority bigint,
	rank bigint,
	units bigint,
	attempt bigint,
	strikes bigint,
	cancelled boolean,
	submitted_at bigint,
	started_at bigint,
	ended_at bigint,
	not_before bigint,
	deadline bigint,
	timeout bigint,
	lease_ttl bigint,
	max_attempts bigint,
	backoff bigint,
	digest bigint,
	mailbox_key text,
	node text,
	lease text,
	reason text,
	message text,
	work_dir text,
	command bytea,
	result bytea,
	payload bytea
);
CREATE TYPE public.pl_message AS (
	tenant text,
	mailbox_key text,
	pool_id text,
	task_id text,
	status text,
	reason text,
	message text,
	attempt bigint,
	created_at bigint,
	payload bytea,
	lead boolean
);
CREATE TYPE public.pl_row AS (
	last_step text,
	state text,
	rev bigint,
	max_units bigint,
	max_queue_depth bigint,
	used bigint,
	queued bigint,
	last_at bigint,
	configured_units bigint,
	configured_depth bigint
);
CREATE TYPE public.pl_news AS (
	answer text,
	waits bigint,
	pool public.pl_row,
	numbers bigint[],
	words text[],
	past text[]
);
CREATE TYPE public.pl_parcel AS (
	dest text,
	attempts bigint,
	since bigint,
	body bytea,
	payload bytea
);
CREATE TYPE public.pl_step AS (
	pool_id text,
	step_id text,
	node text,
	rev bigint,
	max_units bigint,
	max_queue_depth bigint,
	state text,
	used bigint,
	queued bigint,
	last_at bigint,
	configured_units bigint,
	configured_depth bigint,
	live bigint
);
CREATE FUNCTION public.pl_append(start bigint, events public.pl_event[]) RETURNS void
    LANGUAGE sql
    AS $$
    INSERT INTO pl_audit_events (seq, pool_id, rev, ord, at, action, task_id, tenant, units, attempt, node, detail, lead)
    SELECT start + n, e.pool_id, e.rev, e.ord, e.at, e.action, e.task_id, e.tenant, e.units, e.attempt, e.node, e.detail, e.lead
    FROM unnest(events) WITH ORDINALITY AS e (pool_id, rev, ord, at, action, task_id, tenant, units, attempt, node, detail, lead, n)
    ORDER BY n ON CONFLICT (pool_id, rev, ord) DO NOTHING
$$;
CREATE FUNCTION public.pl_changes(pool text, since bigint) RETURNS public.pl_news
    LANGUAGE plpgsql STABLE
    SET jit TO 'off'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_material TO 'off'
    AS $$
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
CREATE FUNCTION public.pl_commit(s public.pl_step, jobs public.pl_job[], changes public.pl_change[], messages public.pl_message[], events public.pl_event[], parcels public.pl_parcel[]) RETURNS public.pl_news
    LANGUAGE plpgsql
    SET lock_timeout TO '5s'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_material TO 'off'
    SET jit TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
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
CREATE FUNCTION public.pl_deliver(start bigint, messages public.pl_message[]) RETURNS void
    LANGUAGE sql
    AS $$
    INSERT INTO pl_mailbox_messages (seq, tenant, mailbox_key, pool_id, task_id, status, reason, message, attempt, created_at, payload, relayed)
    SELECT start + n, m.tenant, m.mailbox_key, m.pool_id, m.task_id, m.status, m.reason, m.message, m.attempt, m.created_at, m.payload, true
    FROM unnest(messages) WITH ORDINALITY AS m (tenant, mailbox_key, pool_id, task_id, status, reason, message, attempt, created_at, payload, lead, n)
    ORDER BY n ON CONFLICT (pool_id, task_id) WHERE relayed DO NOTHING
$$;
CREATE FUNCTION public.pl_final() RETURNS bigint
    LANGUAGE sql STABLE
    AS $$ SELECT (base + pg_snapshot_xmin(pg_current_snapshot())::text::bigint) << 24 FROM pl_base $$;
CREATE FUNCTION public.pl_guard_capacity() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF NEW.used > NEW.max_units AND (TG_OP = 'INSERT' OR NEW.used > OLD.used) THEN
        RAISE EXCEPTION 'a step of pool % would raise its use to % of % units', NEW.pool_id, NEW.used, NEW.max_units
            USING ERRCODE = 'check_violation', CONSTRAINT = 'pl_pools_capacity';
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION public.pl_horizon() RETURNS bigint
    LANGUAGE plpgsql
    AS $$
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
CREATE FUNCTION public.pl_number() RETURNS bigint
    LANGUAGE sql
    AS $$ SELECT (base + pg_current_xact_id()::text::bigint) << 24 FROM pl_base $$;
CREATE FUNCTION public.pl_rebase() RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    top  bigint := greatest((SELECT max(seq) FROM pl_mailbox_messages),
        (SELECT max(seq) FROM pl_audit_events WHERE lead & 1 <> 0), (SELECT max(last_seq) FROM pl_audit_segments), (SELECT max(parcel_id) FROM pl_outbox), 0) >> 24;
BEGIN
    UPDATE pl_base SET base = top + 1 - pg_snapshot_xmin(pg_current_snapshot())::text::bigint
    WHERE base + pg_snapshot_xmax(pg_current_snapshot())::text::bigint <= top;
END $$;
CREATE FUNCTION public.pl_relay(messages public.pl_message[], events public.pl_event[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
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
CREATE FUNCTION public.pl_turn(pool text, node text) RETURNS bigint
    LANGUAGE plpgsql
    SET lock_timeout TO '5s'
    AS $$
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
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.pl_audit_events (
    seq bigint NOT NULL,
    pool_id text NOT NULL,
    rev bigint NOT NULL,
    ord bigint NOT NULL,
    at bigint NOT NULL,
    action text NOT NULL,
    task_id text NOT NULL,
    tenant text NOT NULL,
    units bigint NOT NULL,
    attempt bigint NOT NULL,
    node text NOT NULL,
    detail bytea,
    lead smallint DEFAULT 7 NOT NULL
);
CREATE TABLE public.pl_audit_segments (
    first_seq bigint NOT NULL,
    last_seq bigint NOT NULL,
    min_at bigint NOT NULL,
    max_at bigint NOT NULL
);
CREATE TABLE public.pl_base (
    base bigint NOT NULL
);
CREATE TABLE public.pl_batches (
    pool_id text NOT NULL,
    batch bigint NOT NULL,
    live bigint NOT NULL,
    CONSTRAINT pl_batches_live_check CHECK ((live > 0))
)
WITH (fillfactor='50');
CREATE TABLE public.pl_leases (
    pool_id text NOT NULL,
    task_id text NOT NULL,
    lease text NOT NULL,
    counter bigint NOT NULL,
    ttl bigint NOT NULL,
    kept_at timestamp with time zone DEFAULT now() NOT NULL
)
WITH (fillfactor='50');
CREATE TABLE public.pl_mailbox_messages (
    seq bigint NOT NULL,
    tenant text NOT NULL,
    mailbox_key text NOT NULL,
    pool_id text NOT NULL,
    task_id text NOT NULL,
    status text NOT NULL,
    reason text NOT NULL,
    message text NOT NULL,
    attempt bigint NOT NULL,
    created_at bigint NOT NULL,
    trimmed boolean DEFAULT false NOT NULL,
    payload bytea,
    relayed boolean DEFAULT false NOT NULL,
    lead boolean DEFAULT true NOT NULL
);
CREATE TABLE public.pl_migrations (
    id integer NOT NULL,
    version_id bigint NOT NULL,
    is_applied boolean NOT NULL,
    tstamp timestamp without time zone DEFAULT now() NOT NULL
);
ALTER TABLE public.pl_migrations ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.pl_migrations_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.pl_nodes (
    node_id text NOT NULL,
    counter bigint NOT NULL,
    dead boolean DEFAULT false NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    beat_at timestamp with time zone DEFAULT now() NOT NULL
)
WITH (fillfactor='50');
CREATE TABLE public.pl_outbox (
    parcel_id bigint NOT NULL,
    dest text NOT NULL,
    due bigint NOT NULL,
    attempts bigint NOT NULL,
    since bigint NOT NULL,
    body bytea NOT NULL,
    payload bytea
);
CREATE TABLE public.pl_pools (
    pool_id text NOT NULL,
    rev bigint NOT NULL,
    max_units bigint NOT NULL,
    max_queue_depth bigint NOT NULL,
    state text NOT NULL,
    used bigint NOT NULL,
    queued bigint NOT NULL,
    last_at bigint NOT NULL,
    configured_units bigint NOT NULL,
    configured_depth bigint NOT NULL,
    last_step text NOT NULL,
    waiting text[] DEFAULT '{}'::text[] NOT NULL,
    CONSTRAINT pl_pools_queued_check CHECK ((queued >= 0)),
    CONSTRAINT pl_pools_used_check CHECK ((used >= 0))
)
WITH (fillfactor='10');
CREATE TABLE public.pl_queue_jobs (
    seq bigint NOT NULL,
    pool_id text NOT NULL,
    task_id text NOT NULL,
    tenant text NOT NULL,
    status text NOT NULL,
    priority bigint NOT NULL,
    rank bigint NOT NULL,
    units bigint NOT NULL,
    attempt bigint NOT NULL,
    strikes bigint NOT NULL,
    cancelled boolean NOT NULL,
    submitted_at bigint NOT NULL,
    started_at bigint NOT NULL,
    ended_at bigint NOT NULL,
    not_before bigint NOT NULL,
    deadline bigint NOT NULL,
    timeout bigint NOT NULL,
    lease_ttl bigint NOT NULL,
    max_attempts bigint NOT NULL,
    backoff bigint NOT NULL,
    digest bigint NOT NULL,
    mailbox_key text NOT NULL,
    node text NOT NULL,
    lease text NOT NULL,
    reason text NOT NULL,
    message text NOT NULL,
    work_dir text NOT NULL,
    command bytea,
    result bytea,
    payload bytea,
    odd text GENERATED ALWAYS AS (
CASE
    WHEN (status <> ALL (ARRAY['running'::text, 'completed'::text])) THEN status
    ELSE NULL::text
END) STORED
)
WITH (fillfactor='45');
CREATE TABLE public.pl_steps (
    pool_id text NOT NULL,
    rev bigint NOT NULL,
    step_id text NOT NULL,
    tasks text[] NOT NULL
);
INSERT INTO public.pl_audit_events VALUES (12230590465, 'gpu', 1, 0, 1795979798514001, 'submit', 'done-1', 'default', 1, 0, '', NULL, 7);
INSERT INTO public.pl_audit_events VALUES (12230590466, 'gpu', 1, 1, 1795979798514001, 'start', 'done-1', 'default', 1, 1, '01a228bc-e6e5-75ed-b686-46598ae4ae7e', NULL, 0);
INSERT INTO public.pl_audit_events VALUES (12247367681, 'gpu', 2, 0, 1795979798576882, 'complete', 'done-1', 'default', 1, 1, '01a228bc-e6e5-75ed-b686-46598ae4ae7e', NULL, 7);
INSERT INTO public.pl_audit_events VALUES (12264144897, 'gpu', 3, 0, 1795979798689405, 'submit', 'done-2', 'default', 1, 0, '', NULL, 7);
INSERT INTO public.pl_audit_events VALUES (12264144898, 'gpu', 3, 1, 1795979798689405, 'start', 'done-2', 'default', 1, 1, '01a228bc-e6e5-75ed-b686-46598ae4ae7e', NULL, 0);
INSERT INTO public.pl_audit_events VALUES (12280922113, 'gpu', 4, 0, 1795979798692747, 'complete', 'done-2', 'default', 1, 1, '01a228bc-e6e5-75ed-b686-46598ae4ae7e', NULL, 7);
INSERT INTO public.pl_audit_events VALUES (12297699329, 'gpu', 5, 0, 1795979798806991, 'submit', 'done-3', 'default', 1, 0, '', NULL, 7);
INSERT INTO public.pl_audit_events VALUES (12297699330, 'gpu', 5, 1, 1795979798806991, 'start', 'done-3', 'default', 1, 1, '01a228bc-e6e5-75ed-b686-46598ae4ae7e', NULL, 0);
INSERT INTO public.pl_audit_events VALUES (12314476545, 'gpu', 6, 0, 1795979798814460, 'complete', 'done-3', 'default', 1, 1, '01a228bc-e6e5-75ed-b686-46598ae4ae7e', NULL, 7);
INSERT INTO public.pl_audit_events VALUES (12331253761, 'gpu', 7, 0, 1795979798889237, 'submit', 'failed-1', 'acme', 1, 0, '', NULL, 7);
INSERT INTO public.pl_audit_events VALUES (12331253762, 'gpu', 7, 1, 1795979798889237, 'start', 'failed-1', 'acme', 1, 1, '01a228bc-e6e5-75ed-b686-46598ae4ae7e', NULL, 0);
INSERT INTO public.pl_audit_events VALUES (12348030977, 'gpu', 8, 0, 1795979798892424, 'fail', 'failed-1', 'acme', 1, 1, '01a228bc-e6e5-75ed-b686-46598ae4ae7e', '\x7b22726561736f6e223a2273696d756c617465645f6661696c757265227d', 7);
INSERT INTO public.pl_audit_events VALUES (12364808193, 'work', 1, 0, 1795979799124919, 'submit', 'cmd-1', 'default', 1, 0, '', NULL, 7);
INSERT INTO public.pl_audit_events VALUES (12364808194, 'work', 1, 1, 1795979799124919, 'start', 'cmd-1', 'default', 1, 1, '01a228bc-e6e5-75ed-b686-46598ae4ae7e', NULL, 0);
INSERT INTO public.pl_audit_events VALUES (12381585409, 'work', 2, 0, 1795979799434474, 'submit', 'cmd-run', 'default', 2, 0, '', NULL, 7);
INSERT INTO public.pl_audit_events VALUES (12381585410, 'work', 2, 1, 1795979799434474, 'enqueue', 'cmd-run', 'default', 2, 0, '', NULL, 0);
INSERT INTO public.pl_audit_events VALUES (12415139841, 'work', 3, 0, 1795979799505875, 'complete', 'cmd-1', 'default', 1, 1, '01a228bc-e6e5-75ed-b686-46598ae4ae7e', NULL, 7);
INSERT INTO public.pl_audit_events VALUES (12415139842, 'work', 3, 1, 1795979799505875, 'start', 'cmd-run', 'default', 2, 1, '01a228bc-e6e5-75ed-b686-46598ae4ae7e', NULL, 4);
INSERT INTO public.pl_audit_events VALUES (12431917057, 'work', 4, 0, 1795979799665694, 'submit', 'cmd-parked', 'default', 1, 0, '', NULL, 7);
INSERT INTO public.pl_audit_events VALUES (12431917058, 'work', 4, 1, 1795979799665694, 'enqueue', 'cmd-parked', 'default', 1, 0, '', NULL, 0);
INSERT INTO public.pl_audit_events VALUES (12448694273, 'work', 5, 0, 1795979799988128, 'submit', 'cmd-expired', 'default', 1, 0, '', NULL, 7);
INSERT INTO public.pl_audit_events VALUES (12448694274, 'work', 5, 1, 1795979799988128, 'enqueue', 'cmd-expired', 'default', 1, 0, '', NULL, 0);
INSERT INTO public.pl_audit_events VALUES (12465471489, 'work', 6, 0, 1795979800018264, 'expire', 'cmd-expired', 'default', 1, 0, '', '\x7b22726561736f6e223a22646561646c696e655f706173736564227d', 7);
INSERT INTO public.pl_audit_events VALUES (12515803137, 'gpu', 9, 0, 1795979802292958, 'submit', 'running-1', 'acme', 3, 0, '', NULL, 7);
INSERT INTO public.pl_audit_events VALUES (12515803138, 'gpu', 9, 1, 1795979802292958, 'start', 'running-1', 'acme', 3, 1, '01a228bc-e6e5-75ed-b686-46598ae4ae7e', NULL, 0);
INSERT INTO public.pl_audit_events VALUES (12532580353, 'gpu', 10, 0, 1795979802500110, 'submit', 'parked-1', 'acme', 2, 0, '', NULL, 7);
INSERT INTO public.pl_audit_events VALUES (12532580354, 'gpu', 10, 1, 1795979802500110, 'enqueue', 'parked-1', 'acme', 2, 0, '', NULL, 0);
INSERT INTO public.pl_audit_events VALUES (12566134785, 'gpu', 11, 0, 1795979802752327, 'submit', 'parked-2', 'acme', 3, 0, '', NULL, 7);
INSERT INTO public.pl_audit_events VALUES (12566134786, 'gpu', 11, 1, 1795979802752327, 'enqueue', 'parked-2', 'acme', 3, 0, '', NULL, 0);
INSERT INTO public.pl_audit_events VALUES (12582912001, 'gpu', 12, 0, 1795979802977892, 'submit', 'parked-3', 'acme', 4, 0, '', NULL, 7);
INSERT INTO public.pl_audit_events VALUES (12582912002, 'gpu', 12, 1, 1795979802977892, 'enqueue', 'parked-3', 'acme', 4, 0, '', NULL, 0);
INSERT INTO public.pl_audit_events VALUES (12599689217, 'gpu', 13, 0, 1795979803190766, 'submit', 'parked-deadline', 'default', 2, 0, '', NULL, 7);
INSERT INTO public.pl_audit_events VALUES (12599689218, 'gpu', 13, 1, 1795979803190766, 'enqueue', 'parked-deadline', 'default', 2, 0, '', NULL, 0);
INSERT INTO public.pl_audit_events VALUES (12616466433, 'gpu', 14, 0, 1795979803383052, 'submit', 'cancelled-1', 'default', 4, 0, '', NULL, 7);
INSERT INTO public.pl_audit_events VALUES (12616466434, 'gpu', 14, 1, 1795979803383052, 'enqueue', 'cancelled-1', 'default', 4, 0, '', NULL, 0);
INSERT INTO public.pl_audit_events VALUES (12650020865, 'gpu', 15, 0, 1795979803680769, 'cancel', 'cancelled-1', 'default', 4, 0, '', '\x7b22726561736f6e223a2263616e63656c6c6564227d', 7);
INSERT INTO public.pl_audit_events VALUES (12666798081, 'gpu', 16, 0, 1795979803978088, 'reject', 'too-much', 'default', 40, 0, '', '\x7b22636f6465223a22636f73745f657863656564735f706f6f6c227d', 7);
INSERT INTO public.pl_audit_events VALUES (12683575297, 'lease', 1, 0, 1795979804229959, 'submit', 'leased-1', 'default', 1, 0, '', NULL, 7);
INSERT INTO public.pl_audit_events VALUES (12683575298, 'lease', 1, 1, 1795979804229959, 'enqueue', 'leased-1', 'default', 1, 0, '', NULL, 0);
INSERT INTO public.pl_audit_events VALUES (12700352513, 'lease', 2, 0, 1795979804408882, 'submit', 'leased-2', 'default', 1, 0, '', NULL, 7);
INSERT INTO public.pl_audit_events VALUES (12700352514, 'lease', 2, 1, 1795979804408882, 'enqueue', 'leased-2', 'default', 1, 0, '', NULL, 0);
INSERT INTO public.pl_audit_events VALUES (12733906945, 'lease', 3, 0, 1795979804662015, 'start', 'leased-1', 'default', 1, 1, '01a228bc-e6e5-75ed-b686-46598ae4ae7e', '\x7b22776f726b6572223a227731227d', 7);
INSERT INTO public.pl_audit_events VALUES (12750684161, 'lease', 4, 0, 1795979804794100, 'update', '', '', 0, 0, '', '\x7b226d6178556e697473223a7b2266726f6d223a382c22746f223a397d7d', 7);
INSERT INTO public.pl_base VALUES (0);
INSERT INTO public.pl_batches VALUES ('work', 738, 1);
INSERT INTO public.pl_batches VALUES ('work', 741, 1);
INSERT INTO public.pl_batches VALUES ('gpu', 746, 1);
INSERT INTO public.pl_batches VALUES ('gpu', 747, 1);
INSERT INTO public.pl_batches VALUES ('gpu', 749, 1);
INSERT INTO public.pl_batches VALUES ('gpu', 750, 1);
INSERT INTO public.pl_batches VALUES ('gpu', 751, 1);
INSERT INTO public.pl_batches VALUES ('lease', 756, 1);
INSERT INTO public.pl_batches VALUES ('lease', 757, 1);
INSERT INTO public.pl_mailbox_messages VALUES (12247367681, 'default', 'alice', 'gpu', 'done-1', 'completed', '', '', 1, 1795979798576882, false, '\x7b226e223a317d', false, true);
INSERT INTO public.pl_mailbox_messages VALUES (12280922113, 'default', 'alice', 'gpu', 'done-2', 'completed', '', '', 1, 1795979798692747, false, '\x7b226e223a327d', false, true);
INSERT INTO public.pl_mailbox_messages VALUES (12314476545, 'default', 'alice', 'gpu', 'done-3', 'completed', '', '', 1, 1795979798814460, false, '\x7b226e223a337d', false, true);
INSERT INTO public.pl_mailbox_messages VALUES (12348030977, 'acme', 'bob', 'gpu', 'failed-1', 'failed', 'simulated_failure', 'the payload says so', 1, 1795979798892424, false, NULL, false, true);
INSERT INTO public.pl_mailbox_messages VALUES (12415139841, 'default', 'alice', 'work', 'cmd-1', 'completed', '', '', 1, 1795979799505875, false, '\x7b2265786974436f6465223a302c227374646f7574223a227b5c22615c223a317d5c6e222c22737464657272223a22227d', false, true);
INSERT INTO public.pl_mailbox_messages VALUES (12465471489, 'default', 'bob', 'work', 'cmd-expired', 'expired', 'deadline_passed', 'not started by 2026-11-29T19:16:40.000000Z', 0, 1795979800018264, false, NULL, false, true);
INSERT INTO public.pl_migrations VALUES (1, 0, true, '2026-11-29 19:16:37.114895');
INSERT INTO public.pl_migrations VALUES (2, 1, true, '2026-11-29 19:16:37.219853');
INSERT INTO public.pl_nodes VALUES ('01a228bc-e6e5-75ed-b686-46598ae4ae7e', 7, false, '2026-11-29 19:16:38.419038+00', '2026-11-29 19:16:44.511836+00');
INSERT INTO public.pl_pools VALUES ('gpu', 16, 4, 100, 'active', 3, 4, 1795979803978088, 4, 100, '01a228bc-fd4a-71d3-9fc6-40c57bdaf632', '{}');
INSERT INTO public.pl_pools VALUES ('work', 6, 2, 50, 'active', 2, 1, 1795979800018264, 2, 50, '01a228bc-edd2-764d-9be4-de519cca2e16', '{}');
INSERT INTO public.pl_pools VALUES ('lease', 4, 9, 10, 'active', 1, 1, 1795979804794100, 8, 10, '01a228bd-007a-71f6-b963-3fa1c1733682', '{}');
INSERT INTO public.pl_queue_jobs VALUES (12230590465, 'gpu', 'done-1', 'default', 'completed', 0, 0, 1, 1, 0, false, 1795979798514001, 1795979798514001, 1795979798576882, 0, 0, 600000000000, 0, 3, 1000000000, -5811123983928988498, 'alice', '01a228bc-e6e5-75ed-b686-46598ae4ae7e', '', '', '', '', NULL, '\x7b226e223a317d', '\x7b226475726174696f6e4d73223a312c22726573756c74223a7b226e223a317d7d', DEFAULT);
INSERT INTO public.pl_queue_jobs VALUES (12264144897, 'gpu', 'done-2', 'default', 'completed', 0, 1, 1, 1, 0, false, 1795979798689405, 1795979798689405, 1795979798692747, 0, 0, 600000000000, 0, 3, 1000000000, -1185087766548290277, 'alice', '01a228bc-e6e5-75ed-b686-46598ae4ae7e', '', '', '', '', NULL, '\x7b226e223a327d', '\x7b226475726174696f6e4d73223a312c22726573756c74223a7b226e223a327d7d', DEFAULT);
INSERT INTO public.pl_queue_jobs VALUES (12297699329, 'gpu', 'done-3', 'default', 'completed', 0, 2, 1, 1, 0, false, 1795979798806991, 1795979798806991, 1795979798814460, 0, 0, 600000000000, 0, 3, 1000000000, 4672378912125837675, 'alice', '01a228bc-e6e5-75ed-b686-46598ae4ae7e', '', '', '', '', NULL, '\x7b226e223a337d', '\x7b226475726174696f6e4d73223a312c22726573756c74223a7b226e223a337d7d', DEFAULT);
INSERT INTO public.pl_queue_jobs VALUES (12331253761, 'gpu', 'failed-1', 'acme', 'failed', 0, 3, 1, 1, 1, false, 1795979798889237, 1795979798889237, 1795979798892424, 0, 0, 600000000000, 0, 1, 0, 4078358637455857687, 'bob', '01a228bc-e6e5-75ed-b686-46598ae4ae7e', '', 'simulated_failure', 'the payload says so', '', NULL, NULL, '\x7b226475726174696f6e4d73223a312c226661696c223a747275657d', DEFAULT);
INSERT INTO public.pl_queue_jobs VALUES (12364808193, 'work', 'cmd-1', 'default', 'completed', 0, 0, 1, 1, 0, false, 1795979799124919, 1795979799124919, 1795979799505875, 0, 0, 0, 0, 0, 0, -1613285141070854931, 'alice', '01a228bc-e6e5-75ed-b686-46598ae4ae7e', '', '', '', '', '\x5b227368222c222d63222c226563686f205c227b5c5c5c22615c5c5c223a317d5c22225d', '\x7b2265786974436f6465223a302c227374646f7574223a227b5c22615c223a317d5c6e222c22737464657272223a22227d', NULL, DEFAULT);
INSERT INTO public.pl_queue_jobs VALUES (12381585409, 'work', 'cmd-run', 'default', 'running', 0, 1, 2, 1, 0, false, 1795979799434474, 1795979799505875, 0, 0, 0, 0, 0, 0, 0, -3299051904292562730, 'alice', '01a228bc-e6e5-75ed-b686-46598ae4ae7e', '', '', '', '', '\x5b22736c656570222c2231303030225d', NULL, NULL, DEFAULT);
INSERT INTO public.pl_queue_jobs VALUES (12431917057, 'work', 'cmd-parked', 'default', 'queued', -1, 0, 1, 0, 0, false, 1795979799665694, 0, 0, 0, 0, 30000000000, 0, 0, 0, -8029623119271763362, '', '', '', '', '', '', '\x5b226563686f222c226869225d', NULL, NULL, DEFAULT);
INSERT INTO public.pl_queue_jobs VALUES (12448694273, 'work', 'cmd-expired', 'default', 'expired', 0, 2, 1, 0, 0, false, 1795979799988128, 0, 1795979800018264, 0, 1795979800000000, 0, 0, 0, 0, -6577884952014291995, 'bob', '', '', 'deadline_passed', 'not started by 2026-11-29T19:16:40.000000Z', '', '\x5b226563686f222c226869225d', NULL, NULL, DEFAULT);
INSERT INTO public.pl_queue_jobs VALUES (12515803137, 'gpu', 'running-1', 'acme', 'running', 0, 4, 3, 1, 0, false, 1795979802292958, 1795979802292958, 0, 0, 0, 600000000000, 0, 3, 1000000000, 1354286525282975049, 'alice', '01a228bc-e6e5-75ed-b686-46598ae4ae7e', '', '', '', '', NULL, NULL, '\x7b226475726174696f6e4d73223a3130303030303030307d', DEFAULT);
INSERT INTO public.pl_queue_jobs VALUES (12532580353, 'gpu', 'parked-1', 'acme', 'queued', 1, 0, 2, 0, 0, false, 1795979802500110, 0, 0, 0, 0, 600000000000, 0, 3, 1000000000, 6240648561562480604, 'alice', '', '', '', '', '', NULL, NULL, '\x7b226475726174696f6e4d73223a312c2274657874223a224772c3bcc39f65227d', DEFAULT);
INSERT INTO public.pl_queue_jobs VALUES (12566134785, 'gpu', 'parked-2', 'acme', 'queued', 1, 1, 3, 0, 0, false, 1795979802752327, 0, 0, 0, 0, 600000000000, 0, 3, 1000000000, 8218080014939613356, 'alice', '', '', '', '', '', NULL, NULL, '\x7b226475726174696f6e4d73223a312c2274657874223a224772c3bcc39f65227d', DEFAULT);
INSERT INTO public.pl_queue_jobs VALUES (12582912001, 'gpu', 'parked-3', 'acme', 'queued', 1, 2, 4, 0, 0, false, 1795979802977892, 0, 0, 0, 0, 600000000000, 0, 3, 1000000000, -7264116184188974840, 'alice', '', '', '', '', '', NULL, NULL, '\x7b226475726174696f6e4d73223a312c2274657874223a224772c3bcc39f65227d', DEFAULT);
INSERT INTO public.pl_queue_jobs VALUES (12599689217, 'gpu', 'parked-deadline', 'default', 'queued', 0, 5, 2, 0, 0, false, 1795979803190766, 0, 0, 0, 3976214400000000, 600000000000, 0, 3, 1000000000, 2485930044186130046, '', '', '', '', '', '', NULL, NULL, '\x7b226475726174696f6e4d73223a317d', DEFAULT);
INSERT INTO public.pl_queue_jobs VALUES (12616466433, 'gpu', 'cancelled-1', 'default', 'dropped', 0, 6, 4, 0, 0, false, 1795979803383052, 0, 1795979803680769, 0, 0, 600000000000, 0, 3, 1000000000, 6033657451478453729, '', '', '', 'cancelled', '', '', NULL, NULL, '\x7b226475726174696f6e4d73223a317d', DEFAULT);
INSERT INTO public.pl_queue_jobs VALUES (12700352513, 'lease', 'leased-2', 'default', 'queued', 0, 1, 1, 0, 0, false, 1795979804408882, 0, 0, 0, 0, 60000000000, 0, 0, 0, 1552510176237082250, 'alice', '', '', '', '', '', NULL, NULL, '\x7b226b223a327d', DEFAULT);
INSERT INTO public.pl_queue_jobs VALUES (12683575297, 'lease', 'leased-1', 'default', 'running', 0, 0, 1, 1, 0, false, 1795979804229959, 1795979804662015, 0, 0, 0, 60000000000, 3600000000000, 0, 0, -7979182060234797714, 'alice', '01a228bc-e6e5-75ed-b686-46598ae4ae7e', 'lease.1.360f2300b3c016d8a1b4999d47811266.leased-1', '', '', '', NULL, NULL, '\x7b226b223a317d', DEFAULT);
INSERT INTO public.pl_steps VALUES ('gpu', 1, '01a228bc-e7f2-7279-bba2-4187ca37ad0f', '{done-1}');
INSERT INTO public.pl_steps VALUES ('gpu', 2, '01a228bc-e830-7df2-86c0-fc55b027b645', '{done-1}');
INSERT INTO public.pl_steps VALUES ('gpu', 3, '01a228bc-e8a1-76cf-ac06-063769ef1cf8', '{done-2}');
INSERT INTO public.pl_steps VALUES ('gpu', 4, '01a228bc-e8a4-7bca-b8fe-10d0ef34c3a2', '{done-2}');
INSERT INTO public.pl_steps VALUES ('gpu', 5, '01a228bc-e917-7060-a30c-af35dee332c0', '{done-3}');
INSERT INTO public.pl_steps VALUES ('gpu', 6, '01a228bc-e91e-7781-9251-7c14d9861701', '{done-3}');
INSERT INTO public.pl_steps VALUES ('gpu', 7, '01a228bc-e969-7446-ba04-f76d9ad786a5', '{failed-1}');
INSERT INTO public.pl_steps VALUES ('gpu', 8, '01a228bc-e96c-76f2-a7be-1c6715f33025', '{failed-1}');
INSERT INTO public.pl_steps VALUES ('work', 1, '01a228bc-ea55-70aa-ac2d-42d952728fca', '{cmd-1}');
INSERT INTO public.pl_steps VALUES ('work', 2, '01a228bc-eb8a-7839-bd91-40b2bf73bcbc', '{cmd-run}');
INSERT INTO public.pl_steps VALUES ('work', 3, '01a228bc-ebd1-7e92-9f00-4453869dbed8', '{cmd-1,cmd-run}');
INSERT INTO public.pl_steps VALUES ('work', 4, '01a228bc-ec71-7ba3-a1c4-665deade36ea', '{cmd-parked}');
INSERT INTO public.pl_steps VALUES ('work', 5, '01a228bc-edb4-7280-bf15-708a4ad2aa2c', '{cmd-expired}');
INSERT INTO public.pl_steps VALUES ('work', 6, '01a228bc-edd2-764d-9be4-de519cca2e16', '{cmd-expired}');
INSERT INTO public.pl_steps VALUES ('gpu', 9, '01a228bc-f6b5-710d-9087-0d638c208493', '{running-1}');
INSERT INTO public.pl_steps VALUES ('gpu', 10, '01a228bc-f784-7217-ba0e-f0c15fc6ca99', '{parked-1}');
INSERT INTO public.pl_steps VALUES ('gpu', 11, '01a228bc-f880-7583-be46-dca4d52eeac9', '{parked-2}');
INSERT INTO public.pl_steps VALUES ('gpu', 12, '01a228bc-f961-7e20-92cf-caf7f68ff9eb', '{parked-3}');
INSERT INTO public.pl_steps VALUES ('gpu', 13, '01a228bc-fa36-7c43-9b3b-e41f164044e7', '{parked-deadline}');
INSERT INTO public.pl_steps VALUES ('gpu', 14, '01a228bc-faf7-7173-a713-f5db7213a393', '{cancelled-1}');
INSERT INTO public.pl_steps VALUES ('gpu', 15, '01a228bc-fc20-7c52-a981-353195df6653', '{cancelled-1}');
INSERT INTO public.pl_steps VALUES ('gpu', 16, '01a228bc-fd4a-71d3-9fc6-40c57bdaf632', '{}');
INSERT INTO public.pl_steps VALUES ('lease', 1, '01a228bc-fe46-71d6-977d-78729b6f8893', '{leased-1}');
INSERT INTO public.pl_steps VALUES ('lease', 2, '01a228bc-fef8-7dd7-989d-3aec0158f340', '{leased-2}');
INSERT INTO public.pl_steps VALUES ('lease', 3, '01a228bc-fff6-70a8-90d1-dec76f30281a', '{leased-1}');
INSERT INTO public.pl_steps VALUES ('lease', 4, '01a228bd-007a-71f6-b963-3fa1c1733682', '{}');
SELECT pg_catalog.setval('public.pl_migrations_id_seq', 2, true);
ALTER TABLE ONLY public.pl_audit_events
    ADD CONSTRAINT pl_audit_events_pkey PRIMARY KEY (pool_id, rev, ord);
ALTER TABLE ONLY public.pl_audit_segments
    ADD CONSTRAINT pl_audit_segments_pkey PRIMARY KEY (first_seq);
ALTER TABLE ONLY public.pl_batches
    ADD CONSTRAINT pl_batches_pkey PRIMARY KEY (pool_id, batch);
ALTER TABLE ONLY public.pl_leases
    ADD CONSTRAINT pl_leases_pkey PRIMARY KEY (pool_id, task_id);
ALTER TABLE ONLY public.pl_mailbox_messages
    ADD CONSTRAINT pl_mailbox_messages_pkey PRIMARY KEY (seq);
ALTER TABLE ONLY public.pl_migrations
    ADD CONSTRAINT pl_migrations_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.pl_nodes
    ADD CONSTRAINT pl_nodes_pkey PRIMARY KEY (node_id);
ALTER TABLE ONLY public.pl_outbox
    ADD CONSTRAINT pl_outbox_pkey PRIMARY KEY (parcel_id);
ALTER TABLE ONLY public.pl_pools
    ADD CONSTRAINT pl_pools_pkey PRIMARY KEY (pool_id);
ALTER TABLE ONLY public.pl_queue_jobs
    ADD CONSTRAINT pl_queue_jobs_pkey PRIMARY KEY (task_id, pool_id);
ALTER TABLE ONLY public.pl_steps
    ADD CONSTRAINT pl_steps_pkey PRIMARY KEY (pool_id, rev);
CREATE INDEX pl_audit_events_action ON public.pl_audit_events USING btree (action, seq, tenant, pool_id) WHERE (action <> ALL (ARRAY['submit'::text, 'enqueue'::text, 'start'::text, 'complete'::text]));
CREATE INDEX pl_audit_events_seq ON public.pl_audit_events USING btree (seq) WHERE (((lead)::integer & 1) <> 0);
CREATE INDEX pl_audit_events_task ON public.pl_audit_events USING btree (task_id, seq) WHERE (((lead)::integer & 4) <> 0);
CREATE INDEX pl_audit_events_tenant ON public.pl_audit_events USING btree (tenant, seq, pool_id) WHERE (((lead)::integer & 2) <> 0);
CREATE INDEX pl_mailbox_messages_created ON public.pl_mailbox_messages USING btree (created_at) WHERE lead;
CREATE INDEX pl_mailbox_messages_key ON public.pl_mailbox_messages USING btree (tenant, mailbox_key, seq) INCLUDE (created_at) WHERE (NOT trimmed);
CREATE UNIQUE INDEX pl_mailbox_messages_task ON public.pl_mailbox_messages USING btree (pool_id, task_id) WHERE relayed;
CREATE INDEX pl_outbox_due ON public.pl_outbox USING btree (dest, due, parcel_id);
CREATE INDEX pl_queue_jobs_deadline ON public.pl_queue_jobs USING btree (deadline) WHERE ((odd = 'queued'::text) AND (deadline <> 0));
CREATE INDEX pl_queue_jobs_odd ON public.pl_queue_jobs USING btree (pool_id, odd, seq) WHERE (odd IS NOT NULL);
CREATE UNIQUE INDEX pl_queue_jobs_pool ON public.pl_queue_jobs USING btree (pool_id, seq);
CREATE INDEX pl_queue_jobs_priority ON public.pl_queue_jobs USING btree (pool_id, priority DESC, rank) WHERE (odd = 'queued'::text);
CREATE INDEX pl_queue_jobs_tenant ON public.pl_queue_jobs USING btree (pool_id, tenant, seq);
CREATE TRIGGER pl_pools_capacity BEFORE INSERT OR UPDATE ON public.pl_pools FOR EACH ROW EXECUTE FUNCTION public.pl_guard_capacity();
