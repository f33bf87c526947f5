"""Puts results side by side: a table for each kind, and how many times as good as a peer's figure ours is."""

import dataclasses
from collections.abc import Mapping

from bench.peers.contestants import OURS, Contestant, Kind
from bench.peers.measuring import Result


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    title: str
    workload: str
    figure: str
    unit: str
    more_is_better: bool = True

    def of(self, result: Result) -> float | None:
        return result.figures.get(self.workload, {}).get(self.figure)

    def ratio(self, ours: float, theirs: float) -> float:
        """How many times as good ours is; below 1 theirs is better."""
        return ours / theirs if self.more_is_better else theirs / ours


COLUMNS = (
    Column("W1: approvals, 64 in flight", "W1", "rate", "/s"),
    Column("W2: raise to result, p50", "W2", "p50", " ms", more_is_better=False),
    Column("W3: restart", "W3", "restart", " ms", more_is_better=False),
    Column("W3: disk of one parked", "W3", "bytes", " B", more_is_better=False),
    Column("W4: events to one", "W4", "rate", "/s"),
    Column("W5: steps, one chain", "W5", "alone", "/s"),
    Column("W5: steps, 64 chains", "W5", "together", "/s"),
    Column("W6: fan-out of 1,000", "W6", "rate", "/s"),
)

Results = Mapping[Contestant, Result]


def tables(results: Results, limits: Mapping[Kind, str], workloads: list[str]) -> str:
    """Return Markdown: what the machine does by itself, then ours, then the peers."""
    columns = [each for each in COLUMNS if each.workload in workloads]
    kinds = [kind for kind in Kind if any(each.kind is kind for each in results)]
    return "\n\n".join(_table(kind, results, limits, columns) for kind in kinds)


def ahead(results: Results) -> list[str]:
    """Return a sentence for each figure in which a peer is better than ours."""
    return [
        f"{_name(peer, result)} is ahead in {column.title}: {_figure(column, theirs)}, ours {_figure(column, ours)}"
        for peer, result in results.items()
        for column in COLUMNS
        if (ours := _ours(column, results, peer)) is not None
        and (theirs := column.of(result)) is not None
        and column.ratio(ours, theirs) < 1
    ]


def _table(kind: Kind, results: Results, limits: Mapping[Kind, str], columns: list[Column]) -> str:
    sides = [["", *(each.title for each in columns)]]
    sides += [
        [_name(each, result), *(_cell(column, results, each) for column in columns)]
        for each, result in results.items()
        if each.kind is kind
    ]
    return "\n".join(
        [
            f"### {kind.value}",
            "",
            f"The machine by itself: {limits[kind]}.",
            "",
            *_aligned(list(zip(*sides, strict=True))),
        ]
    )


def _cell(column: Column, results: Results, contestant: Contestant) -> str:
    result = results[contestant]
    theirs = column.of(result)
    if theirs is None:
        return "failed" if column.workload in result.failures else "-"
    ours = _ours(column, results, contestant)
    times = "" if ours is None else f" ({_short(column.ratio(ours, theirs))}x)"
    return f"{_figure(column, theirs)}{_parked(column, result)}{times}"


def _ours(column: Column, results: Results, contestant: Contestant) -> float | None:
    """Return the figure that a peer's is compared with."""
    if contestant.is_ours:
        return None
    return next((column.of(results[each]) for each in OURS if each.kind is contestant.kind and each in results), None)


def _parked(column: Column, result: Result) -> str:
    return f" with {result.figures['W3']['parked']:,.0f}" if column.figure == "restart" else ""


def _figure(column: Column, value: float) -> str:
    return f"{_short(value)}{column.unit}"


def _short(value: float) -> str:
    """Three digits tell all that repeats."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _name(contestant: Contestant, result: Result) -> str:
    return f"{contestant.label} {result.version}".strip()


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
