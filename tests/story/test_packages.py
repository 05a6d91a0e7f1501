"""What is imported is named, what is named is locked, and the locks say no more than names and versions."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNS, TOOLS = ROOT / "requirements.lock", ROOT / "tests" / "requirements.lock"
NEVER_LOCKED = "opencv-python"
"""The wheel names it because retinaface-pytorch brings it along; `make setup` does not let it."""


def needed(extras: bool = False) -> dict[str, Requirement]:
    more = PROJECT["project"]["optional-dependencies"].values() if extras else ()
    found = [Requirement(text) for text in chain(PROJECT["project"]["dependencies"], *more)]
    return {canonicalize_name(one.name): one for one in found}


def locked(file: Path) -> dict[str, Requirement]:
    """The lines that hold here."""
    found = [Requirement(line) for line in file.read_text().splitlines()]
    return {canonicalize_name(one.name): one for one in found if one.marker is None or one.marker.evaluate()}


def imported() -> set[str]:
    """Packages that flows and components import anywhere."""
    found = set()
    for path in [*(ROOT / "flows").rglob("*.py"), *(ROOT / "components").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"flows", "components"}


def test_every_package_that_is_imported_is_a_dependency_by_name():
    distributions = importlib.metadata.packages_distributions()
    named = set(needed(extras=True))
    missing = [
        package
        for package in sorted(imported())
        if not named & {canonicalize_name(name) for name in distributions.get(package, [package])}
    ]
    assert missing == []


def test_every_dependency_is_locked_at_a_version_it_allows():
    lock = locked(RUNS)
    for name, requirement in needed().items():
        if name != NEVER_LOCKED:
            (pin,) = lock[name].specifier
            assert requirement.specifier.contains(pin.version), name


def test_every_tool_of_development_is_locked():
    lock = locked(TOOLS) | locked(RUNS)
    assert [
        text for text in PROJECT["dependency-groups"]["dev"] if canonicalize_name(Requirement(text).name) not in lock
    ] == []


@pytest.mark.parametrize("file", [RUNS, TOOLS], ids=["runs", "tools"])
def test_a_lock_is_names_and_versions(file: Path):
    pinned = re.compile(r"[a-z0-9-]+==[\w.]+( ; [\w .*'<>=!()]+)?")
    assert [line for line in file.read_text().splitlines() if not pinned.fullmatch(line)] == []


def test_nothing_is_locked_twice():
    assert set(locked(RUNS)) & set(locked(TOOLS)) == set()


def test_running_needs_neither_tools_nor_what_retinaface_asks_for_in_vain():
    unwanted = {"streamlit", "albumentations", "imagecorruptions", "scikit-image", "pydeck", NEVER_LOCKED, "datasets"}
    assert unwanted & set(locked(RUNS)) == set()


def test_the_command_tells_the_version_of_the_project():
    done = subprocess.run([sys.executable, "-m", "flows.cli", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == PROJECT["project"]["version"], done.stderr
