-- A task's id may be used again once the task is forgotten, while a message of the first task is still kept here: where the
-- queue is in another store, each has its own retention and a queue in memory goes with its daemon. So a message is told
-- from one that comes again by the time of its task's end too.

-- +goose Up
DROP INDEX pl_mailbox_messages_task;
CREATE UNIQUE INDEX pl_mailbox_messages_task ON pl_mailbox_messages (pool_id, task_id, created_at);

-- +goose Down
-- There is room for one message of each id: the last.
DELETE FROM pl_mailbox_messages WHERE EXISTS (
    SELECT 1 FROM pl_mailbox_messages m
    WHERE m.pool_id = pl_mailbox_messages.pool_id AND m.task_id = pl_mailbox_messages.task_id AND m.seq > pl_mailbox_messages.seq);
DROP INDEX pl_mailbox_messages_task;
CREATE UNIQUE INDEX pl_mailbox_messages_task ON pl_mailbox_messages (pool_id, task_id);
