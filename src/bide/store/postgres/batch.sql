-- How a batch is written: one statement, made of those of these parts that the batch has something for.
--
-- All parts of a statement see the data as it was before it, in no order of their own. Where a key may go and come back in one batch, the
-- INSERT asks for the result of the DELETE, which thereby has happened before; such a line ends with "if" and the part it is about.
-- The query at the end, of all checks and results, runs first: when a check fails, nothing has been written. Rows travel as arrays, one
-- for each column; values are numbered anew in every statement.
--
-- A statement is planned once, perhaps while the tables are empty, when one index that begins with the partition looks as good as
-- another. So only one can be used: of each table none but the primary key begins with the partition, and an expression hides a
-- condition that a partial index is about.

-- part: fence
-- Locks the partitions that the batch touches, in order, against whoever would claim them, and finds those that are still held.
fence AS (
    SELECT p.partition
    FROM unnest($1::integer[], $2::bigint[]) AS held (partition, epoch)
    JOIN partitions AS p ON p.partition = held.partition AND p.epoch = held.epoch AND p.node = $3::bigint
    ORDER BY p.partition FOR SHARE OF p
)
-- check: WHEN (SELECT count(*) FROM fence) <> cardinality($1::integer[]) THEN (SELECT 'bide: lease lost ' || count(*) FROM fence)::integer

-- part: purged
purged AS (
    DELETE FROM instances AS t USING unnest($1::integer[], $2::bigint[]) AS gone (partition, iid)
    WHERE t.partition = gone.partition AND t.iid = gone.iid RETURNING 1
),
purged_history AS (
    DELETE FROM history AS t USING unnest($1::integer[], $2::bigint[]) AS gone (partition, iid)
    WHERE t.partition = gone.partition AND t.iid = gone.iid
),
purged_waits AS (
    DELETE FROM waits AS t USING unnest($1::integer[], $2::bigint[]) AS gone (partition, iid)
    WHERE t.partition = gone.partition AND t.iid = gone.iid
),
purged_event_ids AS (
    DELETE FROM event_ids AS t USING unnest($1::integer[], $2::bigint[]) AS gone (partition, iid)
    WHERE t.partition = gone.partition AND t.iid = gone.iid
),
purged_activities AS (
    DELETE FROM activities AS t USING unnest($1::integer[], $2::bigint[]) AS gone (partition, iid)
    WHERE t.partition = gone.partition AND t.iid = gone.iid
)

-- part: inserted
inserted AS (
    INSERT INTO instances (
        partition, iid, id, name, status, created_at, execution_id, generation, version, parent_instance_id, tags,
        start_at, ended_at, next_timer_at, is_active, output, custom_status, failure, buffered
    )
    SELECT * FROM unnest(
        $1::integer[], $2::bigint[], $3::text[], $4::text[], $5::smallint[], $6::bigint[], $7::text[], $8::bigint[], $9::text[],
        $10::text[], $11::text[], $12::bigint[], $13::bigint[], $14::bigint[], $15::boolean[], $16::text[], $17::text[],
        $18::text[], $19::text[]
    )
    WHERE (SELECT count(*) FROM purged) >= 0 -- if purged
)

-- part: updated
updated AS (
    UPDATE instances AS t SET
        status = new.status, execution_id = new.execution_id, generation = new.generation, version = new.version,
        start_at = new.start_at, ended_at = new.ended_at, next_timer_at = new.next_timer_at, is_active = new.is_active,
        output = new.output, custom_status = new.custom_status, failure = new.failure, buffered = new.buffered
    FROM unnest(
        $1::integer[], $2::bigint[], $3::smallint[], $4::text[], $5::bigint[], $6::text[], $7::bigint[], $8::bigint[], $9::bigint[],
        $10::boolean[], $11::text[], $12::text[], $13::text[], $14::text[]
    ) AS new (
        partition, iid, status, execution_id, generation, version, start_at, ended_at, next_timer_at,
        is_active, output, custom_status, failure, buffered
    )
    WHERE t.partition = new.partition AND t.iid = new.iid
)

-- part: cleared
cleared AS (
    DELETE FROM history AS t USING unnest($1::integer[], $2::bigint[], $3::bigint[]) AS kept (partition, iid, seq)
    WHERE t.partition = kept.partition AND t.iid = kept.iid AND t.seq < kept.seq
)

