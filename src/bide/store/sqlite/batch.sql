-- How a batch is written: one INSERT into the view `batch`, whose trigger does the rest.
--
-- The driver lets go of Python's GIL several times for every statement, and each time may wait a switch interval to get it
-- back. So a batch is one statement, and, in autocommit mode, its own transaction. Rows travel as JSON arrays, one column
-- a table; NULL stands for no rows. Blobs travel as one concatenated blob, and the rows say where each begins (from 1) and its length.

CREATE TEMP VIEW batch AS SELECT
    NULL AS purged,        -- [iid]
    NULL AS inserted,      -- [[the columns of instances]]
    NULL AS updated,       -- [[iid, the mutable columns of instances]]
    NULL AS cleared,       -- [[iid, seq of the first turn that stays]]
    NULL AS turns,         -- [[iid, seq, at, begin, length]]
    NULL AS turn_data,
    NULL AS closed_all,    -- [iid]
    NULL AS closed,        -- [[iid, number]]
    NULL AS opened,        -- [[the columns of waits]]
    NULL AS event_ids,     -- [[iid, event_id]]
    NULL AS dead_letters,  -- [[the columns of dead_letters but number]]
    NULL AS posted,        -- [[key, begin, length]]
    NULL AS posted_data,
    NULL AS taken,         -- [key]
    NULL AS last_iid;

CREATE TEMP TRIGGER write_batch INSTEAD OF INSERT ON batch BEGIN
    DELETE FROM instances WHERE iid IN (SELECT value FROM json_each(NEW.purged));
    DELETE FROM history WHERE iid IN (SELECT value FROM json_each(NEW.purged));
    DELETE FROM waits WHERE iid IN (SELECT value FROM json_each(NEW.purged));
    DELETE FROM event_ids WHERE iid IN (SELECT value FROM json_each(NEW.purged));

    INSERT INTO instances (
        iid, id, name, status, created_at, execution_id, generation, version, parent_instance_id, tags,
        start_at, ended_at, next_timer_at, is_active, output, custom_status, failure, buffered
    ) SELECT
        value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8, value->>9,
        value->>10, value->>11, value->>12, value->>13, value->>14, value->>15, value->>16, value->>17
    FROM json_each(NEW.inserted);

    UPDATE instances SET
        status = row.value->>1, execution_id = row.value->>2, generation = row.value->>3, version = row.value->>4,
        start_at = row.value->>5, ended_at = row.value->>6, next_timer_at = row.value->>7, is_active = row.value->>8,
        output = row.value->>9, custom_status = row.value->>10, failure = row.value->>11, buffered = row.value->>12
    FROM json_each(NEW.updated) AS row WHERE iid = row.value->>0;

    DELETE FROM history WHERE (iid, seq) IN (
        SELECT h.iid, h.seq FROM json_each(NEW.cleared) AS c JOIN history AS h ON h.iid = c.value->>0 AND h.seq < c.value->>1
    );
    INSERT INTO history (iid, seq, at, data)
        SELECT value->>0, value->>1, value->>2, substr(NEW.turn_data, value->>3, value->>4) FROM json_each(NEW.turns);

    DELETE FROM waits WHERE iid IN (SELECT value FROM json_each(NEW.closed_all));
    DELETE FROM waits WHERE (iid, number) IN (SELECT value->>0, value->>1 FROM json_each(NEW.closed));
    INSERT INTO waits (iid, number, key, name, since, deadline, type)
        SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6 FROM json_each(NEW.opened);

    INSERT OR IGNORE INTO event_ids (iid, event_id) SELECT value->>0, value->>1 FROM json_each(NEW.event_ids);
    INSERT INTO dead_letters (instance_id, name, input, event_id, raised_at, recorded_at, reason)
        SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6
        FROM json_each(NEW.dead_letters);

    INSERT OR REPLACE INTO inbox (key, data)
        SELECT value->>0, substr(NEW.posted_data, value->>1, value->>2) FROM json_each(NEW.posted);
    DELETE FROM inbox WHERE key IN (SELECT value FROM json_each(NEW.taken));
    UPDATE meta SET last_iid = NEW.last_iid WHERE last_iid < NEW.last_iid;
END;
