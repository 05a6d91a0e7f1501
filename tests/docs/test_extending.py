"""What docs/extending.md prints is typed into a copy of the project, and there it passes what everything passes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.params import load

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "extending.md"
PARAMS = "params.yaml"
FOLDERS = ("components", "flows", "tests")
FILES = ("pyproject.toml", "dvc.yaml", "lineage.yaml", PARAMS)
CONTRACTS = {
    "A sixth detector": ("tests/detectors/test_every_detector.py", "tests/evaluation/test_cost.py"),
    "A strategy": ("tests/strategies/test_every_strategy.py", "tests/strategies/test_sweep.py"),
    "A layout": ("tests/archives/test_layouts.py",),
}


def printed() -> dict[str, dict[str, str]]:
    """Heading -> path -> text, of every block that begins with the name of its file."""
    blocks = re.compile(r"^```(?:python|yaml)\n(# (\S+)\n.*?)^```$", re.MULTILINE | re.DOTALL)
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    found = {text.partition("\n")[0]: {m[2]: m[1] for m in blocks.finditer(text)} for text in sections}
    return {heading: files for heading, files in found.items() if files}


PRINTED = printed()
PYTHON = {heading: [path for path in files if path.endswith(".py")] for heading, files in PRINTED.items()}
every_addition = pytest.mark.parametrize("heading", CONTRACTS)


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """`old` with the lines of `new` among its own."""
    both = {key: merged(old[key], new[key]) for key in old.keys() & new.keys() if isinstance(old[key], dict)}
    return {**old, **new, **both}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with everything the page prints."""
    copy = tmp_path_factory.mktemp("project")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "golden"))
    for file in FILES:
        shutil.copy(ROOT / file, copy / file)
    for path, text in ((path, text) for files in PRINTED.values() for path, text in files.items()):
        if path == PARAMS:
            said = merged(yaml.safe_load((copy / PARAMS).read_text()), yaml.safe_load(text))
            (copy / PARAMS).write_text(yaml.safe_dump(said, sort_keys=False))
        else:
            (copy / path).write_text(text)
    return copy


def python(project: Path, *command: str) -> None:
    """`python -m command` in the copy, whose packages come before all others; its output is told where it fails."""
    env = {**os.environ, "PYTHONPATH": str(project)}
    done = subprocess.run([sys.executable, "-m", *command], cwd=project, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@every_addition
def test_an_addition_is_one_file_its_test_and_its_line(heading: str) -> None:
    code, test, line = PRINTED[heading]
    assert code.startswith("components/") and test.startswith("tests/") and line == PARAMS
    assert Path(test).name == f"test_{Path(code).name}"


def test_all_lines_together_are_params_that_can_be_followed(project: Path) -> None:
    params = load(project / PARAMS)
    for heading, files in PRINTED.items():
        said = yaml.safe_load(files[PARAMS])
        assert all(set(names) <= set(getattr(params, section)) for section, names in said.items()), heading


@pytest.mark.parametrize("check", [("check",), ("format", "--check")], ids=" ".join)
def test_what_is_printed_is_in_the_style_of_the_house(project: Path, check: tuple[str, ...]) -> None:
    python(project, "ruff", *check, "--no-cache", *(path for paths in PYTHON.values() for path in paths))


def test_the_rules_on_imports_hold_without_another_line(project: Path) -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    env = {**os.environ, "PYTHONPATH": str(project)}
    done = subprocess.run([lint, "--no-cache"], cwd=project, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_each_passes_the_test_that_is_printed_with_it(project: Path) -> None:
    python(project, "pytest", *(path for paths in PYTHON.values() for path in paths if path.startswith("tests/")))


@pytest.mark.slow
@every_addition
def test_each_keeps_what_all_of_its_kind_promise(project: Path, heading: str) -> None:
    name = Path(PYTHON[heading][0]).stem
    python(project, "pytest", *CONTRACTS[heading], "-m", "not slow", "-k", f"{name} or not [")


@pytest.mark.slow
def test_types_are_strict(project: Path) -> None:
    code = [path for paths in PYTHON.values() for path in paths if path.startswith("components/")]
    python(project, "mypy", "--cache-dir", str(project / ".mypy_cache"), *code)
