-- Nodes, leases, and activities that any node may claim. `:now` is the server's clock, and not the time at which the transaction began: it may
-- have waited for a lock.
--
-- A statement that changes rows of `partitions` locks them in order first, as commits do: so that two never wait for each other. It is a
-- transaction of its own: a node that is cut off or stands still between two statements must not leave locks behind, for which those
-- would wait who are to take over. A claim of an activity counts as long as its node counts as alive.

-- name: join
INSERT INTO nodes (name, role, joined_at, seen_at, expires_at, load, process)
VALUES ($1, $2, :now, :now, :now + $3::bigint, '{}', $4)
RETURNING number

-- name: beat
-- Also for a node that was forgotten, because it had been silent for long.
WITH me AS (
    INSERT INTO nodes AS n (number, name, role, joined_at, seen_at, expires_at, load, process)
    VALUES ($1, $2, $3, :now, :now, :now + $4::bigint, $5, $8)
    ON CONFLICT (number) DO UPDATE
    SET seen_at = excluded.seen_at, expires_at = greatest(n.expires_at, excluded.expires_at), load = excluded.load
),
mine AS (
    SELECT p.partition FROM unnest($6::integer[], $7::bigint[]) AS held (partition, epoch)
    JOIN partitions AS p ON p.partition = held.partition AND p.epoch = held.epoch AND p.node = $1::bigint
    ORDER BY p.partition FOR UPDATE OF p
)
UPDATE partitions AS p SET expires_at = :now + $4::bigint FROM mine WHERE p.partition = mine.partition RETURNING p.partition

-- name: take_again
WITH mine AS (
    SELECT p.partition FROM unnest($1::integer[], $2::bigint[]) AS held (partition, epoch)
    JOIN partitions AS p ON p.partition = held.partition AND p.epoch = held.epoch AND p.node = $3::bigint
    ORDER BY p.partition FOR UPDATE OF p
)
UPDATE partitions AS p SET epoch = p.epoch + 1 FROM mine WHERE p.partition = mine.partition RETURNING p.partition, p.epoch

-- name: claim
-- What somebody has locked is left for the next time: his connection may have died in the middle of a transaction.
WITH free AS (
    SELECT partition FROM partitions WHERE partition = ANY($1::integer[]) AND (node IS NULL OR expires_at <= :now)
    ORDER BY partition FOR UPDATE SKIP LOCKED
)
UPDATE partitions AS p SET epoch = p.epoch + 1, node = $2::bigint, expires_at = :now + $3::bigint
FROM free WHERE p.partition = free.partition RETURNING p.partition, p.epoch

-- name: release
WITH mine AS (
    SELECT partition FROM partitions WHERE partition = ANY($1::integer[]) AND node = $2::bigint ORDER BY partition FOR UPDATE
)
UPDATE partitions AS p SET node = NULL FROM mine WHERE p.partition = mine.partition

-- name: leave
-- With it go replies that nobody reads any more; some come when their node has left already.
WITH gone AS (
    DELETE FROM nodes WHERE number = $1::bigint
)
DELETE FROM replies AS r WHERE NOT EXISTS (SELECT 1 FROM nodes AS n WHERE n.number = r.node AND n.number <> $1::bigint)

-- name: forget
-- Nodes that nobody has heard of for so long. What they had claimed is given back before.
WITH gone AS (
    DELETE FROM nodes WHERE expires_at <= :now - $1::bigint
)
DELETE FROM replies AS r WHERE NOT EXISTS (SELECT 1 FROM nodes AS n WHERE n.number = r.node AND n.expires_at > :now - $1::bigint)

-- name: notify
SELECT pg_notify(channel, '') FROM unnest($1::text[]) AS channel

-- name: nodes
SELECT number, name FROM nodes WHERE expires_at > :now ORDER BY number

-- name: state
-- One answer for all that is asked at every beat. A long inbox is not counted to its end.
SELECT
    (SELECT json_agg(json_build_array(number, name, role, joined_at, seen_at, load, process) ORDER BY number)
        FROM nodes WHERE expires_at > :now),
    (SELECT json_agg(json_build_array(partition, epoch, node, node IS NULL OR expires_at <= :now) ORDER BY partition)
        FROM partitions),
    (SELECT json_object_agg(partition, waiting) FROM (
        SELECT partition, count(*) AS waiting FROM (SELECT partition FROM inbox LIMIT 10000) AS waiting_ones GROUP BY partition
    ) AS counts),
    (SELECT count(*) FROM activities WHERE claimed_by IS NULL),
    EXISTS (SELECT 1 FROM nodes WHERE expires_at <= :now)

