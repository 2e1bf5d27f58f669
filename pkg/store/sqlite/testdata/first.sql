PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE pl_migrations (
		id INTEGER PRIMARY KEY AUTOINCREMENT,
		version_id INTEGER NOT NULL,
		is_applied INTEGER NOT NULL,
		tstamp TIMESTAMP DEFAULT (datetime('now'))
	);
INSERT INTO pl_migrations VALUES(1,0,1,'2026-11-29 19:42:09');
INSERT INTO pl_migrations VALUES(2,1,1,'2026-11-29 19:42:09');
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
INSERT INTO pl_pools VALUES('cpu',15,2,10,'active',2,3,1795981334106287,2,10,'01a228d4-565a-7672-8982-56de709039b6');
INSERT INTO pl_pools VALUES('far',6,3,10,'active',0,1,1795981335580272,1,10,'01a228d4-5c1c-7676-bd23-1f0e5533aa53');
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
INSERT INTO pl_queue_jobs VALUES(1,'cpu','done-1','acme','completed',0,0,1,1,0,0,1795981330327225,0,1795981330327225,1795981330339643,0,NULL,600000000000,0,0,0,-4324863714475975221,'alice','01a228d4-44be-76cf-a4a2-d44fdbf3298b','','','','',NULL,X'7b226e223a317d',X'7b226475726174696f6e4d73223a352c22726573756c74223a7b226e223a317d7d');
INSERT INTO pl_queue_jobs VALUES(2,'cpu','done-2','acme','completed',0,1,1,1,0,0,1795981330548514,0,1795981330548514,1795981330556585,0,NULL,600000000000,0,0,0,-380345135130780736,'alice','01a228d4-44be-76cf-a4a2-d44fdbf3298b','','','','',NULL,X'7b226e223a327d',X'7b226475726174696f6e4d73223a352c22726573756c74223a7b226e223a327d7d');
INSERT INTO pl_queue_jobs VALUES(3,'cpu','done-3','acme','completed',0,2,1,1,0,0,1795981330649422,0,1795981330649422,1795981330658635,0,NULL,600000000000,0,0,0,2946329382298107634,'alice','01a228d4-44be-76cf-a4a2-d44fdbf3298b','','','','',NULL,X'7b226e223a337d',X'7b226475726174696f6e4d73223a352c22726573756c74223a7b226e223a337d7d');
INSERT INTO pl_queue_jobs VALUES(4,'cpu','failed','acme','failed',0,3,1,1,1,0,1795981330842622,0,1795981330842622,1795981330850672,0,NULL,600000000000,0,0,0,8858786555230017483,'alice','01a228d4-44be-76cf-a4a2-d44fdbf3298b','','simulated_failure','the payload says so','',NULL,NULL,X'7b226475726174696f6e4d73223a352c226661696c223a747275657d');
INSERT INTO pl_queue_jobs VALUES(5,'cpu','running-1','globex','running',1,0,1,1,0,0,1795981331495543,0,1795981331495543,0,0,NULL,600000000000,0,0,0,9136038277049245572,'bob','01a228d4-44be-76cf-a4a2-d44fdbf3298b','','','','',NULL,NULL,X'7b226475726174696f6e4d73223a393030303030307d');
INSERT INTO pl_queue_jobs VALUES(6,'cpu','running-2','globex','running',1,1,1,1,0,0,1795981331764491,0,1795981331764491,0,0,NULL,600000000000,0,0,0,-6812856249603666498,'bob','01a228d4-44be-76cf-a4a2-d44fdbf3298b','','','','',NULL,NULL,X'7b226475726174696f6e4d73223a393030303030307d');
INSERT INTO pl_queue_jobs VALUES(7,'cpu','expired','acme','expired',0,4,1,0,0,0,1795981332111640,0,0,1795981334106287,0,1795981334105874,600000000000,0,0,0,-3114595023891858984,'bob','','','deadline_passed','not started by 2026-11-29T19:42:14.105874Z','',NULL,NULL,X'7b226475726174696f6e4d73223a357d');
INSERT INTO pl_queue_jobs VALUES(8,'cpu','parked-1','globex','queued',0,5,2,0,0,0,1795981332418573,0,0,0,0,1828381332394480,600000000000,0,0,0,6012067897044223329,'carol','','','','','',NULL,NULL,X'7b226475726174696f6e4d73223a352c22726573756c74223a22c3bc227d');
INSERT INTO pl_queue_jobs VALUES(9,'cpu','parked-2','globex','queued',0,6,1,0,0,0,1795981332733754,0,0,0,0,1828381332729974,600000000000,0,0,0,1244916397044457705,'carol','','','','','',NULL,NULL,X'7b226475726174696f6e4d73223a352c22726573756c74223a22c3bc227d');
INSERT INTO pl_queue_jobs VALUES(10,'cpu','parked-3','globex','queued',0,7,2,0,0,0,1795981332894580,0,0,0,0,1828381332888083,600000000000,0,0,0,7005346358816569698,'carol','','','','','',NULL,NULL,X'7b226475726174696f6e4d73223a352c22726573756c74223a22c3bc227d');
INSERT INTO pl_queue_jobs VALUES(11,'far','far-1','acme','queued',0,0,1,0,0,0,1795981333112552,0,0,0,0,NULL,0,0,0,0,7114092748656859607,'alice','','','','','',NULL,NULL,X'7b2261223a317d');
INSERT INTO pl_queue_jobs VALUES(12,'far','far-2','acme','dropped',0,1,1,0,0,0,1795981333345108,0,0,1795981333861748,0,NULL,0,0,0,0,5584507787547384752,'alice','','','cancelled','','',NULL,NULL,X'7b2261223a327d');
INSERT INTO pl_queue_jobs VALUES(13,'far','far-3','acme','expired',0,2,1,0,0,0,1795981333592591,0,0,1795981335580272,0,1795981335579279,0,0,0,0,482387659148101655,'alice','','','deadline_passed','not started by 2026-11-29T19:42:15.579279Z','',NULL,NULL,X'7b2261223a337d');
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
INSERT INTO pl_mailbox_messages VALUES(1,'acme','alice','cpu','done-1','completed','','',1,1795981330339643,0,1,NULL);
INSERT INTO pl_mailbox_messages VALUES(2,'acme','alice','cpu','done-2','completed','','',1,1795981330556585,0,0,X'7b226e223a327d');
INSERT INTO pl_mailbox_messages VALUES(3,'acme','alice','cpu','done-3','completed','','',1,1795981330658635,0,0,X'7b226e223a337d');
INSERT INTO pl_mailbox_messages VALUES(4,'acme','alice','cpu','failed','failed','simulated_failure','the payload says so',1,1795981330850672,0,0,NULL);
INSERT INTO pl_mailbox_messages VALUES(5,'acme','alice','far','far-2','dropped','cancelled','',0,1795981333861748,0,0,NULL);
INSERT INTO pl_mailbox_messages VALUES(6,'acme','bob','cpu','expired','expired','deadline_passed','not started by 2026-11-29T19:42:14.105874Z',0,1795981334106287,0,0,NULL);
INSERT INTO pl_mailbox_messages VALUES(7,'acme','alice','far','far-3','expired','deadline_passed','not started by 2026-11-29T19:42:15.579279Z',0,1795981335580272,0,0,NULL);
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
INSERT INTO pl_audit_events VALUES(1,'cpu',1,0,1795981330327225,0,2,7,'submit','done-1','acme',1,0,'',NULL);
INSERT INTO pl_audit_events VALUES(2,'cpu',1,1,1795981330327225,0,1,0,'start','done-1','acme',1,1,'01a228d4-44be-76cf-a4a2-d44fdbf3298b',NULL);
INSERT INTO pl_audit_events VALUES(3,'cpu',2,0,1795981330339643,0,1,7,'complete','done-1','acme',1,1,'01a228d4-44be-76cf-a4a2-d44fdbf3298b',NULL);
INSERT INTO pl_audit_events VALUES(4,'cpu',3,0,1795981330548514,0,2,7,'submit','done-2','acme',1,0,'',NULL);
INSERT INTO pl_audit_events VALUES(5,'cpu',3,1,1795981330548514,0,1,0,'start','done-2','acme',1,1,'01a228d4-44be-76cf-a4a2-d44fdbf3298b',NULL);
INSERT INTO pl_audit_events VALUES(6,'cpu',4,0,1795981330556585,0,1,7,'complete','done-2','acme',1,1,'01a228d4-44be-76cf-a4a2-d44fdbf3298b',NULL);
INSERT INTO pl_audit_events VALUES(7,'cpu',5,0,1795981330649422,0,2,7,'submit','done-3','acme',1,0,'',NULL);
INSERT INTO pl_audit_events VALUES(8,'cpu',5,1,1795981330649422,0,1,0,'start','done-3','acme',1,1,'01a228d4-44be-76cf-a4a2-d44fdbf3298b',NULL);
INSERT INTO pl_audit_events VALUES(9,'cpu',6,0,1795981330658635,0,1,7,'complete','done-3','acme',1,1,'01a228d4-44be-76cf-a4a2-d44fdbf3298b',NULL);
INSERT INTO pl_audit_events VALUES(10,'cpu',7,0,1795981330842622,0,2,7,'submit','failed','acme',1,0,'',NULL);
INSERT INTO pl_audit_events VALUES(11,'cpu',7,1,1795981330842622,0,1,0,'start','failed','acme',1,1,'01a228d4-44be-76cf-a4a2-d44fdbf3298b',NULL);
INSERT INTO pl_audit_events VALUES(12,'cpu',8,0,1795981330850672,0,1,15,'fail','failed','acme',1,1,'01a228d4-44be-76cf-a4a2-d44fdbf3298b',X'7b22726561736f6e223a2273696d756c617465645f6661696c757265227d');
INSERT INTO pl_audit_events VALUES(13,'cpu',9,0,1795981331495543,0,2,7,'submit','running-1','globex',1,0,'',NULL);
INSERT INTO pl_audit_events VALUES(14,'cpu',9,1,1795981331495543,0,1,0,'start','running-1','globex',1,1,'01a228d4-44be-76cf-a4a2-d44fdbf3298b',NULL);
INSERT INTO pl_audit_events VALUES(15,'cpu',10,0,1795981331764491,0,2,7,'submit','running-2','globex',1,0,'',NULL);
INSERT INTO pl_audit_events VALUES(16,'cpu',10,1,1795981331764491,0,1,0,'start','running-2','globex',1,1,'01a228d4-44be-76cf-a4a2-d44fdbf3298b',NULL);
INSERT INTO pl_audit_events VALUES(17,'cpu',11,0,1795981332111640,0,2,7,'submit','expired','acme',1,0,'',NULL);
INSERT INTO pl_audit_events VALUES(18,'cpu',11,1,1795981332111640,0,1,0,'enqueue','expired','acme',1,0,'',NULL);
INSERT INTO pl_audit_events VALUES(19,'cpu',12,0,1795981332418573,0,2,7,'submit','parked-1','globex',2,0,'',NULL);
INSERT INTO pl_audit_events VALUES(20,'cpu',12,1,1795981332418573,0,1,0,'enqueue','parked-1','globex',2,0,'',NULL);
INSERT INTO pl_audit_events VALUES(21,'cpu',13,0,1795981332733754,0,2,7,'submit','parked-2','globex',1,0,'',NULL);
INSERT INTO pl_audit_events VALUES(22,'cpu',13,1,1795981332733754,0,1,0,'enqueue','parked-2','globex',1,0,'',NULL);
INSERT INTO pl_audit_events VALUES(23,'cpu',14,0,1795981332894580,0,2,7,'submit','parked-3','globex',2,0,'',NULL);
INSERT INTO pl_audit_events VALUES(24,'cpu',14,1,1795981332894580,0,1,0,'enqueue','parked-3','globex',2,0,'',NULL);
INSERT INTO pl_audit_events VALUES(25,'far',1,0,1795981333112552,0,2,7,'submit','far-1','acme',1,0,'',NULL);
INSERT INTO pl_audit_events VALUES(26,'far',1,1,1795981333112552,0,1,0,'enqueue','far-1','acme',1,0,'',NULL);
INSERT INTO pl_audit_events VALUES(27,'far',2,0,1795981333345108,0,2,7,'submit','far-2','acme',1,0,'',NULL);
INSERT INTO pl_audit_events VALUES(28,'far',2,1,1795981333345108,0,1,0,'enqueue','far-2','acme',1,0,'',NULL);
INSERT INTO pl_audit_events VALUES(29,'far',3,0,1795981333592591,0,2,7,'submit','far-3','acme',1,0,'',NULL);
INSERT INTO pl_audit_events VALUES(30,'far',3,1,1795981333592591,0,1,0,'enqueue','far-3','acme',1,0,'',NULL);
INSERT INTO pl_audit_events VALUES(31,'far',4,0,1795981333861748,0,1,15,'cancel','far-2','acme',1,0,'',X'7b22726561736f6e223a2263616e63656c6c6564227d');
INSERT INTO pl_audit_events VALUES(32,'far',5,0,1795981333928066,0,1,9,'update','','',0,0,'',X'7b226d6178556e697473223a7b2266726f6d223a312c22746f223a337d7d');
INSERT INTO pl_audit_events VALUES(33,'cpu',15,0,1795981334106287,0,1,15,'expire','expired','acme',1,0,'',X'7b22726561736f6e223a22646561646c696e655f706173736564227d');
INSERT INTO pl_audit_events VALUES(34,'far',6,0,1795981335580272,0,1,15,'expire','far-3','acme',1,0,'',X'7b22726561736f6e223a22646561646c696e655f706173736564227d');
CREATE TABLE pl_outbox (
    parcel_id INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice: a late settle must not hit another parcel
    dest      TEXT    NOT NULL,
    due       INTEGER NOT NULL, -- 0: not put off yet
    attempts  INTEGER NOT NULL,
    since     INTEGER NOT NULL,
    body      BLOB    NOT NULL, -- JSON
    payload   BLOB              -- the message's payload or the event's detail
) STRICT;
INSERT INTO pl_outbox VALUES(1,'notify/far',1795981336921887,2,1795981333861748,X'7b226d657373616765223a7b226964223a22222c227461736b4964223a226661722d32222c22706f6f6c4964223a22666172222c22737461747573223a2264726f70706564222c22726561736f6e223a2263616e63656c6c6564222c22617474656d7074223a302c22637265617465644174223a22323032362d31312d32395431393a34323a31332e3836313734385a227d2c2274656e616e74223a2261636d65222c226b6579223a22616c696365227d',NULL);
INSERT INTO pl_outbox VALUES(2,'notify/far',1795981337985897,2,1795981335580272,X'7b226d657373616765223a7b226964223a22222c227461736b4964223a226661722d33222c22706f6f6c4964223a22666172222c22737461747573223a2265787069726564222c22726561736f6e223a22646561646c696e655f706173736564222c226d657373616765223a226e6f74207374617274656420627920323032362d31312d32395431393a34323a31352e3537393237395a222c22617474656d7074223a302c22637265617465644174223a22323032362d31312d32395431393a34323a31352e3538303237325a227d2c2274656e616e74223a2261636d65222c226b6579223a22616c696365227d',NULL);
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('pl_migrations',2);
INSERT INTO sqlite_sequence VALUES('pl_mailbox_messages',7);
INSERT INTO sqlite_sequence VALUES('pl_outbox',2);
CREATE UNIQUE INDEX pl_queue_jobs_task ON pl_queue_jobs (pool_id, task_id);
CREATE INDEX pl_queue_jobs_priority ON pl_queue_jobs (pool_id, priority DESC, rank) WHERE status = 'queued';
CREATE INDEX pl_queue_jobs_deadline ON pl_queue_jobs (deadline) WHERE status = 'queued' AND deadline IS NOT NULL;
CREATE INDEX pl_queue_jobs_status ON pl_queue_jobs (pool_id, status) WHERE status <> 'completed';
CREATE INDEX pl_queue_jobs_pool ON pl_queue_jobs (pool_id);
CREATE INDEX pl_queue_jobs_tenant ON pl_queue_jobs (tenant, pool_id);
CREATE INDEX pl_queue_jobs_late ON pl_queue_jobs (late) WHERE late > 60000000;
CREATE UNIQUE INDEX pl_mailbox_messages_task ON pl_mailbox_messages (pool_id, task_id);
CREATE INDEX pl_mailbox_messages_key ON pl_mailbox_messages (tenant, mailbox_key) WHERE trimmed = 0;
CREATE INDEX pl_mailbox_messages_late ON pl_mailbox_messages (late) WHERE late > 60000000;
CREATE UNIQUE INDEX pl_audit_events_step ON pl_audit_events (pool_id, rev, ord) WHERE lead & 1;
CREATE INDEX pl_audit_events_tenant ON pl_audit_events (tenant) WHERE lead & 2;
CREATE INDEX pl_audit_events_task ON pl_audit_events (task_id) WHERE lead & 4;
CREATE INDEX pl_audit_events_action ON pl_audit_events (action) WHERE lead & 8;
CREATE INDEX pl_audit_events_late ON pl_audit_events (late) WHERE late > 60000000;
CREATE INDEX pl_outbox_due ON pl_outbox (dest, due);
COMMIT;
