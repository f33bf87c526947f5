"""Small values by name in PostgreSQL."""

from bide.model.names import check_storable
from bide.store.postgres.access import Access


class PostgresSettings(Access):
    """See `SettingStore`."""

    async def get_setting(self, name: str) -> str | None:
        rows = await self._fetch("SELECT value FROM settings WHERE name = $1", name)
        return str(rows[0][0]) if rows else None

    async def put_setting(self, name: str, value: str | None) -> None:
        check_storable(name, "The name of a setting")
        if value is None:
            await self._fetch("DELETE FROM settings WHERE name = $1", name)
        else:
            check_storable(value, f"The value of setting {name!r}")
            await self._fetch(
                "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                name,
                value,
            )

    async def replace_setting(self, name: str, old: str | None, new: str) -> bool:
        check_storable(name, "The name of a setting")
        check_storable(new, f"The value of setting {name!r}")
        if old is None:
            rows = await self._fetch(
                "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING name", name, new
            )
        else:
            rows = await self._fetch(
                "UPDATE settings SET value = $1 WHERE name = $2 AND value = $3 RETURNING name", new, name, old
            )
        return bool(rows)

    async def settings(self, prefix: str) -> dict[str, str]:
        rows = await self._fetch(
            "SELECT name, value FROM settings WHERE left(name, $1::integer) = $2 ORDER BY name", len(prefix), prefix
        )
        return dict(rows)
