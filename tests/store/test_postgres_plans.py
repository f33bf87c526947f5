"""Plans that were made when the tables were new, and are used when they have grown."""

import re

from bide.store.postgres import PostgresStore
from bide.store.postgres.batch import PARTS, put_together
from bide.store.postgres.connection import connect
from bide.store.postgres.options import parse_url
from bide.testing.store_suite.fixtures import opened


async def test_a_batch_finds_every_row_by_its_key(postgres, schema):
    """Also when it was planned on empty tables, where any index looks as good as another."""
    url = postgres.url(schema)
    async with opened(lambda: PostgresStore(url)):
        pass
    sql = put_together(tuple(PARTS))
    values = max(map(int, re.findall(r"\$(\d+)", sql)))
    connection = await connect(parse_url(url), "tests")
    try:
        await connection.execute("SET plan_cache_mode TO force_generic_plan")
        await connection.execute(f"PREPARE batch AS {sql}")
        rows = await connection.fetch(f"EXPLAIN EXECUTE batch ({', '.join(['NULL'] * values)})")
    finally:
        await connection.close()
    plan = "\n".join(line for (line,) in rows)
    assert set(re.findall(r"Index Scan using (\w+)", plan)) == {
        f"{table}_pkey" for table in ("partitions", "instances", "history", "waits", "event_ids", "inbox", "activities")
    }
    assert "Seq Scan" not in plan
    assert "Bitmap" not in plan
