-- A task's id may be used again once the task is forgotten, while a message of the first task is still kept here: where the
-- queue is in another store, each has its own retention and a queue in memory goes with its daemon. So a message is told
-- from one that comes again by the time of its task's end too. And a pool whose queue was lost goes on after the rev that
-- the log in another store has come to.

-- +goose Up
DROP INDEX pl_mailbox_messages_task;
CREATE UNIQUE INDEX pl_mailbox_messages_task ON pl_mailbox_messages (pool_id, task_id, created_at) WHERE relayed;

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION pl_deliver(start bigint, messages pl_message[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO pl_mailbox_messages (seq, tenant, mailbox_key, pool_id, task_id, status, reason, message, attempt, created_at, payload, relayed)
    SELECT start + n, m.tenant, m.mailbox_key, m.pool_id, m.task_id, m.status, m.reason, m.message, m.attempt, m.created_at, m.payload, true
    FROM pg_catalog.unnest(messages) WITH ORDINALITY AS m (tenant, mailbox_key, pool_id, task_id, status, reason, message, attempt, created_at, payload, lead, n)
    ORDER BY n ON CONFLICT (pool_id, task_id, created_at) WHERE relayed DO NOTHING
$$;
-- +goose StatementEnd

-- pl_lift gives a pool that is not there, or is at an older rev, a step at the given one. A node that is at an older rev
-- finds steps missing after it, and loads the pool anew.
-- +goose StatementBegin
CREATE FUNCTION pl_lift(pool text, to_rev bigint, units bigint, depth bigint, to_state text, at bigint, of_units bigint, of_depth bigint, step text)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pl_pool_locks VALUES (pool) ON CONFLICT DO NOTHING;
    PERFORM FROM pl_pool_locks WHERE pool_id = pool FOR NO KEY UPDATE;
    INSERT INTO pl_steps (pool_id, rev, step_id, tasks, max_units, max_queue_depth, state, used, queued, last_at, configured_units,
        configured_depth, used_before)
    SELECT pool, to_rev, step, '{}', coalesce(p.max_units, units), coalesce(p.max_queue_depth, depth), coalesce(p.state, to_state),
        coalesce(p.used, 0), coalesce(p.queued, 0), greatest(p.last_at, at), coalesce(p.configured_units, of_units),
        coalesce(p.configured_depth, of_depth), coalesce(p.used, 0)
    FROM (SELECT 1) AS one LEFT JOIN pl_pools p ON p.pool_id = pool WHERE coalesce(p.rev, 0) < to_rev;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
DO $$
DECLARE
    home text := (SELECT relnamespace::regnamespace::text FROM pg_catalog.pg_class WHERE oid = 'pl_mailbox_messages'::regclass::oid);
BEGIN
    EXECUTE 'ALTER FUNCTION pl_deliver SET search_path = pg_catalog, ' || home || ', pg_temp';
    EXECUTE 'ALTER FUNCTION pl_lift SET search_path = pg_catalog, ' || home || ', pg_temp';
END $$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION pl_lift;
-- There is room for one message of each id: the last.
DELETE FROM pl_mailbox_messages m USING pl_mailbox_messages later
WHERE m.relayed AND later.relayed AND later.pool_id = m.pool_id AND later.task_id = m.task_id AND later.seq > m.seq;
DROP INDEX pl_mailbox_messages_task;
CREATE UNIQUE INDEX pl_mailbox_messages_task ON pl_mailbox_messages (pool_id, task_id) WHERE relayed;
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION pl_deliver(start bigint, messages pl_message[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO pl_mailbox_messages (seq, tenant, mailbox_key, pool_id, task_id, status, reason, message, attempt, created_at, payload, relayed)
    SELECT start + n, m.tenant, m.mailbox_key, m.pool_id, m.task_id, m.status, m.reason, m.message, m.attempt, m.created_at, m.payload, true
    FROM pg_catalog.unnest(messages) WITH ORDINALITY AS m (tenant, mailbox_key, pool_id, task_id, status, reason, message, attempt, created_at, payload, lead, n)
    ORDER BY n ON CONFLICT (pool_id, task_id) WHERE relayed DO NOTHING
$$;
-- +goose StatementEnd
-- +goose StatementBegin
DO $$
BEGIN
    EXECUTE 'ALTER FUNCTION pl_deliver SET search_path = pg_catalog, ' ||
        (SELECT relnamespace::regnamespace::text FROM pg_catalog.pg_class WHERE oid = 'pl_mailbox_messages'::regclass::oid) || ', pg_temp';
END $$;
-- +goose StatementEnd
