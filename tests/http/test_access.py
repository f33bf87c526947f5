"""Who may: keys, addresses that lead to this machine, and pages of browsers."""

import httpx
import pytest

from bide.client.paths import BASE
from bide.errors import ConfigurationError
from bide.http.routes import create_app
from bide.http.server import listen

GATE = f"{BASE}/orchestrators/gate"
FORM = {"content-type": "text/plain"}
PAGE = "http://localhost:7071"


def client(harness, **options):
    transport = httpx.ASGITransport(create_app(lambda: harness.client, **options))
    return httpx.AsyncClient(transport=transport, base_url=PAGE)


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:7071", "LOCALHOST:7071", "127.0.0.1:7071", "127.0.0.2", "[::1]", "[::1]:7071"],
)
async def test_this_machines_names_are_served_without_a_key(harness, host):
    async with client(harness) as http:
        assert (await http.post(GATE, headers={"host": host})).status_code == 202


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7071",
        "localhost.evil.example",
        "127.0.0.1.evil.example:7071",
        "localhost.",
        "localhost@evil.example",
        "evil.example:localhost",
        "192.0.2.7:7071",
        "0.0.0.0:7071",
        "[::]:7071",
        "[::1].evil.example",
        "2130706433",
        "localhost, evil.example",
    ],
)
async def test_other_names_are_not(harness, host):
    """A page whose name was pointed at this machine (DNS rebinding) reads and changes nothing."""
    async with client(harness) as http:
        assert (await http.get(f"{BASE}/instances", headers={"host": host})).status_code == 403
        assert (await http.post(GATE, headers={"host": host})).status_code == 403


FOREIGN_PAGES = [
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "http://"},
    {"origin": "localhost:7071"},
    {"origin": "http://localhost"},
    {"origin": "http://localhost:3000"},
    {"origin": "http://localhost:7071.evil.example"},
    {"origin": "http://127.0.0.1:7071"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "SAME-ORIGIN, cross-site"},
    {"origin": PAGE, "sec-fetch-site": "cross-site"},
]


@pytest.mark.parametrize("headers", FOREIGN_PAGES, ids=str)
@pytest.mark.parametrize("key", [None, "s3cret"])
async def test_pages_of_another_origin_change_nothing(harness, headers, key):
    """A form or a `fetch` without CORS: POST and DELETE are refused, also to who knows the key."""
    code = {"code": key} if key else {}
    async with client(harness, key=key) as http:
        assert (await http.post(GATE, params=code, headers=headers | FORM, content="1")).status_code == 403
        assert (await http.delete(f"{BASE}/instances/x", params=code, headers=headers)).status_code == 403
        assert (await http.get(f"{BASE}/instances", params=code, headers=headers)).json() == []


@pytest.mark.parametrize("host", [None, b""])
async def test_an_opaque_origin_is_not_that_of_a_request_without_a_host(harness, host):
    """HTTP/1.0 knows no Host; `Origin: null` must not be equal to it."""
    sent = []
    headers = [(b"origin", b"null"), *([(b"host", host)] if host is not None else [])]
    scope = {"type": "http", "http_version": "1.0", "method": "POST", "path": GATE, "headers": headers}

    async def send(message):
        sent.append(message)

    await create_app(lambda: harness.client)(scope, None, send)
    assert sent[0]["status"] == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": PAGE},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"origin": "https://flows.example", "sec-fetch-site": "same-origin"},  # behind a proxy that changes Host
    ],
    ids=str,
)
async def test_programs_and_the_hubs_own_pages_may(harness, headers):
    async with client(harness) as http:
        assert (await http.post(GATE, headers=headers)).status_code == 202


async def test_several_keys_may_be_good(harness):
    """URLs show one of them."""
    async with client(harness, key="new", opens=lambda key: key in {"new", "old"}) as http:
        started = await http.post(f"{GATE}?code=old")
        assert "code=new" in started.json()["statusQueryGetUri"]
        assert (await http.post(f"{GATE}?code=older")).status_code == 401


@pytest.mark.parametrize("key", ["", None])
def test_an_open_address_needs_a_key_that_is_one(key):
    """An empty BIDE_KEY is no key."""
    with pytest.raises(ConfigurationError, match="a key is needed"):
        listen("192.0.2.7", 0, key=key)


def test_an_empty_key_is_refused(harness):
    """Every request would have it."""
    with pytest.raises(ConfigurationError, match="is empty"):
        create_app(lambda: harness.client, key="")


async def test_no_error_says_the_key(harness):
    """Neither the right one nor the one that was given."""
    async with client(harness, key="s3cret") as http:
        for path in (f"{GATE}?code=gu3ssed", f"{GATE}/%00?code=s3cret", f"{BASE}/nothing?code=s3cret"):
            answer = await http.post(path)
            assert answer.status_code >= 400
            assert "s3cret" not in answer.text + str(answer.headers)
            assert "gu3ssed" not in answer.text + str(answer.headers)
