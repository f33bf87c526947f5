"""Whole apps, served: HTTP functions, queues, timers, entities, mistakes in one function that stop no other."""

import contextlib
import json
import subprocess
import sys
import threading

import httpx
import pytest
from tests.functions.serving import APPS, serve


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    with serve(APPS / "features", tmp_path_factory.mktemp("app")) as served:
        yield served


def start(served, name, data=None):
    return served.http.post(f"/start/{name}", json=data)


def test_a_blueprint_and_names_of_its_own(features):
    answer = start(features, "greeting")
    assert (answer.status_code, answer.json()) == (200, ["Hello one", "Hello two"])


def test_fan_out_to_async_activities(features):
    assert start(features, "fan_out", 20).json() == sum(n * n for n in range(20))


def test_requests_and_responses(features):
    answer = features.http.get("/PLAIN/17?a=b+c&n=1&n=2")
    assert (answer.status_code, answer.headers["x-own"]) == (201, "1")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "method": "GET",
        "url": f"{features.url}/PLAIN/17?a=b+c&n=1&n=2",
        "params": {"a": "b c", "n": "1,2"},
        "route": {"number": "17"},
    }
    assert features.http.get("/plain").status_code == 201
    assert features.http.get("/plain/x").status_code == 404
    assert features.http.get("/start/greeting").status_code == 404


def test_errors_are_500_and_their_stack_is_in_the_log(features):
    assert (features.http.get("/boom").status_code, features.http.get("/boom").content) == (500, b"")
    log = features.log.read_text()
    assert "function_app.py, boom failed" in log
    assert "ValueError: the code is 1234" in log
    assert features.http.get("/wrong").status_code == 500
    assert "wrong returned dict; an HTTP function returns text or an HttpResponse" in features.log.read_text()


def test_failures_of_activities_carry_their_stack_into_log_status_and_command(features):
    answer = start(features, "failing")
    assert answer.status_code == 500
    status = features.ended(answer.json()["instanceId"])
    assert 'function_app.py", line' in status["failure"]["stackTrace"]
    assert "ValueError: out of luck" in status["output"]
    log = features.log.read_text()
    assert "function_app.py, unlucky failed\nTraceback" in log
    assert "orchestrator failing failed\nTraceback" in log
    command = [sys.executable, "-m", "bide", "show", status["instanceId"], "--url", features.url]
    assert (
        'function_app.py", line'
        in subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    )


def test_the_apps_own_log_is_shown(features):
    features.http.get("/plain")
    assert "INFO root: plain is called" in features.log.read_text()
    assert "HTTP Request" not in features.log.read_text()


def test_a_function_that_blocks_does_not_stop_the_hub(features):
    blocked = threading.Thread(target=lambda: features.http.get("/block"))
    blocked.start()
    for _ in range(20):
        assert features.manage("GET", "instances?top=1").status_code == 200
    assert blocked.is_alive()
    blocked.join()


def test_events_of_the_client_have_the_encoding_of_1x(features):
    answer = start_slow(features)
    assert features.http.post(f"/raise/{answer}/Approval", json={"ok": True}).text == "raised"
    assert features.ended(answer)["output"] == '{"ok": true}'


def start_slow(features):
    return features.manage("POST", "orchestrators/event").json()["id"]


def test_a_queue_output_of_an_activity_reaches_a_queue_trigger(features):
    assert start(features, "through_the_queue").text == "1"


def test_a_timer_on_startup(features):
    assert features.ended("by-timer")["output"] == ["Hello one", "Hello two"]


def test_entities(features):
    assert start(features, "counting").json() == [5, 5]


def test_code_runs_once_or_once_a_turn(features, tmp_path):
    assert start(features, "turns").json() == [False, False, False]
    with serve(APPS / "features", tmp_path, "--replay-every-turn") as served:
        assert start(served, "turns").json() == [True, True, False]


def test_a_function_that_never_ends_does_not_keep_the_server_from_stopping(tmp_path):
    with serve(APPS / "features", tmp_path) as served:

        def ask():
            with contextlib.suppress(httpx.HTTPError):
                served.http.get("/forever")

        started = threading.Thread(target=ask)
        started.start()
        while "forever is called" not in served.log.read_text():
            pass
    started.join()


def test_what_was_started_goes_on_after_a_restart(tmp_path):
    with serve(APPS / "features", tmp_path) as served:
        instance_id = start_slow(served)
        served.crash()
    with serve(APPS / "features", tmp_path) as served:
        assert served.raise_event(instance_id, "Approval", 1) == 202
        assert served.ended(instance_id)["output"] == 1


def test_a_normal_stop_fails_nothing(tmp_path):
    """Activities that run while the server stops are run again at the next start."""
    with serve(APPS / "features", tmp_path) as served:
        ids = [served.manage("POST", "orchestrators/busy", json=number).json()["id"] for number in range(30)]
    with serve(APPS / "features", tmp_path, "--enable-auth") as served:
        key = next(line.split()[3] for line in served.said.splitlines() if "durabletask_extension" in line)
        for instance_id in ids:
            status = served.manage("GET", f"instances/{instance_id}?code={key}").json()
            assert status["runtimeStatus"] == "Running", status["output"]


