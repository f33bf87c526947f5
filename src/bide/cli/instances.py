"""Commands about instances: each opens a client, calls one verb, and prints."""

import contextlib
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from cyclopts import App as Commands
from cyclopts import Parameter
from cyclopts.validators import Number

from bide.cli import render
from bide.cli.data import read_data
from bide.cli.exits import Exit
from bide.cli.target import Target
from bide.client.base import Client, OrchestrationStatus, RaisedEvent
from bide.errors import ConfigurationError, InvalidInputError
from bide.model.instance import IdReusePolicy, OrchestrationRuntimeStatus
from bide.model.names import event_key
from bide.store.urls import is_postgres

Limit = Annotated[int, Parameter(validator=Number(gte=1))]
_REFRESH = timedelta(seconds=2)


def _here() -> Target:
    return Target()


def register(commands: Commands) -> None:
    """Add the commands of this file."""
    for name, command in _COMMANDS.items():
        commands.command(command, name=name)


async def start(
    orchestrator: str,
    /,
    input: Annotated[str | None, Parameter(name=["--input", "-i"])] = None,  # noqa: A002
    *,
    id: Annotated[str | None, Parameter(name="--id")] = None,  # noqa: A002
    at: datetime | None = None,
    reuse: IdReusePolicy = IdReusePolicy.REPLACE_ENDED,
    version: str | None = None,
    wait: bool = False,
    target: Target | None = None,
) -> int:
    """Start an orchestration and print its instance id.

    Parameters
    ----------
    orchestrator
        Name of the orchestrator.
    input
        Input as JSON; @file.json reads a file, - standard input.
    id
        Instance id; one is made if none is given.
    at
        When to start; until then the instance is Pending.
    reuse
        What to do when the id is taken.
    version
        Version of the instance; the app's if none is given.
    wait
        Wait until it has ended and show it; exit code 1 unless it completed.
    target
        Where the hub is.

    """
    target = target or _here()
    if target.store is not None and target.app is None and not is_postgres(target.store):  # which others may serve
        raise ConfigurationError("Nobody could run it. Name the app with --app app.py.")
    async with target.open() as client:
        start_at = at.astimezone(UTC) if at is not None else None
        instance_id = await client.start_new(
            orchestrator, id, read_data(input), start_at=start_at, id_reuse=reuse, version=version
        )
        if wait:
            sys.stderr.write(f"{instance_id}\n")
            return await _wait(client, instance_id, target)
        _answer(target, {"instanceId": instance_id}, instance_id)
        return Exit.OK


async def raise_event(
    instance_id: str,
    name: str,
    data: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    event_id: str | None = None,
    wait: bool = False,
    target: Target | None = None,
) -> int:
    """Raise an external event.

    Parameters
    ----------
    instance_id
        The instance that is to get it.
    name
        Name of the event, in any case.
    data
        Data as JSON; @file.json reads a file, - standard input.
    event_id
        The same id is accepted once: repeating the command is safe.
    wait
        Wait until the instance has ended and show it; exit code 1 unless it completed.
    target
        Where the hub is.

    """
    target = target or _here()
    async with target.open() as client:
        receipt = await client.raise_event(instance_id, name, read_data(data), event_id=event_id)
        if wait:
            return await _wait(client, instance_id, target)
        text = "already accepted, nothing changed" if receipt.is_duplicate else await _accepted(client, receipt)
        _answer(target, {"instanceId": instance_id, "name": name, "isDuplicate": receipt.is_duplicate}, text)
        return Exit.OK


async def _accepted(client: Client, receipt: RaisedEvent) -> str:
    """Say where the event is if nobody has taken it: perhaps its name is misspelt."""
    status = await client.get_status(receipt.instance_id, show_input=False)
    if event_key(receipt.name) not in map(event_key, status.buffered):
        return "accepted"
    waits = ", ".join(repr(wait.name) for wait in status.waits) or "no event"
    return f"accepted, and buffered: {receipt.instance_id} waits for {waits}"


async def show(instance_id: str, /, *, follow: bool = False, target: Target | None = None) -> int:
    """Show an instance: status, what it waits for and since when, what is buffered, output.

    Parameters
    ----------
    instance_id
        The instance.
    follow
        Show it again whenever it changes, until it has ended.
    target
        Where the hub is.

    """
    target = target or _here()
    async with target.open() as client:
        status = await client.get_status(instance_id)
        render.print_status(status, as_json=target.json)
        while follow and not status.runtime_status.is_ended:
            before, status = status, await _next(client, instance_id)
            if status != before:
                render.print_status(status, as_json=target.json)
        return Exit.OK


async def _next(client: Client, instance_id: str) -> OrchestrationStatus:
    with contextlib.suppress(TimeoutError):
        await client.wait_for_completion(instance_id, timeout=_REFRESH)
    return await client.get_status(instance_id)


async def list_(
    *,
    status: list[str] | None = None,
    name: str | None = None,
    prefix: str | None = None,
    waiting_for: str | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
    limit: Limit = 50,
    target: Target | None = None,
) -> int:
    """List instances, newest first.

    Parameters
    ----------
    status
        Only these runtime statuses: Running, Completed, Failed, Terminated, Pending, Suspended.
    name
        Only this orchestrator.
    prefix
        Only ids that begin so.
    waiting_for
        Only those that wait for this event.
    created_from
        Only those created at this time or later.
    created_to
        Only those created at this time or before.
    limit
        How many at the most.
    target
        Where the hub is.

    """
    target = target or _here()
    items: list[OrchestrationStatus] = []
    token = None
    async with target.open() as client:
        while len(items) < limit:
            page = await client.get_status_by(
                runtime_status=_statuses(status),
                created_time_from=created_from,
                created_time_to=created_to,
                instance_id_prefix=prefix,
                name=name,
                waiting_for=waiting_for,
                page_size=min(limit - len(items), 500),
                continuation_token=token,
            )
            items.extend(page.items)
            token = page.continuation_token
            if token is None:
                break
    render.print_list(items, as_json=target.json)
    if token is not None:
        say_more(limit)
    return Exit.OK


