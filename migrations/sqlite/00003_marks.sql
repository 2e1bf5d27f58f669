-- What is removed because it is old leaves a mark of how far that went, so that who reads what is left can tell it from a
-- loss. Before this nobody noted it: where a log does not begin with its pool, the first mark is where it begins now, and what
-- ended before that may have been removed too.

-- +goose Up
CREATE TABLE pl_marks (
    place     TEXT    NOT NULL, -- events, tasks or messages
    pool_id   TEXT    NOT NULL, -- of events; else ''
    rev       INTEGER NOT NULL, -- events of up to this step were removed; else 0
    before_at INTEGER NOT NULL, -- what is from before may be gone
    guess     INTEGER NOT NULL, -- 1: it was not noted when it was removed
    PRIMARY KEY (place, pool_id)
) STRICT, WITHOUT ROWID;

INSERT INTO pl_marks
WITH RECURSIVE logs (id) AS (
    SELECT (SELECT min(pool_id) FROM pl_audit_events INDEXED BY pl_audit_events_step WHERE lead & 1)
    UNION ALL
    SELECT (SELECT min(pool_id) FROM pl_audit_events INDEXED BY pl_audit_events_step WHERE lead & 1 AND pool_id > id) FROM logs WHERE id IS NOT NULL),
pools (id) AS (SELECT id FROM logs WHERE id IS NOT NULL UNION SELECT pool_id FROM pl_pools WHERE rev > 0),
firsts (id, first) AS (
    SELECT id, (SELECT seq FROM pl_audit_events INDEXED BY pl_audit_events_step WHERE pool_id = id AND lead & 1 ORDER BY rev, ord LIMIT 1) FROM pools)
SELECT 'events', f.id, coalesce(e.rev - (e.ord = 0), p.rev), coalesce(e.at, p.last_at + 1), 1
FROM firsts f LEFT JOIN pl_audit_events e ON e.seq = f.first LEFT JOIN pl_pools p ON p.pool_id = f.id
WHERE e.seq IS NULL OR e.rev > 1 OR e.ord > 0;

-- A task was removed only after all events from before its end: so none that ended after the oldest event.
INSERT INTO pl_marks
SELECT place, '', 0, coalesce((SELECT at FROM pl_audit_events ORDER BY seq LIMIT 1), (SELECT max(last_at) + 1 FROM pl_pools), 0), 1
FROM (SELECT 'tasks' AS place UNION SELECT 'messages') WHERE EXISTS (SELECT 1 FROM pl_marks WHERE place = 'events');

-- +goose Down
DROP TABLE pl_marks;
