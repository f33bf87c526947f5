"""Queue triggers and outputs: messages as `azure.functions` wants them, and what functions send."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import azure.functions as func
from azure.functions.meta import Datum

from bide.functions.invocation import AzureValue
from bide.functions.queues import ReceivedMessage


def message_value(message: ReceivedMessage) -> AzureValue:
    """Make the trigger's value of a message."""
    metadata = {
        "Id": Datum(message.id, "string"),
        "DequeueCount": Datum(str(message.dequeue_count), "string"),
        "PopReceipt": Datum(message.pop_receipt, "string"),
    }
    times = {
        "InsertionTime": message.inserted_at,
        "ExpirationTime": message.expires_at,
        "NextVisibleTime": message.next_visible_at,
    }
    metadata |= {name: Datum(_json_time(time), "json") for name, time in times.items() if time is not None}
    return AzureValue(Datum(message.body, "bytes"), metadata)


def bodies(value: Any) -> Iterator[str | bytes]:
    """Give the messages in what a function has sent: text, bytes, a `QueueMessage`, a list of them, or any JSON."""
    if isinstance(value, list | tuple):
        for each in value:
            yield from bodies(each)
    elif isinstance(value, func.QueueMessage):
        yield value.get_body()
    elif isinstance(value, str | bytes):
        yield value
    else:
        yield json.dumps(value)


def _json_time(time: datetime) -> str:
    return json.dumps(time.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
