"""A workspace of version 0.1, as it was stored, becomes one of today: nothing is raised again, and its line goes on.

``workspace_0_1.tar.xz`` holds a line with iCaRL of two generations, raised by version 0.1 on two lab archives, one clip of
the first withdrawn in between; with its cache, without MLflow's files and Data Docs.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
import yaml

from components.digests import file_digest
from components.errors import BrokenLineage
from components.generations.generation import load_carry_over, load_classifier
from components.lab.archive import render_archive
from flows import pipeline, upgrade
from flows.workspace import Workspace

STORED = Path(__file__).with_name("workspace_0_1.tar.xz")
GENERATIONS = ("icarl-M1", "icarl-M2")
YOUNGER = {"gauge@first", "gauge@second"}
"""Stages that 0.1 did not have, of archives that were learned; nobody waits for them."""
UNTOLD = {"publish@icarl"}
"""It wrote no numbers for DVC: the next run does."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The stored workspace."""
    with tarfile.open(STORED) as stored:
        stored.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.2, as Debian has it, knows none
        stored.extractall(tmp_path / "family")
    return tmp_path / "family"


def weights_of(root: Path) -> dict[str, str]:
    return {path.parent.name: file_digest(path) for path in root.glob("data/generations/*/weights.safetensors")}


def card_of(root: Path, name: str) -> dict:
    return json.loads((root / "data" / "generations" / name / "card.json").read_text())


def withdrawn_in(root: Path, kind: str, name: str) -> list[str]:
    told = yaml.safe_load((root / "data" / "withdrawals" / kind / f"{name}.yaml").read_text())["withdrawn"]
    return [order["clip"] for order in told]


def test_an_upgrade_makes_nothing_stale_and_nothing_anew(old: Path) -> None:
    before, clip = weights_of(old), card_of(old, "icarl-M2")["withdrawn"][0]["clip"]
    found = upgrade.upgrade(old)
    assert found.generations == list(GENERATIONS) and found.stages == 2 * 3 + 2 + 2 * 5
    assert pipeline.stale(old) == YOUNGER | UNTOLD
    assert weights_of(old) == before
    assert not (old / "components").exists()
    for name in GENERATIONS:
        folder = old / "data" / "generations" / name
        assert load_carry_over(folder) and load_classifier(folder)
        assert [profile["detector"] for profile in card_of(old, name)["profiles"]] == ["annotated"]
        assert not (folder / "bequest.safetensors").exists() and "bequest" not in card_of(old, name)
    assert [order.clip for order in Workspace.at(old).params().withdrawn] == [clip]
    assert withdrawn_in(old, "generations", "icarl-M1") == [], "it had learned the clip when it was withdrawn"
    assert withdrawn_in(old, "generations", "icarl-M2") == withdrawn_in(old, "memories", "icarl-M1") == [clip]
    assert withdrawn_in(old, "archives", "first") == [], "its faces were cut before"
    assert upgrade.upgrade(old) is None


@pytest.mark.slow
@pytest.mark.parametrize("step", ["rewrite", "_modernise", "_write_withdrawals", "_rewire", "adopt"])
def test_an_upgrade_that_was_killed_is_done_again(old: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where = {"rewrite": Workspace, "adopt": pipeline}.get(step, upgrade)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(where, step, killed)
        with pytest.raises(KeyboardInterrupt):
            upgrade.upgrade(old)
    assert upgrade.upgrade(old).generations == list(GENERATIONS)
    assert pipeline.stale(old) == YOUNGER | UNTOLD


def test_what_was_out_of_date_before_is_out_of_date_afterwards(old: Path) -> None:
    params = old / "params.yaml"
    params.write_text(params.read_text().replace("min_per_class: 2", "min_per_class: 1"))
    upgrade.upgrade(old)
    late = {f"{stage}@{name}" for stage in ("validate", "crop") for name in ("first", "second")}
    assert pipeline.stale(old) == late | YOUNGER | UNTOLD


def test_a_generation_that_is_not_what_its_card_says_stops_the_upgrade_before_it_begins(old: Path) -> None:
    before = {path: path.read_bytes() for path in (*old.glob("*.yaml"), old / "dvc.lock")}
    (old / "data" / "generations" / "icarl-M1" / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(BrokenLineage, match=r"expected '.*weights\.safetensors' to be what its card speaks of"):
        upgrade.upgrade(old)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.slow
def test_a_workspace_of_0_1_asks_for_its_upgrade_and_goes_on_learning(old: Path, place_at) -> None:
    place, before = place_at(old), weights_of(old)
    assert "`perennial upgrade` mends the workspace; nothing is raised again" in place.perennial("status", fails=True)
    assert "18 results stand as they were made" in place.perennial("upgrade")
    assert place.perennial("status").count("code before 0.2") == 2
    render_archive(
        old.parent / "third", families=["mouth_resynthesis"], people=6, first_person=20, clips_per_person=1, frames=2,
        size_px=96, seed=7,
    )  # fmt: skip
    place.land("third", old.parent / "third")
    place.perennial("run")
    assert {name: digest for name, digest in weights_of(old).items() if name in before} == before
    assert card_of(old, "icarl-M3")["teacher_weights"] == before["icarl-M2"]
    assert card_of(old, "icarl-M3")["code"]["digest"]
    assert "is up to date" in place.perennial("run")
    assert pipeline.stale(old) == YOUNGER
