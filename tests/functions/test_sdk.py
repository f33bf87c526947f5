"""The released azure-functions-durable on our engine: `sdk_cases.py`, in a process that has not seen our module of that name."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bide.errors import ConfigurationError
from bide.functions import sdk

CASES = Path(__file__).with_name("sdk_cases.py")


@pytest.mark.skipif(sdk.available() is None, reason="azure-functions-durable 1.x is not installed")
def test_released_package_drives_orchestrators_on_our_engine():
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(CASES)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", [None, "2.0.0rc3"])
def test_without_the_released_1x_there_is_a_way_out(monkeypatch, version):
    def find(_):
        if version is None:
            raise importlib.metadata.PackageNotFoundError
        return version

    monkeypatch.setattr(importlib.metadata, "version", find)
    assert sdk.available() is None
    with pytest.raises(ConfigurationError, match=r"pip install 'azure-functions-durable>=1\.7,<2'") as caught:
        sdk.require()
    assert (version or "not installed") in str(caught.value)


def test_what_is_not_the_released_packages_handle_is_refused():
    with pytest.raises(ConfigurationError, match=r"export Orchestrator\.create\(function\) as main"):
        sdk.adapt("plain", lambda context: None)
