"""Rows as every SQL store reads them: the same columns, in the same order."""

from collections.abc import Sequence
from typing import Any

import msgspec

from bide.model.failure import FailureDetails
from bide.model.instance import DeadLetter, DeadLetterReason, InstanceRow, OrchestrationRuntimeStatus
from bide.store.base import StatusRecord

ROW = (
    "i.iid, i.id, i.name, i.status, i.created_at, i.execution_id, i.generation, i.version, i.parent_instance_id, i.tags, "
    "i.start_at, i.ended_at, i.next_timer_at, i.is_active, i.output, i.custom_status, i.failure, i.buffered"
)
"""The columns that `row_of` reads."""


def row_of(columns: Sequence[Any]) -> InstanceRow:
    return InstanceRow(
        iid=columns[0],
        instance_id=columns[1],
        name=columns[2],
        status=OrchestrationRuntimeStatus(columns[3]),
        created_at=columns[4],
        execution_id=columns[5],
        generation=columns[6],
        version=columns[7],
        parent_instance_id=columns[8],
        tags=_decode(columns[9], dict[str, str]),
        start_at=columns[10],
        ended_at=columns[11],
        next_timer_at=columns[12],
        is_active=bool(columns[13]),
        output=columns[14],
        custom_status=columns[15],
        failure=_decode(columns[16], FailureDetails),
        buffered=_decode(columns[17], dict[str, int]),
    )


def _decode(text: str | None, into: Any) -> Any:
    return None if text is None else msgspec.json.decode(text, type=into)


def dead_letter_of(row: Sequence[Any]) -> DeadLetter:
    return DeadLetter(row[1], row[2], row[3], row[4], row[5], row[6], DeadLetterReason(row[7]))


def record_of(columns: Sequence[Any]) -> StatusRecord:
    """Read `ROW`, the first turn's data and the time of the last turn."""
    return StatusRecord(row_of(columns), columns[18], columns[19])
