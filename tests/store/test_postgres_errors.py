"""What is said about a database that cannot be used, and how the store goes on when it can be used again."""

import asyncio
import inspect
import re
import socket
import ssl
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

import bide
from bide.model.commit import Batch, Commit, Posted
from bide.model.nodes import NodeRole
from bide.store import open_store
from bide.store.postgres import PostgresStore
from bide.store.postgres.connection import connect, explain, is_lost
from bide.store.postgres.options import parse_url
from bide.store.postgres.statements import SQL
from bide.store.urls import hide_password
from bide.testing.store_suite.cluster import Ears
from bide.testing.store_suite.fixtures import TTL, iid, inserted, opened, row, turn, write

WHERE = "PostgreSQL at somewhere"


def server_error(state, text="driver's words"):
    return asyncpg.PostgresError.new({"S": "ERROR", "C": state, "M": text})


@pytest.mark.parametrize(
    ("error", "expected", "words"),
    [
        (server_error("53100"), bide.StoreUnavailableError, "disk is full"),
        (server_error("53200"), bide.StoreUnavailableError, "no memory"),
        (server_error("53300"), bide.StoreUnavailableError, "too many connections"),
        (server_error("53400"), bide.StoreUnavailableError, "run out"),
        (server_error("57P01"), bide.StoreUnavailableError, "shutting down"),
        (server_error("57P02"), bide.StoreUnavailableError, "crashed"),
        (server_error("57P03"), bide.StoreUnavailableError, "starting up"),
        (server_error("57P05"), bide.StoreUnavailableError, "idle"),
        (server_error("25P03"), bide.StoreUnavailableError, "stood still"),
        (server_error("08006"), bide.StoreUnavailableError, "connection is lost"),
        (server_error("25006"), bide.StoreUnavailableError, "read-only"),
        (server_error("57014"), bide.StoreUnavailableError, "statement_timeout"),
        (server_error("55P03"), bide.StoreUnavailableError, "lock_timeout"),
        (server_error("40001"), bide.StoreUnavailableError, "Try again"),
        (server_error("40P01"), bide.StoreUnavailableError, "deadlock"),
        (server_error("58030"), bide.StoreUnavailableError, "files"),
        (server_error("XX000"), bide.StoreUnavailableError, "refused"),
        (server_error("28P01"), bide.ConfigurationError, "password"),
        (server_error("28000"), bide.ConfigurationError, "pg_hba"),
        (server_error("3D000"), bide.ConfigurationError, "createdb"),
        (server_error("42501"), bide.ConfigurationError, "CREATE"),
        (server_error("42704"), bide.ConfigurationError, "option"),
        (server_error("42P01"), bide.StoreCorruptError, "table is missing"),
        (server_error("42703"), bide.StoreCorruptError, "column is missing"),
        (server_error("3F000"), bide.StoreCorruptError, "schema"),
        (server_error("XX001"), bide.StoreCorruptError, "backup"),
        (server_error("XX002"), bide.StoreCorruptError, "REINDEX"),
        (server_error("22021"), bide.InvalidInputError, "NUL"),
        (server_error("22P05"), bide.InvalidInputError, "UTF8"),
        (asyncpg.TargetServerAttributeNotMatched("x"), bide.StoreUnavailableError, "written to"),
        (asyncpg.ClientConfigurationError("x"), bide.ConfigurationError, "URL"),
        (asyncpg.DataError("x"), bide.InvalidInputError, "value"),
        (asyncpg.InterfaceError("x"), bide.StoreUnavailableError, "cannot be used"),
        (asyncpg.InternalClientError("x"), bide.StoreUnavailableError, "cannot be used"),
        (TimeoutError(), bide.StoreUnavailableError, "does not answer"),
        (ConnectionRefusedError(), bide.StoreUnavailableError, "nobody listens"),
        (FileNotFoundError(), bide.StoreUnavailableError, "nobody listens"),
        (socket.gaierror(), bide.StoreUnavailableError, "no address"),
        (ssl.SSLError("x"), bide.ConfigurationError, "sslmode"),
        (ConnectionResetError(), bide.StoreUnavailableError, "cannot be reached"),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogate"), bide.InvalidInputError, "value"),
    ],
)
def test_driver_errors(error, expected, words):
    """Every driver error becomes one of ours that names the database, and keeps the driver's words."""
    ours = explain(error, WHERE)
    assert type(ours) is expected
    assert words in str(ours)
    assert str(ours).startswith(WHERE)
    assert str(error) in str(ours)


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (server_error("08006"), True),
        (server_error("57P01"), True),
        (server_error("57014"), False),
        (server_error("53100"), False),
        (server_error("23505"), False),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (asyncpg.InterfaceError("connection is closed"), True),
        (asyncpg.DataError("x"), False),
    ],
)
def test_what_is_known_of_a_failed_statement(error, lost):
    """What the server has refused was not done; when the connection is gone, nobody knows."""
    assert is_lost(error) is lost


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("partitions=0", "from 1 to 1,024"),
        ("partitions=1025", "1,024"),
        ("pool=x", "pool"),
        ("listen=maybe", "on or off"),
        ("poll=nan", "above 0"),
        ("connect_timeout=-1", "connect_timeout"),
        ("schema=a-b", "schema"),
    ],
)
def test_an_option_that_cannot_be(query, words):
    """The error shows the URL without its password."""
    with pytest.raises(bide.ConfigurationError, match=words) as caught:
        open_store(f"postgresql://ann:secret@host/db?{query}")
    assert "secret" not in str(caught.value)
    assert "ann" in str(caught.value)