def test_a_function_that_exits_harms_no_other(features):
    assert [features.http.get(f"/{name}").status_code for name in ("exits", "exits_async")] == [500, 500]
    assert start(features, "fan_out", 3).json() == 5


def test_keys(tmp_path):
    with serve(APPS / "features", tmp_path, "--enable-auth") as served:
        keys = dict(line.split()[2:] for line in served.said.splitlines() if "new key" in line)
        post = served.http.post
        assert post("/start/greeting").status_code == 401
        assert post("/start/greeting?code=wrong").status_code == 401
        assert post("/start/greeting", headers={"x-functions-key": keys["default"]}).status_code == 200
        assert post(f"/start/greeting?code={keys['function:start']}").status_code == 200
        assert served.http.get("/plain").status_code == 201
        assert served.http.get(f"/admin?code={keys['default']}").status_code == 401
        assert served.http.get(f"/admin?code={keys['_master']}").text == "in"
        assert served.manage("GET", "instances").status_code == 401
        for name, code in {"durabletask_extension": 200, "_master": 200, "default": 401}.items():
            assert served.manage("GET", f"instances?code={keys[name]}").status_code == code
        started = served.manage("POST", f"orchestrators/greeting?code={keys['_master']}").json()
        assert keys["durabletask_extension"] in started["statusQueryGetUri"]
        assert keys["_master"] not in started["statusQueryGetUri"]
    with serve(APPS / "features", tmp_path, "--enable-auth") as served:
        assert "new key" not in served.said
        assert not any(key in served.log.read_text() for key in keys.values())
        assert served.http.post(f"/start/greeting?code={keys['default']}").status_code == 200


FOREIGN = [
    {"host": "evil.example"},
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_without_keys_other_machines_pages_call_no_function(features, headers):
    """Whatever the method: an image may not start an orchestration."""
    assert features.http.get("/plain", headers=headers).status_code == 403
    assert features.http.post("/start/greeting", headers=headers).status_code == 403


def test_a_page_of_this_machine_and_a_link_may_call(features):
    for headers in (
        {"origin": "http://localhost:3000"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    ):
        assert features.http.get("/plain", headers=headers).status_code == 201


def test_the_apps_own_clients_reach_it_at_any_address(features):
    """Their path is the secret; of it only the whole will do."""
    rpc = json.loads(features.http.get("/binding").text)["rpcBaseUrl"]
    assert features.http.get(f"{rpc}instances", headers={"host": "192.0.2.7:7071"}).status_code == 200
    path = rpc.removeprefix(features.url)
    for wrong in (path[:-3] + "/", path[:-1] + "x/", "/durabletask/", path.upper()):
        assert features.http.get(f"{wrong}instances").status_code == 404, wrong


@pytest.fixture(scope="module")
def awkward(tmp_path_factory):
    with serve(APPS / "awkward", tmp_path_factory.mktemp("app")) as served:
        yield served


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("requirements.txt", "not installed: no-such-package-here; pip install -r requirements.txt"),
        ("Broken/function.json", "needs the module 'no_such_module_here', which is not installed"),
        ("BadRoute/function.json", "bide cannot read 'a-{b}'"),
        ("Blob/function.json", "bide has no blobTrigger; the function is skipped"),
        ("NoBindings/function.json", "bindings must be a list"),
        ("Timer/function.json", "'every now and then' is neither NCRONTAB"),
        ("Disabled/function.json", "is disabled"),
        ("Off/function.json", "is disabled"),
        ("Twilio/function.json", "bide has no twilioSms output"),
    ],
)
def test_what_cannot_run_is_said_at_the_start(awkward, where, text):
    lines = [line for line in awkward.said.splitlines() if line.startswith(f"warning {where}")]
    assert any(text in line for line in lines), awkward.said


def test_the_others_run(awkward):
    assert awkward.http.get("/api/good").text == "fine"
    assert awkward.http.get("/api/OldScript").text == "OldScript in OldScript"
    assert awkward.http.get("/api/sms").text == "sent"
    assert "a value for the output 'sms' (twiliosms) was dropped" in awkward.log.read_text()
    assert awkward.http.get("/api/broken").status_code == 404
    assert awkward.http.get("/api/disabled").status_code == 404


def test_a_call_of_a_disabled_activity_fails(awkward):
    instance_id = awkward.manage("POST", "orchestrators/CallsOff").json()["id"]
    assert "No activity is named 'Off'" in awkward.ended(instance_id)["output"]


def test_no_app_at_all(tmp_path):
    with pytest.raises(AssertionError, match="is not a Functions app"), serve(tmp_path, tmp_path):
        pass
    (tmp_path / "function_app.py").write_text("import no_such_thing")
    with pytest.raises(AssertionError, match="'no_such_thing', which is not installed"), serve(tmp_path, tmp_path):
        pass
    (tmp_path / "function_app.py").write_text("x = 1")
    with pytest.raises(AssertionError, match="exactly one FunctionApp"), serve(tmp_path, tmp_path):
        pass
