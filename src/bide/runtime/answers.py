"""Answers of one node to another's request: a value, or an error that is raised again over there."""

from typing import Any

import msgspec

from bide import errors
from bide.errors import BideError, RemoteError


def encode_answer(answer: Any) -> str:
    """Write an answer as JSON."""
    if isinstance(answer, BideError):
        error = {"error": type(answer).__name__, "message": str(answer), "attributes": vars(answer)}
        return msgspec.json.encode(error).decode()
    return msgspec.json.encode({"value": answer}).decode()


def decode_answer(data: str) -> Any:
    """Read an answer. Raises the error if it is one."""
    answer = msgspec.json.decode(data)
    if "error" not in answer:
        return answer["value"]
    kind = getattr(errors, answer["error"], None)
    if not (isinstance(kind, type) and issubclass(kind, BideError)):
        raise RemoteError(f"{answer['error']}: {answer['message']}", 500)
    error = kind.__new__(kind, answer["message"])
    for name, value in answer["attributes"].items():
        setattr(error, name, tuple(value) if isinstance(value, list) else value)
    raise error
