"""Commands about a hub's own queues."""

import sys
from typing import Annotated

from cyclopts import App as Commands
from cyclopts import Parameter
from cyclopts.validators import Number

from bide.cli import render
from bide.cli.data import read_text
from bide.cli.exits import Exit
from bide.cli.target import Target

queue = Commands(name="queue", help="Send to the hub's own queues, which queue functions listen to, and look at them.")


@queue.command(name="send")
async def send(
    name: str,
    body: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    delay: Annotated[float | None, Parameter(validator=Number(gte=0))] = None,
    target: Target | None = None,
) -> int:
    """Send a message and print its id.

    Parameters
    ----------
    name
        The queue; it need not exist.
    body
        The message, as text; @file reads a file, - standard input.
    delay
        Hide the message for so many seconds.
    target
        Where the hub is.

    """
    target = target or Target()
    async with target.open() as client:
        message_id = await client.send_queue_message(name, read_text(body), delay=delay)
    if target.json:
        render.print_json({"id": message_id, "queue": name})
    else:
        sys.stdout.write(f"{message_id}\n")
    return Exit.OK


@queue.command(name="list")
async def list_(*, target: Target | None = None) -> int:
    """List queues that have messages, and how many."""
    target = target or Target()
    async with target.open() as client:
        render.print_queues(await client.queues(), as_json=target.json)
    return Exit.OK


@queue.command(name="peek")
async def peek(
    name: str,
    /,
    *,
    limit: Annotated[int, Parameter(validator=Number(gte=1))] = 50,
    target: Target | None = None,
) -> int:
    """Show the next messages of a queue, hidden ones too, and take none.

    Parameters
    ----------
    name
        The queue.
    limit
        How many at the most.
    target
        Where the hub is.

    """
    target = target or Target()
    async with target.open() as client:
        render.print_messages(await client.peek_queue(name, limit=limit), as_json=target.json)
    return Exit.OK
