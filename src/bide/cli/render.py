"""What commands print: for people as text and tables, for programs as JSON."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from textwrap import indent
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bide.client.base import (
    ClusterStatus,
    DeadEvent,
    EntityStatus,
    HistoryEntry,
    OpenWait,
    OrchestrationStatus,
    QueuedMessage,
)
from bide.http import payloads
from bide.model.clock import to_datetime
from bide.model.instance import OrchestrationRuntimeStatus

_COLOURS = {"Completed": "green", "Failed": "red", "Terminated": "red", "Suspended": "yellow", "Pending": "cyan"}


_UNBOUNDED = 10_000


def console() -> Console:
    """A console as wide as the terminal; into a pipe or a file nothing is folded."""
    width = None if sys.stdout.isatty() else _UNBOUNDED
    return Console(file=sys.stdout, highlight=False, soft_wrap=True, width=width)


def print_json(value: Any) -> None:
    sys.stdout.write(payloads.encode(value).decode() + "\n")
    sys.stdout.flush()


def answer(document: dict[str, Any], text: str, *, as_json: bool) -> None:
    """Print the outcome of a command, in words or as a document."""
    if as_json:
        print_json(document)
    else:
        sys.stdout.write(text + "\n")


def print_status(status: OrchestrationStatus, *, as_json: bool) -> None:
    if as_json:
        print_json(payloads.status(status))
        return
    for line in status_lines(status, datetime.now(UTC)):
        console().print(line)


def status_lines(status: OrchestrationStatus, now: datetime) -> list[str]:
    """Tell all that matters about an instance, a fact a line, with rich's markup."""
    label = status.runtime_status.label
    colour = _COLOURS.get(label, "bold")
    lines = [f"[bold]{escape(status.instance_id)}[/]  {escape(status.name)}  [{colour}]{label}[/]"]
    lines.append(f"  created  {ago(status.created_time, now)}, last updated {ago(status.last_updated_time, now)}")
    if status.scheduled_start_time is not None:
        lines.append(f"  starts   {_clock(status.scheduled_start_time)}")
    lines += [f"  waits    {wait_line(wait, now)}" for wait in status.waits]
    lines += [f"  buffered {escape(name)} ({count})" for name, count in status.buffered.items()]
    for title, value in (("input", status.input), ("custom", status.custom_status), ("output", status.output)):
        if value is not None and not (title == "output" and status.failure is not None):
            lines.append(f"  {title:8} {escape(_text(value))}")
    if status.failure is not None:
        lines.append(f"  failure  [red]{escape(status.failure.error_type)}[/]: {escape(status.failure.message)}")
        if status.failure.stack_trace:
            lines.append(escape(indent(status.failure.stack_trace.rstrip(), " " * 11)))
    return lines


def wait_line(wait: OpenWait, now: datetime) -> str:
    deadline = f", until {_clock(wait.deadline)}" if wait.deadline is not None else ""
    kind = f" ({escape(wait.type)})" if wait.type else ""
    return f"[bold]{escape(wait.name)}[/]{kind} since {ago(wait.since, now)}{deadline}"


def print_list(items: Sequence[OrchestrationStatus], *, as_json: bool) -> None:
    if as_json:
        print_json([payloads.listed(item) for item in items])
        return
    now = datetime.now(UTC)
    rows = [
        (item.instance_id, item.name, _coloured(item.runtime_status), _span(item.created_time, now)) for item in items
    ]
    _print_table(("instance", "orchestrator", "status", "created"), rows, "No instances.")


def print_entity(status: EntityStatus, *, as_json: bool) -> None:
    if as_json:
        print_json(payloads.entity(status))
        return
    for line in entity_lines(status, datetime.now(UTC)):
        console().print(line)


def entity_lines(status: EntityStatus, now: datetime) -> list[str]:
    """Tell all that matters about an entity, a fact a line, with rich's markup."""
    lines = [f"[bold]{escape(str(status.entity_id))}[/]", f"  active   {ago(status.last_operation_time, now)}"]
    if status.locked_by is not None:
        lines.append(f"  locked   by {escape(status.locked_by)}")
    if status.backlog:
        lines.append(f"  backlog  {status.backlog}")
    if status.state is not None:
        lines.append(f"  state    {escape(_text(status.state))}")
    return lines


