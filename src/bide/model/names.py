"""Which names and ids are allowed, and what a registered function is called."""

from collections.abc import Callable
from typing import Any

from bide.errors import InvalidIdError, InvalidInputError

MAX_ID_LENGTH = 256
"""As in the Durable Functions extension (`DurableClient.cs`; the documentation says 100)."""
MAX_EVENT_NAME_LENGTH = 300
"""As in durabletask-mssql, where names are varchar(300)."""
MAX_QUEUE_NAME_LENGTH = 255
"""As in RabbitMQ, so that a queue can move there; Azure Storage has 63."""
MAX_TEXT_LENGTH = 1000
"""Of event ids, versions, tags and reasons: ours."""
NAME_ATTRIBUTE = "__bide_name__"
"""Where the decorators note the name under which a function is registered."""

_FORBIDDEN = frozenset("/\\#?")


def check_instance_id(instance_id: str) -> str:
    r"""Return `instance_id` if it may be one.

    1 to 256 characters, no control characters, none of `/ \ # ?`, no `@` in front (Durable Functions:
    those would break its URLs, or name an entity). Raises `InvalidIdError`.
    """
    if not isinstance(instance_id, str) or not instance_id:
        raise InvalidIdError(f"An instance id must be a non-empty string, not {instance_id!r}.")
    if instance_id[0] == "@":
        raise InvalidIdError(f"Instance id {instance_id!r} starts with '@', which is kept for entities.")
    return check_id_text(instance_id, "An instance id")


def check_id_text(text: str, what: str) -> str:
    r"""Return `text` if an id may look so: at most 256 characters, no control characters, none of `/ \ # ?`.

    `what` names it in the `InvalidIdError`.
    """
    if len(text) > MAX_ID_LENGTH:
        raise InvalidIdError(f"{what} may have {MAX_ID_LENGTH} characters, this one has {len(text)}.")
    if not text.isprintable() or not _FORBIDDEN.isdisjoint(text):
        raise InvalidIdError(f"{what} cannot be {text!r}: it has a control character or one of / \\ # ?.")
    return text


def check_event_name(name: str, what: str = "An event name") -> str:
    """Return `name` if it may name an event: 1 to 300 characters, of any kind but blank.

    `what` names it in the `InvalidIdError`.
    """
    if not isinstance(name, str) or not name or name.isspace():
        raise InvalidIdError(f"{what} must be a non-empty string, not {name!r}.")
    if len(name) > MAX_EVENT_NAME_LENGTH:
        raise InvalidIdError(f"{what} may have {MAX_EVENT_NAME_LENGTH} characters, this one has {len(name)}.")
    if not _is_storable(name):
        raise InvalidIdError(f"{what} cannot be {name!r}: it has a NUL or a lone surrogate.")
    return name


def check_operation_name(name: str) -> str:
    """Return `name` if it may name an entity's operation: up to 300 characters, also none. Raises `InvalidIdError`."""
    return name if name == "" else check_event_name(name, "An operation name")


def check_text(text: str | None, what: str) -> str | None:
    """Return `text` if it can be stored: no NUL, no lone surrogate, 1 to 1,000 characters; or None.

    `what` names it in the `InvalidInputError`. Stores would cut it off at a NUL, and two event ids could become one.
    """
    if text is None:
        return None
    if not isinstance(text, str) or not 0 < len(text) <= MAX_TEXT_LENGTH or not _is_storable(text):
        raise InvalidInputError(
            f"{what} must be text of 1 to {MAX_TEXT_LENGTH:,} characters, without NUL and lone surrogates, not {text!r:.100}."
        )
    return text


def check_queue_name(name: str) -> str:
    """Return `name` if it may name a queue: 1 to 255 printable characters, not blank. Raises `InvalidIdError`."""
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > MAX_QUEUE_NAME_LENGTH:
        raise InvalidIdError(
            f"A queue's name must be text of 1 to {MAX_QUEUE_NAME_LENGTH} printable characters, not {name!r:.300}."
        )
    return name


def check_storable(text: str, what: str) -> str:
    """Return `text` if stores can hold it: no NUL, no lone surrogate. `what` names it in the `InvalidInputError`."""
    if not isinstance(text, str) or not _is_storable(text):
        raise InvalidInputError(f"{what} must be text without NUL and lone surrogates, not {text!r:.100}.")
    return text


def event_key(name: str) -> str:
    """Fold an event name so that spellings which differ by case only are one."""
    return name.casefold()


def registered_name(target: str | Callable[..., Any]) -> str:
    """Return the name of an orchestrator or activity given by name or as the decorated function."""
    if isinstance(target, str):
        return check_text(target, "A name") or ""
    name = getattr(target, NAME_ATTRIBUTE, None)
    if not isinstance(name, str):
        raise InvalidInputError(
            f"{getattr(target, '__qualname__', target)!r} is not registered: decorate it with "
            "@app.orchestrator or @app.activity, outermost, or pass a name."
        )
    return name


def _is_storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
