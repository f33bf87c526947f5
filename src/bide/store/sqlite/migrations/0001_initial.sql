-- The first schema. Theory of operation:
--
-- An instance is one row of `instances` and one row of `history` per turn. `iid` grows with creation time, so that new rows land
-- at the end of every index; ids made by bide grow too. Timers need no table (`next_timer_at`), activities
-- neither (`is_active` marks the instances to be loaded after a crash). Times are microseconds since 1970 UTC.

CREATE TABLE meta (
    last_iid INTEGER NOT NULL  -- iids of purged instances are never given out again
);
INSERT INTO meta (last_iid) VALUES (0);

CREATE TABLE instances (
    iid                INTEGER PRIMARY KEY,
    id                 TEXT NOT NULL UNIQUE,
    name               TEXT NOT NULL,
    status             INTEGER NOT NULL,  -- OrchestrationRuntimeStatus
    created_at         INTEGER NOT NULL,
    execution_id       TEXT NOT NULL,
    generation         INTEGER NOT NULL,
    version            TEXT,
    parent_instance_id TEXT,
    tags               TEXT,     -- JSON object
    start_at           INTEGER,  -- while Pending
    ended_at           INTEGER,
    next_timer_at      INTEGER,
    is_active          INTEGER NOT NULL,
    output             TEXT,     -- JSON
    custom_status      TEXT,     -- JSON
    failure            TEXT,     -- JSON
    buffered           TEXT      -- JSON object: unconsumed events by name
);
CREATE INDEX instances_status ON instances (status);  -- the rowid, iid, is its last column
CREATE INDEX instances_timers ON instances (next_timer_at) WHERE next_timer_at IS NOT NULL;
CREATE INDEX instances_active ON instances (iid) WHERE is_active;
CREATE INDEX instances_ended ON instances (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX instances_children ON instances (parent_instance_id) WHERE parent_instance_id IS NOT NULL;

CREATE TABLE history (
    iid  INTEGER NOT NULL,
    seq  INTEGER NOT NULL,
    at   INTEGER NOT NULL,
    data BLOB NOT NULL,  -- MessagePack list of history events
    PRIMARY KEY (iid, seq)
) WITHOUT ROWID;

CREATE TABLE waits (
    iid      INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    key      TEXT NOT NULL,  -- the name without case
    name     TEXT NOT NULL,
    since    INTEGER NOT NULL,
    deadline INTEGER,
    type     TEXT,
    PRIMARY KEY (iid, number)
) WITHOUT ROWID;
CREATE INDEX waits_by_name ON waits (key, since, iid, number);

CREATE TABLE event_ids (
    iid      INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    PRIMARY KEY (iid, event_id)
) WITHOUT ROWID;

CREATE TABLE dead_letters (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    instance_id TEXT NOT NULL,
    name        TEXT NOT NULL,
    input       TEXT,
    event_id    TEXT,
    raised_at   INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    reason      TEXT NOT NULL
);
CREATE INDEX dead_letters_instance ON dead_letters (instance_id, number);
CREATE INDEX dead_letters_recorded ON dead_letters (recorded_at);

CREATE TABLE inbox (
    key  INTEGER PRIMARY KEY,
    data BLOB NOT NULL
);