def test_a_url_is_read():
    """Our options are taken out; the rest is the driver's, with all its hosts."""
    options = parse_url(
        "postgres://ann:secret@one:5432,two:5433/orders?schema=hub_1&partitions=64&pool=9&target_session_attrs=primary"
    )
    assert options.dsn == "postgres://ann:secret@one:5432,two:5433/orders?target_session_attrs=primary"
    assert options.where == "PostgreSQL at one:5432,two:5433 (database orders, schema hub_1)"
    assert (options.schema, options.partitions, options.pool) == ("hub_1", 64, 9)
    assert hide_password("postgres://a@h/d?password=x&schema=s") == "postgres://a@h/d?password=***&schema=s"


async def refused(url, error, *words):
    """Open a store; the error is of that kind, and has these words."""
    with pytest.raises(error) as caught:
        await open_store(url).open()
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["postgresql://h:port/db", "postgresql://[::1/db", "postgresql://h/db?sslmode=maybe"],
)
async def test_a_url_that_cannot_be_used(url):
    """It is the caller's to mend."""
    with pytest.raises(bide.ConfigurationError, match="URL"):
        await open_store(url).open()


async def test_nobody_listens(postgres):
    await refused("postgresql://ann:secret@127.0.0.1:1/x", bide.StoreUnavailableError, "127.0.0.1:1", "nobody listens")


async def test_no_such_database(postgres, schema):
    await refused(postgres.url(schema, database="nowhere"), bide.ConfigurationError, "nowhere", "createdb")


async def test_an_unknown_option(postgres, schema):
    await refused(postgres.url(schema, flavour="sweet"), bide.ConfigurationError, "option", "flavour")


async def test_no_tls(postgres, schema):
    """The server of the tests has none."""
    await refused(postgres.url(schema, sslmode="require"), bide.ConfigurationError, "does not offer TLS")


async def test_the_schema_of_another_program(postgres, schema):
    await execute(postgres, schema, f"CREATE SCHEMA {schema}", "CREATE TABLE customers (name text)")
    await refused(postgres.url(schema), bide.StoreCorruptError, schema, "another program")


async def test_a_schema_from_a_newer_bide(postgres, schema):
    """It is refused, unless that bide says that older ones can work with it."""
    async with opened(lambda: PostgresStore(postgres.url(schema))):
        pass
    await execute(postgres, schema, "UPDATE bide SET version = 999, compatible = 999")
    await refused(postgres.url(schema), bide.StoreVersionError, "999", "Upgrade bide")
    await execute(postgres, schema, "UPDATE bide SET compatible = 1")
    async with opened(lambda: PostgresStore(postgres.url(schema))) as store:
        assert store.partitions == 32


async def test_several_nodes_make_the_schema_at_the_same_time(postgres, schema):
    """One of them does, with its number of partitions, and all can use it."""
    stores = [PostgresStore(postgres.url(schema, partitions=number, pool=1)) for number in (3, 4, 5)]
    await asyncio.gather(*(store.open() for store in stores))
    try:
        [partitions] = {store.partitions for store in stores}
        assert partitions in {3, 4, 5}
        assert len((await stores[0].state()).leases) == partitions
    finally:
        for store in stores:
            await store.close()


async def execute(postgres, schema, *statements):
    connection = await connect(parse_url(postgres.url(schema)), "tests")
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def killed(postgres, schema, duty):
    """End the server's side of connections with that duty, and wait until they are gone."""
    await execute(
        postgres,
        schema,
        f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'bide {duty} {schema}'",
    )


async def test_a_lost_connection_is_made_anew(postgres, schema):
    """Whichever it is: commits and queries fail at most once."""
    async with opened(lambda: PostgresStore(postgres.url(schema, partitions=1))) as store:
        await write(store, inserted(1))
        for duty in ("commits", "reads", "listens"):
            await killed(postgres, schema, duty)
        for number in range(2, 9):
            try:
                await write(store, inserted(number))
                break
            except bide.StoreUnavailableError:
                pass
        assert {each.row.instance_id for each in await store.load(["i1", f"i{number}"])} == {"i1", f"i{number}"}
        assert store.held == {0}


