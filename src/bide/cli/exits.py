"""Exit codes of the `bide` command, documented in docs/reference/cli.md."""

from enum import IntEnum

from bide.errors import (
    BideError,
    ConfigurationError,
    HubBusyError,
    HubClosedError,
    HubUnreachableError,
    InstanceError,
    InstanceNotFoundError,
    InvalidInputError,
    StoreError,
    UnauthorizedError,
)


class Exit(IntEnum):
    OK = 0
    FAILED = 1
    """The orchestration that was waited for did not complete, or a replay found a difference, or a check a violation."""
    USAGE = 2
    """Wrong arguments, data that is not JSON, an app that cannot be loaded."""
    NOT_FOUND = 3
    CONFLICT = 4
    """The instance is not in a state that allows it."""
    UNREACHABLE = 5
    """Nobody answers at the address, it is too busy, or the key is wrong."""
    STORE = 6
    INTERRUPTED = 130


_CODES: tuple[tuple[type[BideError], Exit], ...] = (
    (InvalidInputError, Exit.USAGE),
    (ConfigurationError, Exit.USAGE),
    (InstanceNotFoundError, Exit.NOT_FOUND),
    (InstanceError, Exit.CONFLICT),
    (HubUnreachableError, Exit.UNREACHABLE),
    (HubBusyError, Exit.UNREACHABLE),
    (HubClosedError, Exit.UNREACHABLE),
    (UnauthorizedError, Exit.UNREACHABLE),
    (StoreError, Exit.STORE),
)


def exit_code(error: BideError) -> Exit:
    """Choose the exit code for an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.FAILED)
