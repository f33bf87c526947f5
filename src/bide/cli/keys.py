"""Commands about the access keys of a hosted Functions app."""

from typing import Annotated

from cyclopts import App as Commands
from cyclopts import Parameter

from bide.cli import render
from bide.cli.exits import Exit
from bide.cli.target import default_store
from bide.store import Store, open_store

keys = Commands(
    name="keys", help="Access keys of a Functions app (bide serve --enable-auth), while it is not being served."
)

StoreOption = Annotated[str | None, Parameter(env_var="BIDE_STORE")]


@keys.command(name="list")
async def list_(*, store: StoreOption = None, json: bool = False) -> int:
    """List the names of the keys; the keys themselves were shown when they were made.

    Parameters
    ----------
    store
        The app's store, as sqlite:///file.db.
    json
        Write one JSON document to standard output.

    """
    from bide.functions.keys import Keys  # noqa: PLC0415  (needs an extra)

    async with _opened(store) as opened:
        names = await Keys(opened).names()
    if json:
        render.print_json(names)
    else:
        for name in names:
            render.console().print(name, markup=False)
    return Exit.OK


@keys.command(name="rotate")
async def rotate(name: str, /, *, store: StoreOption = None, json: bool = False) -> int:
    """Replace a key by a new one and print it, this once; the old one opens nothing any more.

    Parameters
    ----------
    name
        _master, default, durabletask_extension, or function:NAME.
    store
        The app's store, as sqlite:///file.db.
    json
        Write one JSON document to standard output.

    """
    from bide.functions.keys import Keys  # noqa: PLC0415  (needs an extra)

    async with _opened(store) as opened:
        key = await Keys(opened).rotate(name)
    if json:
        render.print_json({"name": name, "key": key})
    else:
        render.console().print(key, markup=False)
    return Exit.OK


class _opened:  # noqa: N801  (reads as a verb)
    """Open a store for the length of a command. Raises `StoreLockedError` while somebody serves it."""

    def __init__(self, url: str | None) -> None:
        self._store = open_store(url or default_store(), creates=False)

    async def __aenter__(self) -> Store:
        await self._store.open()
        return self._store

    async def __aexit__(self, *error: object) -> None:
        await self._store.close()
