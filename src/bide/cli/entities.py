"""Commands about entities: `entities` lists them, `entity show` and `entity signal` are about one."""

from datetime import datetime
from typing import Annotated

from cyclopts import App as Commands
from cyclopts import Parameter

from bide.cli import render
from bide.cli.data import read_data
from bide.cli.exits import Exit
from bide.cli.instances import Limit, say_more
from bide.cli.target import Target
from bide.client.base import EntityStatus
from bide.errors import InstanceNotFoundError
from bide.model.entities import as_entity_id

entity = Commands(name="entity", help="Look at an entity, or have it do something.")


async def list_entities(
    name: str | None = None,
    /,
    *,
    active_from: datetime | None = None,
    active_to: datetime | None = None,
    state: bool = False,
    limit: Limit = 50,
    target: Target | None = None,
) -> int:
    """List entities, newest first.

    Parameters
    ----------
    name
        Only entities of this name, in any case.
    active_from
        Only those that were active at this time or later.
    active_to
        Only those that were last active at this time or before.
    state
        Show their states too.
    limit
        How many at the most.
    target
        Where the hub is.

    """
    target = target or Target()
    items: list[EntityStatus] = []
    token = None
    async with target.open() as client:
        while len(items) < limit:
            page = await client.list_entities(
                name,
                last_operation_from=active_from,
                last_operation_to=active_to,
                fetch_state=state,
                page_size=min(limit - len(items), 500),
                continuation_token=token,
            )
            items.extend(page.items)
            token = page.continuation_token
            if token is None:
                break
    render.print_entities(items, as_json=target.json)
    if token is not None:
        say_more(limit)
    return Exit.OK


@entity.command(name="show")
async def show(entity_id: str, /, *, target: Target | None = None) -> int:
    """Show an entity: state, who holds its lock, what waits.

    Parameters
    ----------
    entity_id
        The entity, as @name@key.
    target
        Where the hub is.

    """
    target = target or Target()
    async with target.open() as client:
        status = await client.get_entity(entity_id)
    if status is None:
        raise InstanceNotFoundError(str(as_entity_id(entity_id)))
    render.print_entity(status, as_json=target.json)
    return Exit.OK


@entity.command(name="signal")
async def signal(
    entity_id: str,
    operation: str,
    input: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,  # noqa: A002
    /,
    *,
    at: datetime | None = None,
    target: Target | None = None,
) -> int:
    """Have an entity do an operation; nobody waits for the result.

    Parameters
    ----------
    entity_id
        The entity, as @name@key.
    operation
        Name of the operation.
    input
        Input as JSON; @file.json reads a file, - standard input.
    at
        When it is to be done; at once if no time is given.
    target
        Where the hub is.

    """
    target = target or Target()
    async with target.open() as client:
        await client.signal_entity(
            entity_id, operation, read_data(input), scheduled_time=at.astimezone() if at is not None else None
        )
    render.answer({"entityId": str(as_entity_id(entity_id)), "operation": operation}, "accepted", as_json=target.json)
    return Exit.OK
