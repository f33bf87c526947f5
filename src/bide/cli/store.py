"""Commands about stores and stored histories: `db upgrade`, `db check`, `db copy` and `replay`."""

import sys
from collections.abc import Iterable, Sequence
from typing import Annotated

from cyclopts import App as Commands
from cyclopts import Parameter
from rich.console import Console
from rich.progress import Progress, track

from bide.app import App
from bide.cli import render
from bide.cli.exits import Exit
from bide.cli.loading import load_app
from bide.cli.target import Target, default_store
from bide.client.base import Client, OrchestrationStatus
from bide.core.execution import Execution
from bide.core.invariants import problems
from bide.errors import NonDeterminismError, OrchestratorNotFoundError
from bide.model.events import HistoryEvent
from bide.model.instance import ENDED, OrchestrationRuntimeStatus
from bide.model.names import event_key
from bide.store import maintenance
from bide.store.checking import Report
from bide.store.urls import hide_password

_LIVE = frozenset(OrchestrationRuntimeStatus) - ENDED

db = Commands(name="db", help="Look after a store.")


Url = Annotated[str | None, Parameter(env_var="BIDE_STORE")]


@db.command(name="upgrade")
async def upgrade_store(store: Url = None, /, *, json: bool = False) -> int:
    """Bring a store's schema up to date. `bide serve` does the same when it starts.

    Parameters
    ----------
    store
        The store, as sqlite:///file.db or postgresql://user@host/database.
    json
        Write one JSON document to standard output.

    """
    url = store or default_store()
    before, after = await maintenance.upgrade(url)
    text = f"from schema {before} to {after}" if before != after else f"already has schema {after}"
    shown = hide_password(url)
    render.answer({"store": shown, "from": before, "to": after}, f"{shown}: {text}", as_json=json)
    return Exit.OK


@db.command(name="check")
async def check_store(store: Url = None, /, *, json: bool = False) -> int:
    """Prove that a store agrees with itself, and name every row that does not. Nothing is changed.

    Nobody may be serving an SQLite file. Of a PostgreSQL database one moment is read, also while nodes serve it.

    Parameters
    ----------
    store
        The store, as sqlite:///file.db or postgresql://user@host/database.
    json
        Write one JSON document to standard output.

    """
    url = store or default_store()
    report = await maintenance.check(url, problems)
    if json:
        render.print_json({
            "store": hide_password(url), "instances": report.instances, "violations": report.violations
        })  # fmt: skip
    else:
        _print_report(url, report)
    return Exit.FAILED if report.violations else Exit.OK


@db.command(name="copy")
async def copy_store(source: str, target: str, /, *, json: bool = False) -> int:
    """Copy all that a store holds into an empty one, and check that. Nobody may be serving either.

    Parameters
    ----------
    source
        The store to read, as sqlite:///file.db or postgresql://user@host/database.
    target
        The store to write, of either kind; it is made when it is not there.
    json
        Write one JSON document to standard output.

    """
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("Copying")
        copied = await maintenance.copy(
            source, target, lambda done, total: bar.update(task, completed=done, total=total)
        )
    report = await maintenance.check(target, problems)
    if json:
        render.print_json({
            "from": hide_password(source), "to": hide_password(target), "copied": copied, "violations": report.violations
        })  # fmt: skip
    else:
        rows = ", ".join(f"{count} {table}" for table, count in copied.items())
        render.console().print(f"Copied: {rows}", markup=False)
        _print_report(target, report)
    return Exit.FAILED if report.violations else Exit.OK


def _print_report(url: str, report: Report) -> None:
    for each in report.violations:
        render.console().print(f"{each.table}: {each.key}: {each.problem}", markup=False)
    found = len(report.violations)
    text = f"{found} violations" if found else f"sound, {report.instances} instances"
    render.console().print(f"{hide_password(url)}: {text}", markup=False)


async def replay(
    instance_ids: list[str] | None = None, /, *, code: str, limit: int = 1000, target: Target | None = None
) -> int:
    """Replay stored histories with today's code, and report where they differ. Nothing is changed.

    Parameters
    ----------
    instance_ids
        The instances; without any, all that are live.
    code
        The app to check, as app.py.
    limit
        How many live instances at the most.
    target
        Where the hub is.

    """
    target = target or Target()
    app = load_app(code)
    async with target.open() as client:
        if instance_ids:
            chosen = [await client.get_status(each, show_input=False) for each in instance_ids]
        else:
            chosen = await _live(client, limit)
        findings: dict[str, str | None] = {}
        for status in track(
            chosen, "Replaying", console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
        ):
            events = [entry.event for entry in await client.get_history(status.instance_id)]
            waits = await client.waits(instance_id=status.instance_id, page_size=1000)
            findings[status.instance_id] = _difference(
                app, status.name, status.instance_id, events, {event_key(wait.name) for wait in waits.items}
            )
    _report(findings, as_json=target.json)
    return Exit.FAILED if any(findings.values()) else Exit.OK


async def _live(client: Client, limit: int) -> list[OrchestrationStatus]:
    found: list[OrchestrationStatus] = []
    token: str | None = None
    while len(found) < limit:
        page = await client.get_status_by(
            runtime_status=_LIVE, show_input=False, page_size=min(limit - len(found), 500), continuation_token=token
        )
        found.extend(page.items)
        token = page.continuation_token
        if token is None:
            break
    return found


def _difference(app: App, name: str, instance_id: str, events: Sequence[HistoryEvent], stored: set[str]) -> str | None:
    """Tell what today's code does that the history does not say, or waits for what it did not wait for."""
    orchestrator = app.orchestrators.get(name)
    if orchestrator is None:
        return str(OrchestratorNotFoundError(name, app.orchestrators))
    try:
        execution = Execution(orchestrator, instance_id, events)
    except NonDeterminismError as error:
        return str(error)
    today = {task.key: task.name for task in execution.parked()}
    execution.close()
    if set(today) == stored:
        return None
    return f"It waits for {_names(stored)}; today's code waits for {_names(today.values())}."


def _names(names: Iterable[str]) -> str:
    return ", ".join(map(repr, sorted(names))) or "nothing"


def _report(findings: dict[str, str | None], *, as_json: bool) -> None:
    if as_json:
        render.print_json([{"instanceId": each, "difference": text} for each, text in findings.items()])
        return
    for instance_id, text in findings.items():
        render.console().print(f"{instance_id}: {text or 'as before'}", markup=False)
    if not findings:
        render.console().print("No live instances.")
