"""A clone computes for the one that writes: what it made comes through DVC's remote, and is not made again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.lifecycle import gather
from flows.workspace import Workspace

from .conftest import PARAMS
from .processes import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
TRACKED = ("dvc.yaml", "params.yaml", "lineage.yaml", "recipes", "dvc.lock", ".dvc/config")
CACHED = "is cached - skipping run"


@pytest.fixture
def said(tmp_path: Path) -> Callable[..., str]:
    """What a module printed in a workspace."""

    def run(root: Path, module: str, *words: str) -> str:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PERENNIAL_DEVICE": "cpu",
            "DVC_SITE_CACHE_DIR": str(root),
        }
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        command = [sys.executable, "-m", module, *words]
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    return run


def test_stages_that_a_clone_ran_are_taken_from_the_remote_and_the_writer_alone_writes(said, pictures, tmp_path):
    writer, remote = tmp_path / "writer", tmp_path / "remote"
    said(tmp_path, "flows.cli", "init", str(writer))
    (writer / "params.yaml").write_text(PARAMS)
    said(writer, "dvc", "remote", "add", "--default", "shared", str(remote))
    said(writer, "flows.cli", "land", "first", str(pictures(1)), "--layout", "crops", "--faces", "none")
    gather(Workspace.at(writer), ())  # what every lifecycle does before its first stage
    said(writer, "dvc", "push")

    def by_a_clone(*stages: str) -> None:
        clone = cloned(writer, tmp_path / stages[0])
        said(clone, "flows.cli", "status")
        said(clone, "dvc", "pull", "--allow-missing")
        said(clone, "dvc", "repro", "--single-item", "code")
        for stage in stages:
            assert CACHED not in said(clone, "dvc", "repro", "--single-item", stage)
        said(clone, "dvc", "push", "--run-cache")
        said(writer, "dvc", "fetch", "--run-cache")
        for stage in stages:
            assert CACHED in said(writer, "dvc", "repro", "--single-item", stage)
        assert (clone / "lineage.yaml").read_bytes() == (writer / "lineage.yaml").read_bytes()

    by_a_clone("ingest@first", "validate@first", "crop@first", "gauge@first")
    assert "small-M1" in said(writer, "flows.cli", "plan")
    by_a_clone("add_benchmark@first", "evolve@small-M1")


def cloned(workspace: Path, there: Path) -> Path:
    """The workspace as version control keeps it."""
    archives = [*workspace.glob("data/archives/*.dvc"), *workspace.glob("data/*/nobody")]
    kept = [*archives, *(workspace / "data" / kind for kind in ("withdrawals", "weights"))]
    for path in [*kept, *(workspace / name for name in TRACKED)]:
        target = there / path.relative_to(workspace)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target, dirs_exist_ok=True)
        elif path.exists():
            shutil.copyfile(path, target)
    return there