-- part: turns
turns AS (
    INSERT INTO history (partition, iid, seq, at, data)
    SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[])
)

-- part: closed_all
closed_all AS (
    DELETE FROM waits AS t USING unnest($1::integer[], $2::bigint[]) AS gone (partition, iid)
    WHERE t.partition = gone.partition AND t.iid = gone.iid RETURNING 1
)

-- part: closed
closed AS (
    DELETE FROM waits AS t USING unnest($1::integer[], $2::bigint[], $3::bigint[]) AS gone (partition, iid, number)
    WHERE t.partition = gone.partition AND t.iid = gone.iid AND t.number = gone.number RETURNING 1
)

-- part: opened
opened AS (
    INSERT INTO waits (partition, iid, number, key, name, since, deadline, type)
    SELECT * FROM unnest(
        $1::integer[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[]
    )
    WHERE true
    AND (SELECT count(*) FROM closed) >= 0 -- if closed
    AND (SELECT count(*) FROM closed_all) >= 0 -- if closed_all
)

-- part: event_ids
event_ids AS (
    INSERT INTO event_ids (partition, iid, event_id)
    SELECT * FROM unnest($1::integer[], $2::bigint[], $3::text[]) ON CONFLICT DO NOTHING
)

-- part: dead_letters
dead_letters AS (
    INSERT INTO dead_letters (instance_id, name, input, event_id, raised_at, recorded_at, reason)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[])
)

-- part: posted
posted AS (
    INSERT INTO inbox (partition, key, data)
    SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bytea[]) AS message (partition, key, data) ORDER BY key
    ON CONFLICT (partition, key) DO UPDATE SET data = excluded.data
)

-- part: taken
taken AS (
    DELETE FROM inbox AS t USING unnest($1::integer[], $2::bigint[]) AS gone (partition, key)
    WHERE t.partition = gone.partition AND t.key = gone.key RETURNING 1
)
-- check: WHEN (SELECT count(*) FROM taken) <> cardinality($1::integer[]) THEN (SELECT 'bide: message gone ' || count(*) FROM taken)::integer

-- part: ended
-- What somebody has claimed already runs on; what nobody has is wanted no more.
ended AS (
    DELETE FROM activities AS t USING unnest($1::integer[], $2::bigint[]) AS gone (partition, iid)
    WHERE t.partition = gone.partition AND t.iid = gone.iid AND coalesce(t.claimed_by, -1) = -1
)

-- part: removed
removed AS (
    DELETE FROM activities AS t
    USING unnest($1::integer[], $2::bigint[], $3::text[], $4::bigint[]) AS gone (partition, iid, execution_id, task_id)
    WHERE t.partition = gone.partition AND t.iid = gone.iid AND t.execution_id = gone.execution_id AND t.task_id = gone.task_id
    RETURNING t.name
)

-- part: room
-- Where only so many of a name may run, one that has ended makes room for one that may be waiting.
room AS MATERIALIZED (
    SELECT pg_notify($1::text, '') WHERE EXISTS (
        SELECT 1 FROM removed AS r JOIN activity_limits AS l ON l.name = r.name
        WHERE EXISTS (SELECT 1 FROM activities WHERE claimed_by IS NULL)
    )
)
-- result: (SELECT count(*) FROM room)

-- part: offered
offered AS (
    INSERT INTO activities (partition, iid, execution_id, task_id, instance_id, name, data, offered_at)
    SELECT o.partition, o.iid, o.execution_id, o.task_id, o.instance_id, o.name, o.data,
        (extract(epoch FROM statement_timestamp()) * 1000000)::bigint + o.place
    FROM unnest($1::integer[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::bytea[])
        WITH ORDINALITY AS o (partition, iid, execution_id, task_id, instance_id, name, data, place)
    ON CONFLICT DO NOTHING
)

-- part: replied
replied AS (
    INSERT INTO replies (node, request, data) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[])
)

-- part: notified
notified AS MATERIALIZED (
    SELECT pg_notify(n.channel, n.payload) FROM unnest($1::text[], $2::text[]) AS n (channel, payload)
)
-- result: (SELECT count(*) FROM notified)
