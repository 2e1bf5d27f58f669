-- What is removed because it is old leaves a mark of how far that went, so that who reads what is left can tell it from a
-- loss. Before this nobody noted it: where a log does not begin with its pool, the first mark is where it begins now, and what
-- ended before that may have been removed too.

-- +goose Up
CREATE TABLE pl_marks (
    place     text    NOT NULL, -- events, tasks or messages
    pool_id   text    NOT NULL, -- of events; else ''
    rev       bigint  NOT NULL, -- events of up to this step were removed; else 0
    before_at bigint  NOT NULL, -- what is from before may be gone
    guess     boolean NOT NULL, -- it was not noted when it was removed
    PRIMARY KEY (place, pool_id)
);

INSERT INTO pl_marks
WITH RECURSIVE logs (id) AS (
    SELECT (SELECT min(pool_id) FROM pl_audit_events)
    UNION ALL
    SELECT (SELECT min(e.pool_id) FROM pl_audit_events e WHERE e.pool_id > id) FROM logs WHERE id IS NOT NULL),
pools (id) AS (SELECT id FROM logs WHERE id IS NOT NULL UNION SELECT pool_id FROM pl_pools WHERE rev > 0)
SELECT 'events', k.id, coalesce(e.rev - CASE WHEN e.ord = 0 THEN 1 ELSE 0 END, p.rev), coalesce(e.at, p.last_at + 1), true
FROM pools k LEFT JOIN pl_pools p ON p.pool_id = k.id
LEFT JOIN LATERAL (SELECT rev, ord, at FROM pl_audit_events a WHERE a.pool_id = k.id ORDER BY a.rev, a.ord LIMIT 1) AS e ON true
WHERE e.rev IS NULL OR e.rev > 1 OR e.ord > 0;

-- A task was removed only after all events from before its end: so none that ended after the oldest event.
INSERT INTO pl_marks
SELECT place, '', 0, coalesce((SELECT at FROM pl_audit_events WHERE lead & 1 <> 0 ORDER BY seq LIMIT 1), (SELECT max(last_at) + 1 FROM pl_pools), 0), true
FROM (VALUES ('tasks'), ('messages')) AS v (place) WHERE EXISTS (SELECT FROM pl_marks WHERE place = 'events');

-- +goose Down
DROP TABLE pl_marks;
