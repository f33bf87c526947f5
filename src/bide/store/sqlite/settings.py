"""Small values by name in SQLite."""

from bide.model.names import check_storable
from bide.store.sqlite.access import Access


class SqliteSettings(Access):
    """See `SettingStore`."""

    async def get_setting(self, name: str) -> str | None:
        rows = self._read("SELECT value FROM settings WHERE name = ?", name)
        return str(rows[0][0]) if rows else None

    async def put_setting(self, name: str, value: str | None) -> None:
        check_storable(name, "The name of a setting")
        if value is None:
            await self._change("DELETE FROM settings WHERE name = ?", name)
        else:
            check_storable(value, f"The value of setting {name!r}")
            await self._change("INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)", name, value)

    async def replace_setting(self, name: str, old: str | None, new: str) -> bool:
        check_storable(name, "The name of a setting")
        check_storable(new, f"The value of setting {name!r}")
        if old is None:
            rows = await self._change(
                "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING name", name, new
            )
        else:
            rows = await self._change(
                "UPDATE settings SET value = ? WHERE name = ? AND value = ? RETURNING name", new, name, old
            )
        return bool(rows)

    async def settings(self, prefix: str) -> dict[str, str]:
        return dict(
            self._read(
                "SELECT name, value FROM settings WHERE substr(name, 1, ?) = ? ORDER BY name", len(prefix), prefix
            )
        )
