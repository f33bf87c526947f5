"""Runs an operation of a Functions app's entity with the SDK's own handle."""

import json
from collections.abc import Callable

import msgspec

import bide
from bide.functions.durable.payload import text_of
from bide.functions.sdk.calls import input_text, payload


class EntityOperationError(Exception):
    """An operation raised; the text is all that the SDK tells of it."""


def adapt_entity(handle: Callable[[str], str]) -> Callable[[bide.EntityContext], None]:
    """Make an entity for the engine of the SDK's handle, which gets batches of one operation."""

    def run(engine: bide.EntityContext) -> None:
        answer = json.loads(handle(_batch(engine)))
        [outcome] = answer["results"]
        if answer["entityExists"]:
            engine.set_state(payload(answer["entityState"]))
        else:
            engine.destruct_on_exit()
        if outcome["isError"]:
            raise EntityOperationError(json.loads(outcome["result"]))
        engine.set_result(payload(outcome["result"]))

    return run


def _batch(engine: bide.EntityContext) -> str:
    text = input_text(text_of(engine.get_input(msgspec.Raw)))
    operation = {"name": engine.operation_name, "input": json.dumps(text), "isSignal": False}
    return json.dumps(
        {
            "self": {"name": engine.entity_name, "key": engine.entity_key},
            "exists": not engine.is_newly_constructed,
            "state": text_of(engine.get_state(type=msgspec.Raw)),
            "batch": [operation],
        }
    )
