"""Opens connections with our settings, and says what a driver's error means."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import asyncpg
from asyncpg.exceptions import TargetServerAttributeNotMatched

from bide.errors import BideError, ConfigurationError, InvalidInputError, StoreCorruptError, StoreUnavailableError
from bide.store.postgres.options import Options

DRIVER_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    UnicodeEncodeError,
)
"""Everything that the driver raises. A time-out is an OSError."""

STATEMENT_SECONDS = 30
"""How long a statement may take on the server before it is cancelled there."""
SILENCE_SECONDS = STATEMENT_SECONDS + 15
"""How long to wait for a server that says nothing at all; then the connection is given up, and what it did is not known."""

_STATEMENTS = 200
"""How many statements a connection keeps prepared; batches have some dozen shapes."""

_SESSION = {
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "30s",
    # What is asked here finds few rows by an index, whatever the planner believes of new tables and of values not yet seen.
    "plan_cache_mode": "force_custom_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
}
UNHURRIED = """
    SET LOCAL statement_timeout TO 0; SET LOCAL idle_in_transaction_session_timeout TO 0;
    SET LOCAL enable_seqscan TO on; SET LOCAL enable_hashjoin TO on; SET LOCAL enable_mergejoin TO on;
"""
"""For a transaction that reads whole tables, and joins them: that may take a while."""

_KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}
"""A peer that has vanished is noticed within 30 seconds, also by a connection that only listens. The last is milliseconds."""


class Connection(asyncpg.Connection):
    """A connection whose socket notices that the other side has vanished."""

    def keep_alive(self) -> None:
        sock = self._transport.get_extra_info("socket")  # type: ignore[attr-defined]
        if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
            return
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):  # not every system has all of them
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def connect(options: Options, duty: str) -> Connection:
    """Open a connection to a server that can be written to; `duty` is seen in pg_stat_activity."""
    arguments = connect_arguments(options, duty)
    with driver_errors(options.where):
        try:
            opened: Any = await asyncpg.connect(options.dsn, **arguments)
        except ValueError as error:  # such as a port that is no number
            raise ConfigurationError(f"{options.where}: the URL cannot be used: {error}") from error
        connection: Connection = opened
        try:
            await prepare(connection, options)
        except BaseException:
            connection.terminate()
            raise
        return connection


def connect_arguments(options: Options, duty: str) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "connection_class": Connection,
        "timeout": options.connect_timeout,
        "command_timeout": SILENCE_SECONDS,
        "statement_cache_size": _STATEMENTS,
        "max_cached_statement_lifetime": 0,
        "max_cacheable_statement_size": 0,
        "server_settings": {}
        if "application_name" in options.session
        else {"application_name": f"bide {duty} {options.schema}"},
    }
    if "target_session_attrs" not in options.session:
        arguments["target_session_attrs"] = "read-write"  # a standby serves nobody here, also after a failover
    return arguments


async def prepare(connection: Connection, options: Options) -> None:
    """Set what the URL has not set. As a statement, because PgBouncer takes no unknown settings when connecting."""
    connection.keep_alive()
    settings = {name: value for name, value in _SESSION.items() if name not in options.session}
    await connection.execute(
        f'SET search_path TO "{options.schema}";'
        + "".join(f"SET {name} TO '{value}';" for name, value in settings.items())
        + "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';"
    )


@contextlib.contextmanager
def driver_errors(where: str) -> Iterator[None]:
    """Turn errors of the driver into ours."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise explain(error, where) from error


def is_lost(error: BaseException) -> bool:
    """Whether it is not known what the server made of the statement."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state.startswith("08") or state in _SHUTDOWN or state == "25P03"
    return isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError)


def is_conflict(error: BaseException) -> bool:
    """Whether the transaction met another one, has changed nothing, and may simply be tried again."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate in {"40001", "40P01"}


_SHUTDOWN = frozenset({"57P01", "57P02", "57P05"})
_RETRY = "bide goes on by itself when that is over."

