"""Reads the statements of `cluster.sql` by name."""

from importlib import resources

from bide.model.instance import ENDED

_NAMES = {
    ":now": "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
    ":wanted": (
        "EXISTS (SELECT 1 FROM instances AS i WHERE i.partition = a.partition AND i.iid = a.iid "
        f"AND i.status NOT IN ({', '.join(str(int(status)) for status in sorted(ENDED))}))"
    ),
}
"""What is meant by these names in the file. An activity `a` is wanted as long as its instance lives."""


def _read(sql: str) -> dict[str, str]:
    for name, text in _NAMES.items():
        sql = sql.replace(name, text)
    parts = (part.partition("\n") for part in sql.split("-- name: ")[1:])
    return {name: text.strip() for name, _, text in parts}


SQL = _read((resources.files("bide.store.postgres") / "cluster.sql").read_text("utf-8"))