-- name: bury
WITH dead AS (
    UPDATE nodes SET expires_at = 0 WHERE number = $1::bigint
),
theirs AS (
    SELECT partition FROM partitions WHERE node = $1::bigint ORDER BY partition FOR UPDATE
)
UPDATE partitions AS p SET node = NULL FROM theirs WHERE p.partition = theirs.partition

-- name: give_back
-- What dead nodes, or this one, had claimed is free again, but for what nobody wants any more: that goes.
WITH dead AS (
    SELECT number FROM nodes WHERE expires_at <= :now OR number = $1::bigint
),
unwanted AS (
    DELETE FROM activities AS a USING dead WHERE a.claimed_by = dead.number AND NOT :wanted
)
UPDATE activities AS a SET claimed_by = NULL FROM dead WHERE a.claimed_by = dead.number AND :wanted RETURNING 1

-- name: know_limits
INSERT INTO activity_limits (name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING

-- name: lock_limits
SELECT name FROM activity_limits WHERE name = ANY($1::text[]) ORDER BY name FOR UPDATE

-- name: count_claims
SELECT name, count(*) FROM activities WHERE claimed_by IS NOT NULL AND name = ANY($1::text[]) GROUP BY name

-- name: claim_activities
-- Of names in $3 there is room for $4 only, and nobody else claims them meanwhile: their row in activity_limits is locked.
WITH limited AS (
    SELECT c.* FROM unnest($3::text[], $4::bigint[]) AS limits (name, room) CROSS JOIN LATERAL (
        SELECT a.partition, a.iid, a.execution_id, a.task_id, a.offered_at FROM activities AS a
        WHERE a.claimed_by IS NULL AND a.name = limits.name AND :wanted ORDER BY a.offered_at LIMIT limits.room
    ) AS c
),
unlimited AS (
    SELECT a.partition, a.iid, a.execution_id, a.task_id, a.offered_at FROM activities AS a
    WHERE a.claimed_by IS NULL AND a.name = ANY($2::text[]) AND :wanted ORDER BY a.offered_at LIMIT $5 FOR UPDATE OF a SKIP LOCKED
),
oldest AS (
    SELECT * FROM (SELECT * FROM limited UNION ALL SELECT * FROM unlimited) AS free ORDER BY offered_at LIMIT $5
),
alive AS (
    UPDATE nodes SET expires_at = greatest(expires_at, :now + $6::bigint)
    WHERE number = $1::bigint AND EXISTS (SELECT 1 FROM oldest) RETURNING number
)
UPDATE activities AS a SET claimed_by = alive.number FROM alive, oldest AS o
WHERE a.partition = o.partition AND a.iid = o.iid AND a.execution_id = o.execution_id AND a.task_id = o.task_id
    AND coalesce(a.claimed_by, -1) = -1 -- IS NULL, said so that no index of all that are free is used for each of these
RETURNING a.offered_at, a.iid, a.execution_id, a.task_id, a.instance_id, a.name, a.data

-- name: hold_activities
-- Nothing, unless all these partitions are held; how many are.
WITH fence AS (
    SELECT p.partition FROM unnest($3::integer[], $4::bigint[]) AS held (partition, epoch)
    JOIN partitions AS p ON p.partition = held.partition AND p.epoch = held.epoch AND p.node = $1::bigint
    ORDER BY p.partition FOR SHARE OF p
),
alive AS (
    UPDATE nodes SET expires_at = greatest(expires_at, :now + $2::bigint)
    WHERE number = $1::bigint AND (SELECT count(*) FROM fence) = cardinality($3::integer[]) RETURNING number
),
noted AS (
    INSERT INTO activities (partition, iid, execution_id, task_id, instance_id, name, data, offered_at, claimed_by)
    SELECT h.*, :now, alive.number
    FROM alive, unnest($5::integer[], $6::bigint[], $7::text[], $8::bigint[], $9::text[], $10::text[], $11::bytea[]) AS h
    ON CONFLICT DO NOTHING
)
SELECT count(*) FROM fence

-- name: take_replies
DELETE FROM replies WHERE node = $1 RETURNING number, request, data