def say_more(limit: int) -> None:
    """Tell that a list goes on."""
    sys.stderr.write(f"There are more than {limit}: --limit shows them.\n")


async def history(instance_id: str, /, *, target: Target | None = None) -> int:
    """Show all history events of an instance."""
    target = target or _here()
    async with target.open() as client:
        render.print_history(await client.get_history(instance_id), as_json=target.json)
    return Exit.OK


async def waits(
    name: str | None = None,
    /,
    *,
    instance: str | None = None,
    limit: Limit = 50,
    target: Target | None = None,
) -> int:
    """List open waits, oldest first.

    Parameters
    ----------
    name
        Only waits for this event.
    instance
        Only waits of this instance.
    limit
        How many at the most.
    target
        Where the hub is.

    """
    target = target or _here()
    async with target.open() as client:
        if instance is not None:
            await client.get_status(instance, show_input=False)  # one that does not exist is an error
        page = await client.waits(instance_id=instance, name=name, page_size=limit)
        render.print_waits(page.items, as_json=target.json)
    return Exit.OK


async def dead_letters(
    *,
    instance: str | None = None,
    limit: Limit = 50,
    target: Target | None = None,
) -> int:
    """List events that nobody consumed and nobody will, newest first."""
    target = target or _here()
    async with target.open() as client:
        page = await client.dead_letters(instance_id=instance, page_size=limit)
        render.print_dead_letters(page.items, as_json=target.json)
    return Exit.OK


async def suspend(instance_id: str, /, *, reason: str | None = None, target: Target | None = None) -> int:
    """Suspend an instance: events, results and timers wait until it is resumed."""
    return await _control(target, instance_id, "suspended", lambda client: client.suspend(instance_id, reason))


async def resume(instance_id: str, /, *, reason: str | None = None, target: Target | None = None) -> int:
    """Go on with a suspended instance."""
    return await _control(target, instance_id, "resumed", lambda client: client.resume(instance_id, reason))


async def terminate(
    instance_id: str, /, *, reason: str | None = None, recursive: bool = False, target: Target | None = None
) -> int:
    """End an instance now; --recursive also its sub-orchestrations."""
    return await _control(
        target, instance_id, "terminated", lambda client: client.terminate(instance_id, reason, recursive=recursive)
    )


async def rewind(instance_id: str, /, *, reason: str | None = None, target: Target | None = None) -> int:
    """Take up a failed instance again."""
    return await _control(target, instance_id, "rewound", lambda client: client.rewind(instance_id, reason))


async def restart(instance_id: str, /, *, same_id: bool = False, target: Target | None = None) -> int:
    """Start an orchestration again with the same input, under a new id unless --same-id is given."""
    target = target or _here()
    async with target.open() as client:
        new = await client.restart(instance_id, restart_with_new_instance_id=not same_id)
    _answer(target, {"instanceId": new}, new)
    return Exit.OK


async def purge(
    instance_id: str | None = None,
    /,
    *,
    status: list[str] | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
    force: bool = False,
    recursive: bool = False,
    yes: bool = False,
    target: Target | None = None,
) -> int:
    """Remove an ended instance, or all ended ones that match.

    Parameters
    ----------
    instance_id
        The instance; without one, all ended instances that match the filters.
    status
        Only these statuses.
    created_from
        Only those created at this time or later.
    created_to
        Only those created at this time or before.
    force
        Also a live one.
    recursive
        Also its sub-orchestrations.
    yes
        Do not ask before removing many.
    target
        Where the hub is.

    """
    target = target or _here()
    if instance_id is None and not yes and not _confirmed("Remove all ended instances that match?"):
        return Exit.INTERRUPTED
    async with target.open() as client:
        if instance_id is not None:
            removed = await client.purge(instance_id, force=force, recursive=recursive)
        else:
            removed = await client.purge_by(
                created_time_from=created_from, created_time_to=created_to, runtime_status=_statuses(status)
            )
    _answer(target, {"instancesDeleted": removed}, f"removed {removed}")
    return Exit.OK


async def _control(target: Target | None, instance_id: str, done: str, verb: Any) -> int:
    target = target or _here()
    async with target.open() as client:
        await verb(client)
    _answer(target, {"instanceId": instance_id}, done)
    return Exit.OK


async def _wait(client: Client, instance_id: str, target: Target) -> int:
    status = await client.wait_for_completion(instance_id)
    render.print_status(status, as_json=target.json)
    return Exit.OK if status.runtime_status is OrchestrationRuntimeStatus.COMPLETED else Exit.FAILED


def _answer(target: Target, document: dict[str, Any], text: str) -> None:
    render.answer(document, text, as_json=target.json)


def _statuses(words: list[str] | None) -> list[OrchestrationRuntimeStatus] | None:
    if not words:
        return None
    try:
        return [OrchestrationRuntimeStatus.from_label(word) for word in words]
    except ValueError as error:
        raise InvalidInputError(str(error)) from error


def _confirmed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{question} Say so with --yes.")
    return input(f"{question} [y/N] ").strip().casefold() in {"y", "yes"}


_COMMANDS: dict[str, Callable[..., Any]] = {
    "start": start,
    "raise": raise_event,
    "show": show,
    "list": list_,
    "history": history,
    "waits": waits,
    "dead-letters": dead_letters,
    "suspend": suspend,
    "resume": resume,
    "terminate": terminate,
    "rewind": rewind,
    "restart": restart,
    "purge": purge,
}
