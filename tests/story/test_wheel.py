"""The wheel is the product: away from the checkout, installed, it does what the checkout does."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
OURS = ("PYTHON", "VIRTUAL_ENV", "PIP_", "PREFECT_", "PERENNIAL_")

PARAMS = """\
archives: {}
sequence: []
benchmarks: []
lines:
  small: {detector: rsia_net, strategy: finetune}
faces: {size_px: 96, frames: 2}
validation: {min_per_class: 1}
detectors:
  rsia_net: {size: tiny, trunk: small, width: 8, input_px: 96}
memory: {budget: 4}
training: {founder_epochs: 1, epochs: 1, batch: 4, faces_per_clip: 2}
evaluation: {bootstrap: 20}
gate:
  - {rule: infra}
"""


@dataclass(frozen=True)
class Installed:
    """A new environment with the wheel in it, and a folder that is no checkout."""

    bin: Path
    outside: Path

    def said(self, *command: str | Path, timeout_s: float = 900) -> str:
        """What a command of the environment printed; it must succeed."""
        done = subprocess.run(
            [self.bin / command[0], *command[1:]],
            cwd=self.outside,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def _environment(self) -> dict[str, str]:
        """Ours, less what points to this checkout, and with homes of its own."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        home = str(self.outside / "home")
        return {
            **kept,
            "PATH": os.pathsep.join([str(self.bin), "/usr/bin", "/bin"]),
            "HOME": home,
            "PREFECT_HOME": f"{home}/prefect",
            "PERENNIAL_DEVICE": "cpu",
        }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built with the tools that are here."""
    folder = tmp_path_factory.mktemp("dist")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    (built,) = folder.glob("perennial-*.whl")
    return built


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Installed:
    """The wheel over the packages that are here: theirs are seen through a path, so that no editable install is."""
    place = _empty(tmp_path)
    (packages,) = place.bin.parent.glob("lib/python*/site-packages")
    (packages / "packages_that_are_here.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    pip("--python", place.bin / "python", "install", "--no-deps", "--no-index", wheel)
    return place


def _empty(folder: Path) -> Installed:
    venv.create(folder / "environment", with_pip=False, symlinks=True)
    (folder / "outside" / "home").mkdir(parents=True)
    return Installed(folder / "environment" / "bin", folder / "outside")


def pip(*words: str | Path) -> None:
    command = [sys.executable, "-m", "pip", *words[:2], "--quiet", "--disable-pip-version-check", *words[2:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def painted(folder: Path, seed: int = 0) -> Path:
    """An archive of face crops, two of each class in train and in test; nothing can be learned from it."""
    draws = np.random.default_rng(seed)
    rows = ["file,label,method,source,split"]
    for split in ("train", "test"):
        for label, kind, method in ((0, "real", "genuine"), (1, "fake", "swap")):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            for number in range(2):
                file = f"{kind}/{split}_{number}.png"
                Image.fromarray(draws.integers(0, 256, (96, 96, 3), dtype=np.uint8)).save(folder / file)
                rows.append(f"{file},{label},{method},{split}_{number},{split}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def lived(place: Installed) -> None:
    """One small life: a workspace, two archives, a generation, a study, an answer."""
    home = place.outside / "family"
    assert place.said("perennial", "--version").strip() == VERSION
    place.said("perennial", "init", home)
    for name in ("dvc.yaml", "params.yaml"):
        assert (home / name).read_bytes() == (ROOT / name).read_bytes()
    assert not [path for path in home.rglob("*") if path.is_symlink()]
    (home / "params.yaml").write_text(PARAMS)

    crops = painted(place.outside / "crops")
    rendered = place.outside / "rendered"
    drawn = ("--family", "identity_swap", "--people", "6", "--clips", "1", "--frames", "2", "--size-px", "112")
    place.said("perennial", "lab", "render", rendered, *drawn)
    place.said("perennial", "land", "crops", crops, "--layout", "crops", "-C", home)
    place.said("perennial", "land", "lab", rendered, "--layout", "lab", "--role", "benchmark", "-C", home)

    place.said("perennial", "run", "-C", home)
    assert list(yaml.safe_load((home / "lineage.yaml").read_text())["generations"]) == ["small-M1"]
    metrics = json.loads((home / "data" / "scores" / "small-M1" / "metrics.json").read_text())
    assert set(metrics["benchmarks"]) == {"crops", "lab"}
    assert "up to date" in place.said("python", "-m", "dvc", "--cd", home, "repro")

    about = ("--sequence", "crops", "--strategies", "finetune", "--seeds", "0", "--on", "test")
    place.said("perennial", "study", "short", *about, "-C", home)
    told = home / "reports" / "studies" / "short" / "test"
    assert json.loads((told / "study.json").read_text())["labels"] == ["finetune"]

    told = json.loads(
        place.said("perennial", "score", crops / "fake" / "test_0.png", "--faces", "none", "--json", "-C", home)
    )
    assert told["champion"] == "small-M1"
    assert 0 <= told["answers"][0]["faces"][0]["score"] <= 1


def test_the_wheel_carries_the_roots_wiring_and_every_file_that_code_opens(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = {name: archive.read(name) for name in archive.namelist()}
    for name in ("dvc.yaml", "params.yaml"):
        assert inside[f"flows/workspace_files/{name}"] == (ROOT / name).read_bytes()
    tracked = subprocess.run(["git", "ls-files", "flows", "components"], cwd=ROOT, capture_output=True, text=True)
    for name in tracked.stdout.split():
        if (ROOT / name).is_file():
            assert inside.get(name) == (ROOT / name).read_bytes(), name
    assert {"flows/py.typed", "components/py.typed"} <= set(inside)


@pytest.mark.slow
def test_installed_outside_any_checkout_it_lives_a_small_life(installed: Installed) -> None:
    where = installed.said("python", "-c", "import components, flows; print(components.__file__, flows.__file__)")
    assert all(path.startswith(str(installed.bin.parent)) for path in where.split())
    lived(installed)


@pytest.mark.long
def test_a_plain_install_into_an_empty_environment_brings_all_it_needs(wheel: Path, tmp_path: Path) -> None:
    """Minutes, and on Linux gigabytes of CUDA libraries; prints what it costs."""
    place = _empty(tmp_path)
    pip("--python", place.bin / "python", "install", wheel)
    listed = json.loads(place.said("python", "-c", DISTRIBUTIONS))
    size = sum(path.lstat().st_size for path in place.bin.parent.rglob("*"))
    print(f"\n{len(listed)} distributions, {size / 1e9:.2f} GB: {' '.join(listed)}")
    lived(place)
    shutil.rmtree(place.bin.parent)


DISTRIBUTIONS = """\
import importlib.metadata, json
print(json.dumps(sorted(f"{d.name}=={d.version}" for d in importlib.metadata.distributions())))
"""
