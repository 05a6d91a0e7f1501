"""A result knows what it was made of: `dvc repro` alone notices changed code, and runs what it concerns and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from components.generations.card import read_card

ROOT = Path(__file__).parents[2]
FORMULA = "components/losses/distillation.py"
PARAMS = """\
archives: {}
lines:
  one: {detector: rsia_net, strategy: lwf}
  other: {detector: m2tr, strategy: finetune}
faces: {size_px: 96, frames: 2}
validation: {min_per_class: 2}
detectors:
  rsia_net: {size: tiny, trunk: small, width: 8, input_px: 96}
  m2tr: {size: tiny}
memory: {budget: 8}
training: {founder_epochs: 1, epochs: 1, batch: 8, faces_per_clip: 2}
evaluation: {bootstrap: 20}
gate:
  - {rule: infra}
"""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Installed:
    """A workspace, and a copy of the package that may be edited."""

    root: Path
    package: Path

    def said(self, *words: str, code: int = 0) -> str:
        environment = {**os.environ, "PYTHONPATH": str(self.package), "PERENNIAL_DEVICE": "cpu"}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=self.root, env=environment, capture_output=True, text=True, timeout=1500
        )
        assert done.returncode == code, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout + done.stderr

    def perennial(self, *words: str) -> str:
        return self.said("flows.cli", *words)

    def repro(self) -> set[str]:
        """The stages that plain `dvc repro` ran."""
        return set(re.findall(r"^Running stage '(.+)':$", self.said("dvc", "repro"), re.MULTILINE))

    def edit(self, file: str, more: str) -> None:
        path = self.package / file
        path.write_text(path.read_text() + more)

    def restore(self, file: str) -> None:
        shutil.copyfile(ROOT / file, self.package / file)

    @property
    def outs(self) -> dict[str, list[str]]:
        stages = yaml.safe_load((self.root / "dvc.lock").read_text())["stages"]
        return {name: [out["md5"] for out in stage["outs"]] for name, stage in stages.items()}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, archives: dict[str, Path]) -> Installed:
    """A finished generation of each of two detectors, with different strategies."""
    folder = tmp_path_factory.mktemp("identity")
    for name in ("components", "flows"):
        shutil.copytree(ROOT / name, folder / "package" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copyfile(ROOT / name, folder / "package" / name)
    (folder / "workspace").mkdir()
    place = Installed(folder / "workspace", folder / "package")
    place.perennial("init", str(place.root))
    (place.root / "params.yaml").write_text(PARAMS)
    place.perennial("land", "first", str(archives["first"]), "--layout", "lab")
    place.perennial("run")
    return place


@pytest.fixture
def made(place: Installed) -> Installed:
    """The same with today's code, whatever the test before has edited."""
    place.restore(FORMULA)
    place.repro()
    return place


def of_line_one(stage: str) -> bool:
    return stage.endswith(("@one-M1", "@one"))


def test_with_nothing_changed_everything_is_up_to_date(made: Installed) -> None:
    assert "up to date" in made.said("dvc", "status")
    assert made.repro() == set()
    assert made.perennial("run").startswith("Everything is up to date")
    assert "otherwise" not in made.perennial("status")


def test_a_comment_is_looked_at_and_runs_nothing(made: Installed) -> None:
    made.edit(FORMULA, "\n# the same formula\n")
    assert made.repro() == {"code"}
    assert made.repro() == set()


def test_an_edited_formula_runs_the_stages_of_the_strategy_that_uses_it_and_no_others(made: Installed) -> None:
    before = made.outs
    made.edit(FORMULA, "\nSHARPNESS = 1000\n")
    ran = made.repro()
    assert {"code", "evolve@one-M1"} <= ran
    assert all(of_line_one(stage) for stage in ran - {"code"})
    assert made.repro() == set()
    made.restore(FORMULA)
    assert made.repro() <= {"code"}  # what was made with it is still there
    assert made.outs == before


def test_status_names_what_today_s_code_would_make_otherwise_and_the_modules_that_differ(made: Installed) -> None:
    made.edit(FORMULA, "\nSHARPNESS = 1000\n")
    said = made.perennial("status")
    assert "evolve@one-M1" in said and "evolve@other-M1" not in said
    assert "code older" in said
    why = made.perennial("status", "--why", "one-M1")
    assert "components.losses.distillation was edited" in why
    assert "made by today's code" in made.perennial("status", "--why", "other-M1")
    assert "up to date" in made.perennial("run")  # history is never raised again by accident


def test_a_card_tells_the_code_and_the_machine(made: Installed) -> None:
    one, other = (read_card(made.root / "data" / "generations" / name) for name in ("one-M1", "other-M1"))
    assert one["code"]["digest"] != other["code"]["digest"]
    assert one["environment"]["precision"] == "32-true"
    assert one["environment"]["versions"]["timm"]


def test_a_study_under_changed_code_never_gives_the_old_weights(made: Installed) -> None:
    about = ("--sequence", "first", "--strategies", "lwf", "--seeds", "0", "--detector", "rsia_net")
    schedule = "components/generations/schedule.py"

    def weights(name: str) -> str:
        made.perennial("study", name, *about)
        return read_card(made.root / ".perennial/studies" / name / "data/generations/lwf_s0-M1")["weights"]

    usual = weights("s0")
    text = (made.package / schedule).read_text()
    assert "def learning_rate" in text
    made.edit(schedule, "\n_true = learning_rate\ndef learning_rate(*a, **k):\n    return _true(*a, **k) * 1e-3\n")
    try:
        assert weights("s1") != usual
    finally:
        made.restore(schedule)
    assert weights("s2") == usual


def test_a_clone_says_what_to_do_and_a_moved_workspace_goes_on(made: Installed, tmp_path: Path) -> None:
    clone = Installed(tmp_path / "elsewhere", made.package)
    shutil.copytree(made.root, clone.root)
    (clone.root / ".dvc/config.local").unlink()
    shutil.rmtree(clone.root / "data/code")
    assert "run-perennial-status-here-first" in clone.said("dvc", "repro", code=255)
    clone.perennial("status")
    assert "up to date" in clone.said("dvc", "status")
    assert clone.repro() == set()