def print_entities(items: Sequence[EntityStatus], *, as_json: bool) -> None:
    if as_json:
        print_json([payloads.entity(item) for item in items])
        return
    now = datetime.now(UTC)
    rows = [
        (
            str(item.entity_id),
            _span(item.last_operation_time, now),
            item.locked_by or "",
            str(item.backlog or ""),
            "" if item.state is None else _text(item.state),
        )
        for item in items
    ]
    _print_table(("entity", "active", "locked by", "backlog", "state"), rows, "No entities.")


def print_waits(items: Sequence[OpenWait], *, as_json: bool) -> None:
    if as_json:
        print_json([payloads.wait(item) for item in items])
        return
    now = datetime.now(UTC)
    rows = [
        (item.name, item.instance_id, _span(item.since, now), "" if item.deadline is None else _clock(item.deadline))
        for item in items
    ]
    _print_table(("event", "instance", "waiting since", "until"), rows, "Nothing waits.")


def print_dead_letters(items: Sequence[DeadEvent], *, as_json: bool) -> None:
    if as_json:
        print_json([payloads.dead_letter(item) for item in items])
        return
    now = datetime.now(UTC)
    rows = [
        (item.name, item.instance_id, item.reason, _span(item.recorded_at, now), _text(item.data)) for item in items
    ]
    _print_table(("event", "instance", "reason", "when", "data"), rows, "No dead letters.")


def print_nodes(status: ClusterStatus, *, as_json: bool) -> None:
    if as_json:
        print_json(payloads.cluster(status))
        return
    now = datetime.now(UTC)
    rows = [
        (
            node.name,
            node.role,
            f"{len(node.partitions)} of {status.partitions}",
            _span(node.last_seen_time, now),
            str(node.waiting),
            str(node.resident),
            str(node.running),
            f"{node.rate:,.1f}/s",
        )
        for node in status.nodes
    ]
    _print_table(("node", "role", "owns", "seen", "waiting", "in memory", "running", "messages"), rows, "No nodes.")
    if status.unowned:
        console().print(f"[yellow]{len(status.unowned)} partitions have no owner[/] and wait to be taken over.")
    if status.offered:
        console().print(f"{status.offered} activities wait for a node with room.")


def print_queues(lengths: Mapping[str, int], *, as_json: bool) -> None:
    if as_json:
        print_json(payloads.queues(lengths))
        return
    _print_table(("queue", "messages"), [(name, str(count)) for name, count in lengths.items()], "No messages.")


def print_messages(messages: Sequence[QueuedMessage], *, as_json: bool) -> None:
    if as_json:
        print_json([payloads.queued_message(message) for message in messages])
        return
    now = datetime.now(UTC)
    rows = [
        (
            message.id,
            _span(message.inserted_at, now),
            "" if message.visible_at <= now else _clock(message.visible_at),
            str(message.dequeue_count),
            message.body,
        )
        for message in messages
    ]
    _print_table(("message", "sent", "hidden until", "attempts", "body"), rows, "No messages.")


def print_history(entries: Sequence[HistoryEntry], *, as_json: bool) -> None:
    if as_json:
        print_json([payloads.entry(entry) for entry in entries])
        return
    rows = []
    for entry in entries:
        fields = {name: getattr(entry.event, name) for name in entry.event.__struct_fields__}
        shown = ", ".join(f"{name}={_told(name, value)}" for name, value in fields.items() if value is not None)
        rows.append((str(entry.turn), _clock(entry.timestamp), entry.event.event_type, shown))
    _print_table(("turn", "time", "event", ""), rows, "No history.")


def ago(then: datetime, now: datetime) -> str:
    """Say how long ago, and when."""
    return f"{_span(then, now)} ({_clock(then)})"


def _span(then: datetime, now: datetime) -> str:
    seconds = max(0, int((now - then).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def _clock(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _told(field: str, value: Any) -> Any:
    if field in {"timestamp", "fire_at", "scheduled_at"}:
        return _clock(to_datetime(value))
    return OrchestrationRuntimeStatus(value).label if field == "status" else value


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _coloured(status: OrchestrationRuntimeStatus) -> Text:
    return Text(status.label, style=_COLOURS.get(status.label, "bold"))


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]], nothing: str) -> None:
    if not rows:
        console().print(nothing)
        return
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    console().print(table)
