"""`bide nodes`: who serves a hub."""

from bide.cli import render
from bide.cli.exits import Exit
from bide.cli.target import Target


async def list_nodes(*, target: Target | None = None) -> int:
    """Show the processes that serve a hub: what each owns, how busy it is, and what waits."""
    target = target or Target()
    async with target.open() as client:
        render.print_nodes(await client.nodes(), as_json=target.json)
    return Exit.OK
