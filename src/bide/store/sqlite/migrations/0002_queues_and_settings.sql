-- Message queues, and small values by name. Theory of operation:
--
-- A message is delivered by hiding it: `visible_at` moves into the future, and `receipt` says by which delivery. Whoever holds the current
-- receipt may delete, release or move it; if he dies, it becomes visible by itself. So nothing needs a lock.

CREATE TABLE queue_messages (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given out again: a late receipt must not meet another message
    queue         TEXT NOT NULL,
    body          TEXT NOT NULL,
    inserted_at   INTEGER NOT NULL,
    dequeue_count INTEGER NOT NULL DEFAULT 0,
    receipt       TEXT,
    visible_at    INTEGER NOT NULL,
    expires_at    INTEGER,
    taken_at      INTEGER  -- its visible_at before the last delivery: RETURNING knows no order, and by this one is made
);
CREATE INDEX queue_messages_visible ON queue_messages (queue, visible_at);  -- the rowid, id, is its last column
CREATE INDEX queue_messages_expiring ON queue_messages (queue, expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
