"""An environment for each peer under build/peers, made on first use from the lists beside its module."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_ENGINES = Path(__file__).with_name("engines")


class MissingPeerError(Exception):
    """A peer's packages are not there and could not be had; says which and the way out."""


def python_of(name: str, *, install: bool) -> Path:
    """Return the interpreter of a peer's environment."""
    folder = ROOT / "build" / "peers" / name
    python = folder / "bin" / "python"
    needed = _needed(name)
    if _installed(folder) == needed:
        return python
    if not install:
        raise MissingPeerError(f"{name} is not installed in {folder}: run again without --no-install.")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    _run(name, [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(_ENGINES / f"{name}.txt")])
    if (packages := _ENGINES / f"{name}.json").exists():
        _install_from_npm(name, packages, folder)
    (folder / "ready.json").write_text(json.dumps(needed))
    return python


def _needed(name: str) -> dict[str, str]:
    return {
        each.name: each.read_text() for each in sorted(_ENGINES.glob(f"{name}.*")) if each.suffix in {".txt", ".json"}
    }


def _installed(folder: Path) -> dict[str, str]:
    ready = folder / "ready.json"
    return json.loads(ready.read_text()) if ready.exists() else {}


def _install_from_npm(name: str, packages: Path, folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise MissingPeerError(
            f"{name} needs npm, which comes with Node.js: install it, or leave {name} out by --peers."
        )
    shutil.copy(packages, folder / "package.json")
    _run(name, [npm, "install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts", "--prefix", str(folder)])


def _run(name: str, command: list[str]) -> None:
    print(f"Installing {name} into build/peers (once) ...", file=sys.stderr)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise MissingPeerError(
            f"{name} cannot be installed: {(done.stderr or done.stdout).strip()[-500:]}\n"
            f"It needs {', '.join(_needed(name))} of bench/peers/engines. Leave it out by --peers, or see to its packages."
        )
