"""A small family in a workspace of its own, raised once by the real engines; who changes something works on a copy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from components.lab.archive import render_archive

ROOT = Path(__file__).parents[2]
FAMILIES = {"first": "identity_swap", "second": "reenactment", "third": "mesh_swap"}
PEOPLE = 6

PARAMS = """\
archives: {}
lines:
  cffd: {detector: rsia_net, strategy: cffd}
faces: {size_px: 96, frames: 2}
validation: {min_per_class: 2}
detectors:
  rsia_net: {size: tiny, trunk: small, width: 8, input_px: 96}
memory: {budget: 8}
training: {founder_epochs: 2, epochs: 1, batch: 8, faces_per_clip: 2}
evaluation: {bootstrap: 50}
gate:
  - {rule: absolute, min_auc: 0.0}
  - {rule: infra}
"""

LIFECYCLE = """\
import json, os, sys
from dataclasses import asdict
from components.settings import hush
hush()
from flows.lifecycle import lifecycle
print(json.dumps(asdict(lifecycle(sys.argv[1]))))
"""


@dataclass(frozen=True)
class Place:
    """A workspace and the ways to set something going in it."""

    root: Path

    def perennial(self, *words: str, fails: bool = False) -> str:
        """What ``perennial WORDS`` printed; its exit code must be 0, or with `fails` 1."""
        return _said([sys.executable, "-m", "flows.cli", *words, "-C", str(self.root)], ROOT, int(fails))

    def lifecycle(self) -> dict:
        """The Outcome of one lifecycle."""
        return json.loads(_said([sys.executable, "-c", LIFECYCLE, str(self.root)], ROOT).splitlines()[-1])

    def dvc(self, *words: str) -> str:
        return _said([sys.executable, "-m", "dvc", *words], self.root)

    def land(self, name: str, archive: Path) -> None:
        self.perennial("land", name, str(archive), "--layout", "lab")

    @property
    def outs(self) -> dict[str, dict[str, str]]:
        """Stage -> path -> digest of everything made, as ``dvc.lock`` says."""
        stages = yaml.safe_load((self.root / "dvc.lock").read_text())["stages"]
        return {name: {out["path"]: out["md5"] for out in stage["outs"]} for name, stage in stages.items()}


def _said(command: list[str], cwd: Path, code: int = 0) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=900)
    assert done.returncode == code, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr if code else done.stdout


@pytest.fixture(scope="session", autouse=True)
def _quiet_engines() -> None:
    """What `perennial` sets for itself, for the flows that are called without it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
        patch.setenv("PREFECT_LOGGING_LEVEL", "CRITICAL")
        patch.setenv("PERENNIAL_DEVICE", "cpu")
        yield


@pytest.fixture(scope="session")
def archives(tmp_path_factory) -> dict[str, Path]:
    """Three archives of the lab: six people each, one genuine and one forged clip of two frames a person."""
    root = tmp_path_factory.mktemp("archives")
    for number, (name, family) in enumerate(FAMILIES.items()):
        about = {"clips_per_person": 1, "frames": 2, "size_px": 112, "seed": number}
        render_archive(root / name, families=[family], people=PEOPLE, first_person=number * PEOPLE, **about)
    return {name: root / name for name in FAMILIES}


@pytest.fixture(scope="session")
def found(tmp_path_factory) -> Callable[[], Place]:
    """An empty workspace at each call."""

    return lambda: _founded(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="session")
def raised(archives, tmp_path_factory) -> Place:
    """Two archives landed, one line raised on both by ``perennial run``; nobody may change it. All workers share one."""
    own = tmp_path_factory.getbasetemp()
    root = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "raised"
    with FileLock(f"{root}.lock"):
        if not (done := root.with_suffix(".done")).exists():
            place = _founded(root)
            for name in ("first", "second"):
                place.land(name, archives[name])
            place.perennial("run")
            done.touch()
    return Place(root)


def _founded(root: Path) -> Place:
    _said([sys.executable, "-m", "flows.cli", "init", str(root)], ROOT)
    (root / "params.yaml").write_text(PARAMS)
    return Place(root)


@pytest.fixture(scope="session")
def grown(raised, archives, copied) -> tuple[Place, dict]:
    """A copy of `raised` in which a third archive landed and was learned, and what that lifecycle did."""
    place = copied(raised)
    place.land("third", archives["third"])
    return place, place.lifecycle()


@pytest.fixture(scope="session")
def copied(tmp_path_factory) -> Callable[[Place], Place]:
    """The same workspace elsewhere, everything in it."""

    def copy(place: Place) -> Place:
        there = tmp_path_factory.mktemp("copy") / "workspace"
        shutil.copytree(place.root, there, symlinks=True)
        return Place(there)

    return copy


@pytest.fixture(scope="session")
def recloned(tmp_path_factory) -> Callable[..., Place]:
    """The workspace as version control keeps it, and beside it DVC's cache or, without one, the archives themselves."""

    def clone(place: Place, *, cache: bool) -> Place:
        there = tmp_path_factory.mktemp("clone")
        files = ("dvc.yaml", "params.yaml", "lineage.yaml", "recipes", "ledger.jsonl", ".dvc/config")
        data = [*place.root.glob("data/archives/*.dvc"), *place.root.glob("data/*/nobody")]
        data += [place.root / "data" / kind for kind in ("withdrawals", "weights")]
        kept = ("dvc.lock", ".dvc/cache") if cache else ("data/archives",)
        for path in [*data, *(place.root / name for name in (*files, *kept))]:
            _copy(path, there / path.relative_to(place.root))
        return Place(there)

    return clone


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        target.symlink_to(source.readlink())
    elif source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


@pytest.fixture(scope="session")
def place_at() -> Callable[[Path], Place]:
    """A workspace that is there already."""
    return Place