async def test_a_listener_that_was_cut_off_is_told(postgres, schema):
    """When it hears again: it may have missed anything."""
    store, ears = PostgresStore(postgres.url(schema, partitions=4)), Ears()
    await store.open()
    try:
        await store.join("node", NodeRole.ALL, TTL, ears)
        await store.claim([1], TTL)
        await killed(postgres, schema, "listens")
        await ears.hears("gap")
        async with opened_client(postgres, schema) as client:
            await write(client, inbox_added=[Posted(1, 1, b"x")])
        await ears.hears("messages")
    finally:
        await store.close()


@asynccontextmanager
async def opened_client(postgres, schema):
    """A store that is no node."""
    store = PostgresStore(postgres.url(schema))
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def test_what_was_under_way_on_a_lost_connection_never_comes_later(postgres, schema):
    """A commit hangs in the server, and the connection is lost: whatever is read next is final."""
    async with opened(lambda: PostgresStore(postgres.url(schema, partitions=1, lock_timeout="1min"))) as store:
        await write(store, inserted(1))
        blocker = await connect(parse_url(postgres.url(schema)), "tests")
        try:
            async with blocker.transaction():
                await blocker.execute("SELECT * FROM partitions FOR UPDATE")
                hanging = store.commit(Batch(commits=[Commit(iid=iid(1), turn=turn(1))]))
                await until_it_waits(postgres, schema)
                store._writer._connection.terminate()
                with pytest.raises(bide.StoreUnavailableError):
                    await hanging
                reading = asyncio.ensure_future(store.load(["i1"]))
                await asyncio.sleep(0.05)
                assert not reading.done()
            [loaded] = await reading
            await write(store, Commit(iid=iid(1), turn=turn(len(loaded.turns))))
            assert [each.seq for each in await store.turns("i1")] == list(range(len(loaded.turns) + 1))
        finally:
            await blocker.close()


async def until_it_waits(postgres, schema):
    """Until a commit waits for a lock."""
    watcher = await connect(parse_url(postgres.url(schema)), "tests")
    try:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'"
        while not await watcher.fetchval(sql, f"bide commits {schema}"):
            await asyncio.sleep(0)
    finally:
        await watcher.close()


async def test_what_was_passed_in_before_a_failure_was_known_fails_too(postgres, schema):
    """It may rest on what failed; what comes after is tried."""
    async with opened(lambda: PostgresStore(postgres.url(schema, partitions=1))) as store:
        await write(store, inserted(1))
        commits = [store.commit(Batch(commits=[each])) for each in (inserted(1), inserted(2), inserted(3))]
        results = await asyncio.gather(*commits, return_exceptions=True)
        assert [type(each) for each in results] == [bide.StoreUnavailableError] * 3
        await write(store, inserted(2))
        assert len(await store.load(["i1", "i2", "i3"])) == 2


async def test_a_message_is_handled_once(postgres, schema):
    """A batch that removes a message which is gone writes nothing."""
    async with opened(lambda: PostgresStore(postgres.url(schema, partitions=1))) as store:
        with pytest.raises(bide.StoreUnavailableError, match="handled already"):
            await write(store, inserted(1), inbox_removed=[(0, 7)])
        assert await store.load(["i1"]) == []


async def test_long_event_ids_are_told_apart(postgres, schema):
    """They may have 1,000 characters of four bytes, and differ in the last; a short one is none of them."""
    ids = ["\U0001f600" * 999 + end for end in "ab"]
    async with opened(lambda: PostgresStore(postgres.url(schema, partitions=1))) as store:
        await write(store, Commit(iid=iid(1), insert=row(1), turn=turn(0), event_ids=(ids[0], "a")))
        assert await store.seen_event_ids([(iid(1), each) for each in (*ids, "a", "b")]) == {
            (iid(1), ids[0]),
            (iid(1), "a"),
        }


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
async def test_text_that_cannot_be_stored_is_an_error_of_the_caller(postgres, schema, text):
    """Wherever it is asked for."""
    async with opened(lambda: PostgresStore(postgres.url(schema, partitions=1))) as store:
        for question in (
            store.get(text),
            store.turns(text),
            store.waits(name=text),
            store.dead_letters(instance_id=text),
        ):
            with pytest.raises(bide.InvalidInputError):
                await question


async def test_a_database_in_another_encoding_is_refused(postgres, schema):
    await execute(postgres, schema, f"CREATE DATABASE {schema} ENCODING 'LATIN1' TEMPLATE template0")
    await refused(postgres.url(schema, database=schema), bide.ConfigurationError, "LATIN1", "UTF8")


def test_statements_are_there_and_used():
    """Those that the code names are those of the file."""
    code = "".join(path.read_text() for path in Path(inspect.getfile(PostgresStore)).parent.glob("*.py"))
    assert set(re.findall(r'SQL\["(\w+)"\]', code)) == SQL.keys()


def test_a_missing_driver_names_the_command_that_installs_it(monkeypatch):
    """At the first use."""
    for name in [name for name in sys.modules if name.startswith("bide.store.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(bide.ConfigurationError, match=r"pip install 'bide\[postgres\]'"):
        open_store("postgresql://host/db")
