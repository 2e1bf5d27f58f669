-- Who goes first in a line takes the notes of the others, but not more at once than a step has room for. Many nodes that end
-- many runs together would else hand it more than it can read and store in one turn. What is left is for the next one.

-- +goose Up
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION pl_stand(pool text, node text, brings bytea, whole boolean, OUT ahead bigint, OUT notes bytea[])
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
        -- Notes that come to 4 MiB, the oldest first: who takes them is to read and store them at once.
        WITH waiting AS (
            SELECT l.rev, l.place, sum(pg_catalog.octet_length(l.note)) OVER (ORDER BY l.rev, l.place) - pg_catalog.octet_length(l.note) AS sooner
            FROM pl_line l WHERE l.pool_id = pool AND l.rev > top - 64 AND l.note IS NOT NULL),
        taken AS (
            DELETE FROM pl_line l USING waiting w
            WHERE l.pool_id = pool AND l.rev > top - 64 AND l.rev = w.rev AND l.place = w.place AND w.sooner < 4194304
            RETURNING l.node_id, l.rev, l.place, l.note)
        SELECT pg_catalog.array_agg(t.note ORDER BY t.rev, t.place) INTO notes FROM taken t WHERE t.node_id <> node;
    END IF;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
DO $$
BEGIN
    EXECUTE 'ALTER FUNCTION pl_stand SET search_path = pg_catalog, ' ||
        (SELECT relnamespace::regnamespace::text FROM pg_catalog.pg_class WHERE oid = 'pl_line'::regclass::oid) || ', pg_temp';
END $$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION pl_stand(pool text, node text, brings bytea, whole boolean, OUT ahead bigint, OUT notes bytea[])
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
-- +goose StatementBegin
DO $$
BEGIN
    EXECUTE 'ALTER FUNCTION pl_stand SET search_path = pg_catalog, ' ||
        (SELECT relnamespace::regnamespace::text FROM pg_catalog.pg_class WHERE oid = 'pl_line'::regclass::oid) || ', pg_temp';
END $$;
-- +goose StatementEnd
