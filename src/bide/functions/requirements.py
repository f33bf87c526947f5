"""The app's own packages: its virtual environment, and what its requirements ask for."""

import importlib.metadata
import site
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

_PROVIDED = frozenset({"azure-functions", "azure-functions-durable"})
"""Packages that bide brings, or stands in for."""
_DURABLE = "azure-functions-durable"


def use_environment(root: Path) -> str | None:
    """Make the packages of the app's virtual environment importable; a remark when there is one that does not fit."""
    for name in (".venv", "venv", "env", ".python_packages"):
        folder = root / name
        if name == ".python_packages" and (folder / "lib" / "site-packages").is_dir():
            site.addsitedir(str(folder / "lib" / "site-packages"))
        elif (folder / "pyvenv.cfg").is_file() and Path(sys.prefix).resolve() != folder.resolve():
            packages = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
            if not packages.is_dir():
                return (
                    f"{name} belongs to another Python than {sys.version_info[0]}.{sys.version_info[1]}; "
                    "its packages are not used"
                )
            site.addsitedir(str(packages))
    return None


def missing(root: Path) -> list[str]:
    """List the requirements that are not installed, as requirements.txt writes them."""
    return [str(each) for each in _requirements(root) if each.name.casefold() not in _PROVIDED and not _is_there(each)]


def wants_v1(root: Path) -> bool:
    """Whether the requirements keep azure-functions-durable below version 2."""
    for each in _requirements(root):
        if each.name.casefold().replace("_", "-") == _DURABLE and each.specifier:
            names_v2 = any(part.version.startswith("2.") and part.operator != "<" for part in each.specifier)
            return not names_v2 and not each.specifier.contains("2.0.0") and not each.specifier.contains("2.99")
    return False


def _requirements(root: Path) -> Iterator[Requirement]:
    path = root / "requirements.txt"
    if not path.is_file():
        return
    for line in path.read_text("utf-8-sig", errors="replace").splitlines():
        text = line.partition(" #")[0].strip()
        if not text or text[0] in "#-":
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate():
            yield requirement


def _is_there(requirement: Requirement) -> bool:
    try:
        installed = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(installed, prereleases=True)