_MEANINGS: dict[str, tuple[type[BideError], str]] = {
    "53100": (StoreUnavailableError, "the server's disk is full. Make room; bide goes on by itself."),
    "53200": (StoreUnavailableError, f"the server has no memory left. {_RETRY}"),
    "53300": (
        StoreUnavailableError,
        "the server has too many connections. Raise its max_connections, or lower pool= in the store's URL.",
    ),
    "57P01": (StoreUnavailableError, f"the server is shutting down, or has closed the connection. {_RETRY}"),
    "57P02": (StoreUnavailableError, f"the server has crashed and recovers. {_RETRY}"),
    "57P03": (StoreUnavailableError, f"the server is starting up. {_RETRY}"),
    "57P05": (StoreUnavailableError, "the server has closed an idle connection (idle_session_timeout)."),
    "25P03": (StoreUnavailableError, "the server has closed a transaction that stood still."),
    "25006": (StoreUnavailableError, f"the server is read-only: a standby, or no longer the primary. {_RETRY}"),
    "57014": (StoreUnavailableError, "a statement took too long and was cancelled (statement_timeout)."),
    "55P03": (StoreUnavailableError, "a lock was not to be had in time (lock_timeout)."),
    "40001": (StoreUnavailableError, "transactions were in each other's way. Try again."),
    "40P01": (StoreUnavailableError, "transactions were in each other's way (deadlock). Try again."),
    "28P01": (ConfigurationError, "the user or the password is wrong."),
    "28000": (ConfigurationError, "the server does not let this user in; see its pg_hba.conf."),
    "3D000": (ConfigurationError, "there is no such database. Create it first (createdb)."),
    "3F000": (StoreCorruptError, "the schema is not there (any more)."),
    "42P01": (StoreCorruptError, "a table is missing: the schema is damaged, or belongs to another program."),
    "42703": (StoreCorruptError, "a column is missing: the schema is damaged, or belongs to another program."),
    "42501": (ConfigurationError, "the user may not do that; it needs CREATE on the database, or an existing schema of its own."),
    "42704": (ConfigurationError, "the URL has an option that neither bide nor the server knows."),
    "22000": (InvalidInputError, "a value cannot be stored, nor be found."),
    "22021": (InvalidInputError, "text with a NUL cannot be stored, nor be found."),
    "22P05": (InvalidInputError, "text that the server's encoding does not have cannot be stored. Use a database in UTF8."),
    "XX001": (StoreCorruptError, "the server has found damaged data. Restore a backup."),
    "XX002": (StoreCorruptError, "the server has found a damaged index. REINDEX it, or restore a backup."),
}  # fmt: skip
"""By SQLSTATE: what an error is to the caller, what it means, and the way out."""

_CLASSES: dict[str, tuple[type[BideError], str]] = {
    "08": (StoreUnavailableError, f"the connection is lost. {_RETRY}"),
    "28": (ConfigurationError, "the server does not let this user in."),
    "53": (StoreUnavailableError, f"the server has run out of something. {_RETRY}"),
    "58": (StoreUnavailableError, "the server cannot read or write its files."),
}
"""By the first two characters of the SQLSTATE."""


def explain(error: BaseException, where: str) -> BideError:
    """Say what a driver's error means for the store, and what to do about it. The driver's own words come last."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        kind, text = (
            _MEANINGS.get(state) or _CLASSES.get(state[:2]) or (StoreUnavailableError, "it refused a statement.")
        )
    else:
        kind, text = _explain_client(error)
    return kind(f"{where}: {text} [{type(error).__name__}: {error}]")


def _explain_client(error: BaseException) -> tuple[type[BideError], str]:  # noqa: PLR0911  (a table)
    match error:
        case TargetServerAttributeNotMatched():
            return StoreUnavailableError, f"none of the servers can be written to. {_RETRY}"
        case ConnectionError() if "rejected SSL upgrade" in str(error):
            return ConfigurationError, "the server does not offer TLS, which sslmode asks for."
        case asyncpg.ClientConfigurationError():
            return ConfigurationError, "the URL cannot be used."
        case UnicodeEncodeError():
            return InvalidInputError, "a value cannot be stored, nor be found."
        case asyncpg.InterfaceError() | asyncpg.InternalClientError():
            return StoreUnavailableError, f"the connection cannot be used. {_RETRY}"
        case TimeoutError() | asyncio.TimeoutError():
            return StoreUnavailableError, f"it does not answer. {_RETRY}"
        case ConnectionRefusedError() | FileNotFoundError():
            return StoreUnavailableError, "nobody listens there, or a file that the URL names is missing."
        case socket.gaierror():
            return StoreUnavailableError, "the host has no address. Is its name right?"
        case _ if "ssl" in type(error).__name__.lower():
            return ConfigurationError, "TLS failed. See sslmode and sslrootcert."
        case _:
            return StoreUnavailableError, f"it cannot be reached. {_RETRY}"
