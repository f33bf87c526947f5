"""Settings, requirements and function.json: what is read, and what is said about mistakes."""

import json
import os
import sys
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bide.errors import ConfigurationError
from bide.functions import requirements
from bide.functions.function import parse_bindings
from bide.functions.settings import parse_span, read_settings, resolve


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """What the app exports goes with the test."""
    before = dict(os.environ)
    yield
    for name in set(os.environ) - set(before):
        monkeypatch.delenv(name)


def test_settings_of_host_json(tmp_path):
    (tmp_path / "host.json").write_text(
        """\ufeff{ // a comment
        "version": "2.0", "x": "not // a comment",
        "extensions": {
            "http": {"routePrefix": "/v1/"},
            "durableTask": {"hubName": "%HUB%", "maxConcurrentActivityFunctions": 3, "storageProvider": {"type": "mssql"},
                            "overridableExistingInstanceStates": "AnyState"},
            "queues": {"batchSize": 99, "visibilityTimeout": "00:00:30", "messageEncoding": "none"}
        }} {"a second value": 1}""",
        encoding="utf-8",
    )
    values = {"HUB": "Orders", "N": 5}
    (tmp_path / "local.settings.json").write_text(json.dumps({"Values": values, "Host": {"LocalHttpPort": 7072}}))
    settings = read_settings(tmp_path)
    assert (settings.hub_name, settings.route_prefix, settings.port, settings.max_activities) == (
        "Orders",
        "v1",
        7072,
        3,
    )
    assert settings.queues.batch_size == 32
    assert settings.queues.visibility_timeout == timedelta(seconds=30)
    assert not settings.queues.is_base64
    assert settings.replaces_any
    assert any("storageProvider" in note for note in settings.notes)
    assert os.environ["N"] == "5"


def test_the_environment_wins(tmp_path, monkeypatch):
    monkeypatch.setenv("AzureFunctionsJobHost__extensions__durableTask__hubName", "FromEnv")
    monkeypatch.setenv("KEPT", "mine")
    (tmp_path / "local.settings.json").write_text('{"Values": {"KEPT": "theirs"}}')
    assert read_settings(tmp_path).hub_name == "FromEnv"
    assert os.environ["KEPT"] == "mine"


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("host.json", "{", "host.json is not JSON"),
        ("host.json", "[]", "host.json must hold a JSON object"),
        (
            "host.json",
            '{"extensions": {"queues": {"batchSize": "many"}}}',
            "host.json: batchSize must be a whole number",
        ),
        (
            "host.json",
            '{"extensions": {"queues": {"visibilityTimeout": "soon"}}}',
            "visibilityTimeout must be a time span",
        ),
        ("host.json", '{"extensions": {"durableTask": {"hubName": "%NOPE%"}}}', "'NOPE', which is not set"),
        ("local.settings.json", '{"IsEncrypted": true}', "func settings decrypt"),
        ("local.settings.json", '{"Values": []}', "Values must be an object"),
    ],
)
def test_mistakes_name_file_and_key(tmp_path, file, text, message):
    (tmp_path / file).write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        read_settings(tmp_path)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
    )
)
def test_any_json_is_read_or_refused(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("app")
    wrapped = {"extensions": {"durableTask": value, "queues": value, "http": value}}
    (folder / "host.json").write_text(json.dumps(wrapped))
    try:
        read_settings(folder)
    except ConfigurationError as error:
        assert "host.json" in str(error)
    try:
        parse_bindings(value, "f/function.json")
    except ConfigurationError as error:
        assert "f/function.json" in str(error)


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        (None, "bindings must be a list"),
        ([1], r"bindings\[0\] must be an object"),
        ([{"type": "httpTrigger"}], r"bindings\[0\].name is missing"),
        ([{"name": "x"}], r"bindings\[0\].type is missing"),
        ([{"name": "x", "type": "http", "direction": "up"}], r"bindings\[0\].direction must be in, out or inout"),
        ([{"name": "x", "type": "http", "direction": "out"}], "exactly one trigger among its bindings; found none"),
        (
            [{"name": "x", "type": "httpTrigger"}, {"name": "y", "type": "queueTrigger"}],
            "found httptrigger and queuetrigger",
        ),
    ],
)
def test_mistakes_in_bindings_name_their_place(bindings, message):
    with pytest.raises(ConfigurationError, match=message):
        parse_bindings(bindings, "Start/function.json")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("00:05:00", 300), ("1.00:00:01", 86_401), ("00:00:00.5", 0.5), ("0 * * * *", None), ("5", None)],
)
def test_time_spans(text, seconds):
    assert parse_span(text) == (None if seconds is None else timedelta(seconds=seconds))


