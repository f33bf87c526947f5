"""How a failure is remembered: what was raised, and where."""

import traceback

import msgspec

_DEEPEST_CAUSE = 10


class FailureDetails(msgspec.Struct, frozen=True, array_like=True):
    """An error as history holds it (the protocol's `TaskFailureDetails`).

    `error_type` is the class name, with its module unless that is `builtins`; `stack_trace` the traceback
    as text; `is_non_retriable` keeps a retry policy from trying again.
    """

    error_type: str
    message: str
    stack_trace: str | None = None
    inner_failure: "FailureDetails | None" = None
    is_non_retriable: bool = False


def failure_of(error: BaseException, *, is_non_retriable: bool = False, depth: int = 0) -> FailureDetails:
    """Describe `error` and its causes; the traceback starts in user code's own frames."""
    cause = error.__cause__ if depth < _DEEPEST_CAUSE else None
    return FailureDetails(
        error_type=type_name(type(error)),
        message=_storable(_message(error)),
        stack_trace=_storable("".join(traceback.format_exception(error))),
        inner_failure=failure_of(cause, depth=depth + 1) if cause is not None else None,
        is_non_retriable=is_non_retriable,
    )


def type_name(cls: type) -> str:
    """Class name as it is stored: `ValueError`, `orders.PaymentRefused`."""
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  (the user's own __str__ may raise anything)
        return f"<{type(error).__qualname__} whose text cannot be made>"


def _storable(text: str) -> str:
    """Text from the system, such as a file's name, may hold lone surrogates, which no encoding takes."""
    return text.encode("utf-8", "backslashreplace").decode()
