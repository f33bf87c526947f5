"""Files of a hosted app, of any content: read, or refused by name."""

import contextlib
import json
import os
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.budget import tries

from bide.errors import ConfigurationError
from bide.functions.function import parse_bindings
from bide.functions.settings import parse_span, read_json, read_settings
from bide.functions.timer_trigger import Schedule

SCHEDULES = ["0 0 31 2 *", "* * * * * *", "*/0 * * * *", "\u00b2 * * * *", "60 * * * *", "0 0 0 1 1 9999", "-00:00:01"]
SPANS = ["99999999999.00:00:00", "9999999999:00:00", "00:00:99999999999", "999999999.23:59:59"]
NUMBERS = [1e308, float("inf"), float("nan"), 10**400, -1, 0, True]
ODD = st.sampled_from([*SCHEDULES, *SPANS, *NUMBERS, "", "\ud800", "\0", "%X%", "\u0663", "="])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | ODD,
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each, max_size=3),
    max_leaves=5,
)
KEYS = {
    "durableTask": ["hubName", "maxConcurrentActivityFunctions", "overridableExistingInstanceStates", "httpSettings"],
    "queues": ["batchSize", "maxDequeueCount", "visibilityTimeout", "maxPollingInterval", "messageEncoding"],
    "http": ["routePrefix"],
}
sections = st.fixed_dictionaries(
    {},
    optional={
        name: values | st.fixed_dictionaries({}, optional=dict.fromkeys(keys, values)) for name, keys in KEYS.items()
    },
)


@pytest.fixture(autouse=True)
def environment():
    """What the app exports goes with the test."""
    before = dict(os.environ)
    yield
    for name in set(os.environ) - set(before):
        del os.environ[name]


@tries(150)
@given(sections, values, values)
def test_settings_of_any_content(tmp_path_factory, sections, values, port):
    folder = tmp_path_factory.getbasetemp()
    (folder / "host.json").write_text(json.dumps({"extensions": sections}))
    (folder / "local.settings.json").write_text(json.dumps({"Values": values, "Host": {"LocalHttpPort": port}}))
    with contextlib.suppress(ConfigurationError):
        read_settings(folder)


@tries(150)
@given(
    st.binary(max_size=60)
    | st.sampled_from(
        [b"[" * 100_000, b'{"a":' * 50_000, b'{"a":1,"a":2}', b"{" + b'"' * 99, b"/*" * 9999, b"1" * 9999]
    )
)
def test_files_of_any_bytes(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "function.json"
    path.write_bytes(data)
    with contextlib.suppress(ConfigurationError):
        parse_bindings(read_json(path).get("bindings"), "function.json")


@tries(150)
@given(ODD.map(str) | st.text(alphabet="0123456789.:*/-,? LWMON#", max_size=20) | st.text(max_size=10))
def test_schedules_and_spans_of_any_text(text):
    assert parse_span(text) is None or isinstance(parse_span(text), timedelta)
    with contextlib.suppress(ConfigurationError):
        assert Schedule(text).after(datetime.now(UTC)) > datetime.now(UTC)
