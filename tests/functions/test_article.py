"""The programs of Microsoft's article on external events, as they stand there, in both programming models."""

import subprocess
import sys

import pytest
from tests.functions.serving import APPS, BASE, serve


@pytest.fixture(scope="module", params=["own", "installed"])
def sdk(request):
    return request.param


@pytest.fixture(scope="module", params=["article_folders", "article_decorators"])
def served(request, sdk, tmp_path_factory):
    with serve(APPS / request.param, tmp_path_factory.mktemp("app"), "--sdk", sdk) as served:
        yield served


def start(served, name, data=None, instance_id=""):
    answer = served.http.post(f"/api/orchestrators/{name}/{instance_id}".rstrip("/"), json=data)
    assert answer.status_code == 202, served.log.read_text()
    assert answer.headers["location"] == answer.json()["statusQueryGetUri"]
    return answer.json()["id"]


@pytest.mark.parametrize(("data", "output"), [(True, "granted"), (False, "denied")])
def test_one_event(served, data, output):
    instance_id = start(served, "Approval")
    assert served.raise_event(instance_id, "Approval", data) == 202
    assert served.ended(instance_id)["output"] == output


def test_the_first_of_three_events(served):
    instance_id = start(served, "Select")
    assert served.raise_event(instance_id, "Event2", {"by": "me"}) == 202
    assert served.ended(instance_id)["output"] == ["Event2", {"by": "me"}]


def test_three_gates_and_an_activity(served):
    instance_id = start(served, "buildingpermit", "A-17")
    for name in ("FireDeptApproval", "CityPlanningApproval", "BuildingDeptApproval"):
        assert served.raise_event(instance_id, name, True) == 202
    assert served.ended(instance_id)["output"] == "permit B-A-17"


def test_the_url_of_the_article_with_an_ampersand_where_a_question_mark_belongs(served):
    instance_id = start(served, "Approval", instance_id=f"MyInstanceId-{served.process.pid}")
    url = f"{served.url}{BASE}/instances/{instance_id}/raiseEvent/Approval&code=XXX"
    answer = served.http.post(url, content="true", headers={"content-type": "application/json"})
    assert answer.status_code == 202
    assert served.ended(instance_id)["output"] == "granted"


def test_a_queue_message_raises_the_event(served):
    instance_id = start(served, "Approval")
    command = [sys.executable, "-m", "bide", "queue", "send", "approval-queue", instance_id, "--url", served.url]
    assert subprocess.run(command, check=False, timeout=30).returncode == 0
    assert served.ended(instance_id)["output"] == "granted"
