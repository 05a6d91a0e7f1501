"""A workspace to do harm to, and a way to tell whether a single byte of it changed."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from components.lab.archive import render_archive
from flows import pipeline
from flows.land import land
from flows.workspace import Workspace

PARAMS = """\
archives: {}
lines:
  cffd: {detector: rsia_net, strategy: cffd}
faces: {size_px: 96, frames: 2}
validation: {min_per_class: 2}
detectors:
  rsia_net: {size: tiny, trunk: small, width: 8, input_px: 96}
memory: {budget: 8}
training: {founder_epochs: 24, batch: 4, faces_per_clip: 2}
evaluation: {bootstrap: 50}
gate:
  - {rule: absolute, min_auc: 0.0}
  - {rule: infra}
"""
OWN_TO_DVC = (
    ".dvc/tmp/",
    ".perennial/lifecycle.lock",
    ".perennial/landing.lock",
)  # locks, and when a file was last looked at


@pytest.fixture(scope="session")
def archive(tmp_path_factory) -> Path:
    """Six people of the lab, one genuine and one forged clip of two frames each."""
    root = tmp_path_factory.mktemp("archive") / "swaps"
    render_archive(root, families=["identity_swap"], people=6, clips_per_person=1, frames=2, size_px=112, seed=0)
    return root


@pytest.fixture
def spoilt(archive, tmp_path) -> Path:
    """A copy of the archive, to be spoilt by the test."""
    return shutil.copytree(archive, tmp_path / "spoilt")


@pytest.fixture(scope="session")
def _landed(archive, tmp_path_factory) -> Path:
    workspace = Workspace.create(tmp_path_factory.mktemp("landed"), PARAMS)
    pipeline.start(workspace.root)
    land(workspace, "swaps", str(archive), layout="lab")
    return workspace.root


@pytest.fixture
def workspace(_landed, tmp_path) -> Workspace:
    """A workspace in which the archive landed as 'swaps', and nothing else happened."""
    return Workspace.at(shutil.copytree(_landed, tmp_path / "workspace", symlinks=True))


@pytest.fixture
def content() -> Callable[[Path], dict[str, str]]:
    """Path -> sha256 of everything in a workspace that is not DVC's own affair."""

    def read(root: Path) -> dict[str, str]:
        files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
        kept = {name: path for name, path in files.items() if not name.startswith(OWN_TO_DVC)}
        return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in sorted(kept.items())}

    return read
