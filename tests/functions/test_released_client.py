"""The client of the released azure-functions-durable 1.x works against a served app, also where keys are asked for."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.functions.serving import APPS, serve


@pytest.mark.parametrize("options", [(), ("--enable-auth",)], ids=["open", "keys"])
def test_released_client(tmp_path, options):
    with serve(APPS / "features", tmp_path, *options) as served:
        binding = served.http.get("/binding").text
        command = [sys.executable, str(Path(__file__).with_name("released_client.py")), binding]
        done = subprocess.run(command, capture_output=True, text=True, timeout=50, cwd=tmp_path, check=False)
        assert done.stdout.endswith("all done\n"), done.stderr + served.log.read_text()