def test_settings_in_bindings(monkeypatch):
    monkeypatch.setenv("QUEUE", "orders")
    assert resolve("%QUEUE%-in", "x") == "orders-in"
    with pytest.raises(ConfigurationError, match="here names the setting 'NOPE'"):
        resolve("%NOPE%", "here")


@pytest.mark.parametrize(
    ("requirement", "is_v1"),
    [
        ("azure-functions-durable", False),
        ("azure-functions-durable==1.2.9", True),
        ("azure_functions_durable~=1.7", True),
        ("azure-functions-durable>=1.0.0b6,<2", True),
        ("azure-functions-durable>=1.0.0b6", False),
        ("azure-functions-durable==2.0.0rc3", False),
        ("Azure-Functions-Durable<2  # comment", True),
        ("# azure-functions-durable==1.2.9", False),
        ("-r other.txt\nnot a requirement !!\nazure-functions-durable<=1.9", True),
    ],
)
def test_which_rules_the_requirements_ask_for(tmp_path, requirement, is_v1):
    (tmp_path / "requirements.txt").write_text(requirement)
    assert requirements.wants_v1(tmp_path) is is_v1


def test_the_apps_virtual_environment(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert requirements.use_environment(tmp_path) is None
    packages = tmp_path / ".venv" / "lib" / f"python3.{sys.version_info[1]}" / "site-packages"
    packages.mkdir(parents=True)
    (tmp_path / ".venv" / "pyvenv.cfg").touch()
    assert requirements.use_environment(tmp_path) is None
    assert sys.path[-1] == str(packages)
    packages.rename(packages.with_name("elsewhere"))
    assert "belongs to another Python" in requirements.use_environment(tmp_path)


def test_what_is_not_installed(tmp_path):
    (tmp_path / "requirements.txt").write_text(
        "azure-functions-durable==1.2.9\nmsgspec>=0.1\nno-such-package-at-all\nmsgspec>999\nx; python_version < '3'"
    )
    assert requirements.missing(tmp_path) == ["no-such-package-at-all", "msgspec>999"]


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ('{"extensions": {"queues": {"batchSize": 1e999}}}', "{}"),
        ('{"extensions": {"queues": {"visibilityTimeout": 1e999}}}', "{}"),
        ('{"extensions": {"durableTask": {"httpSettings": {"defaultAsyncRequestSleepTimeMilliseconds": 3e19}}}}', "{}"),
        ('{"extensions": {"queues": {"visibilityTimeout": "99999999999.00:00:00"}}}', "{}"),
        (f'{{"extensions": {{"queues": {{"visibilityTimeout": {10**30}}}}}}}', "{}"),
        ('{"x": %s}' % ("9" * 9999), "{}"),
        ("{}", '{"Values": {"": 1}}'),
        ("{}", '{"Values": {"A=B": 1}}'),
        ("{}", '{"Values": {"A": "\\u0000"}}'),
    ],
)  # fmt: skip
def test_what_no_machine_can_take_is_refused_by_file(tmp_path, host, local):
    (tmp_path / "host.json").write_text(host)
    (tmp_path / "local.settings.json").write_text(local)
    with pytest.raises(ConfigurationError, match=r"host\.json|local\.settings\.json"):
        read_settings(tmp_path)


def test_null_is_as_good_as_nothing(tmp_path):
    (tmp_path / "host.json").write_text('{"extensions": {"queues": {"batchSize": null, "visibilityTimeout": null}}}')
    (tmp_path / "local.settings.json").write_text('{"Host": {"LocalHttpPort": null}}')
    settings = read_settings(tmp_path)
    assert (settings.queues.batch_size, settings.port) == (16, 7071)
