"""The apps of examples/azure."""

import subprocess
import sys
from pathlib import Path

from tests.functions.serving import serve

EXAMPLES = Path(__file__).parents[2] / "examples" / "azure"


def test_decorators(tmp_path):
    with serve(EXAMPLES / "decorators", tmp_path) as served:
        for instance_id in ("trip-1", "trip-2"):
            started = served.http.post(f"/api/orchestrators/approval/{instance_id}", json={"amount": 900})
            assert started.status_code == 202
        assert served.raise_event("trip-1", "Approval", False) == 202
        command = [sys.executable, "-m", "bide", "queue", "send", "approval-queue", "trip-2", "--url", served.url]
        subprocess.run(command, check=True, timeout=30)
        assert served.ended("trip-1")["output"] == "rejected"
        assert served.ended("trip-2")["output"] == "approved"


def test_folders(tmp_path):
    with serve(EXAMPLES / "folders", tmp_path) as served:
        assert served.http.post("/api/orchestrators/BuildingPermit/a-17", json="A-17").status_code == 202
        for gate in ("CityPlanningApproval", "FireDeptApproval", "BuildingDeptApproval"):
            assert served.raise_event("a-17", gate, True) == 202
        assert served.ended("a-17")["output"] == "Building permit for A-17"
