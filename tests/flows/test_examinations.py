"""What `perennial examine` asks for, who it refuses, and what a workspace of 0.2 becomes."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from components.errors import BadParams, PerennialError, UnknownName
from components.evaluation import late
from components.faces.about import FACES_FILE
from components.gates.verdict import VERDICT_FILE
from components.generations.card import write_card
from components.generations.examinations import extended
from components.generations.lineage import append
from flows import pipeline
from flows.examinations import never_examined, plan, told
from flows.pending import proposal, unexamined, untold
from flows.workspace import Workspace


@pytest.fixture
def family(workspace: Workspace) -> Workspace:
    """One line that learned `swap`, judged; `mask` joined the benchmarks afterwards and has faces, `film` has none."""
    _land(workspace, "swap", sequence=["swap"], benchmarks=["swap"])
    _give_faces(workspace, "swap")
    append(proposal(workspace), workspace.lineage_file, workspace.recipes)
    verdict = workspace.data("verdicts", "small-M1")
    verdict.mkdir(parents=True)
    (verdict / VERDICT_FILE).write_text("{}")
    _land(workspace, "mask", benchmarks=["swap", "mask", "film"], also=["film", "aside"])
    _give_faces(workspace, "mask")
    return workspace


def _land(workspace: Workspace, name: str, also: list[str] | None = None, **sections: Any) -> None:
    raw = yaml.safe_load(workspace.params_file.read_text())
    for new in [name, *(also or [])]:
        after = next(reversed(raw["archives"]), "nobody")
        raw["archives"][new] = {"layout": "crops", "faces": "none", "role": "both", "after": after}
    workspace.params_file.write_text(yaml.safe_dump({**raw, **sections}, sort_keys=False))


def _give_faces(workspace: Workspace, name: str) -> None:
    faces = workspace.data("faces", name)
    faces.mkdir(parents=True)
    (faces / FACES_FILE).write_text("{}")


@pytest.fixture
def _nothing_is_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the stages had made what the fixture wrote."""
    monkeypatch.setattr(pipeline, "stale", lambda _root, _asked: set())


def test_a_benchmark_that_joined_late_is_told_with_how_many_never_met_it(family: Workspace) -> None:
    assert never_examined(family) == {"mask": ["small-M1"]}
    assert told(never_examined(family)) == ["1 generation was never examined on 'mask': perennial examine"]
    assert told({"mask": ["a", "b"]}) == ["2 generations were never examined on 'mask': perennial examine"]
    (family.data("verdicts", "small-M1") / VERDICT_FILE).unlink()
    assert never_examined(family) == {}, "it is still to be examined on what its recipe says"


@pytest.mark.usefixtures("_nothing_is_stale")
def test_only_what_was_asked_for_is_planned_and_nothing_written(family: Workspace) -> None:
    before = family.lineage_file.read_bytes()
    assert plan(family) == plan(family, ["mask"], ["small"]) == {"mask": ["small-M1"]}
    assert plan(family, ["swap"]) == {}
    assert family.lineage_file.read_bytes() == before
    assert unexamined(family) == ()


@pytest.mark.usefixtures("_nothing_is_stale")
@pytest.mark.parametrize(
    ("name", "line", "error", "words"),
    [
        ("masc", "small", UnknownName, r"no benchmark 'masc'; known: film, mask, swap\. Did you mean 'mask'\?"),
        ("mask", "smal", UnknownName, r"no line 'smal'; known: small"),
        ("aside", "small", BadParams, r"expected 'aside' among `benchmarks` in params\.yaml, found swap, mask, film"),
        ("film", "small", PerennialError, r"expected the faces of benchmark 'film' .* `perennial run` cuts them"),
    ],
)
def test_what_cannot_be_examined_is_refused_with_advice(
    family: Workspace, name: str, line: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        plan(family, [name], [line])


def test_an_examination_is_made_anew_with_those_that_hand_it_on_once_weights_are_gone(family: Workspace) -> None:
    grown = extended(family.lineage(), never_examined(family))
    grown.write(family.lineage_file)
    assert unexamined(family) == ("small-M1_on_mask",)
    born, found = family.data("generations", "small-M1"), family.data("examinations", "small-M1_on_mask")
    born.mkdir(parents=True)
    found.mkdir(parents=True)
    write_card(born, {"weights": "new"})
    late.write(found, [late.Cell("small-M1", "mask", "new", {})])
    assert unexamined(family) == () and untold(family) == ("small-M1_on_mask",)
    late.write(found, [late.Cell("small-M1", "swap", "gone", {}), late.Cell("small-M1", "mask", "new", {})])
    assert unexamined(family) == ("small-M1_on_mask",) and untold(family) == ()


def test_a_workspace_that_knows_no_examinations_is_completed_by_the_next_command(family: Workspace) -> None:
    lineage = yaml.safe_load(family.lineage_file.read_text())
    del lineage["examinations"], lineage["heads"]["small"]["examined"]
    family.lineage_file.write_text(yaml.safe_dump(lineage, sort_keys=False))
    wiring = family.root / "dvc.yaml"
    today = wiring.read_text()
    before, _, rest = today.partition("\n  examine:")
    of_0_2 = before + "\n" + rest[rest.index("\n  judge:") :]
    wiring.write_text(of_0_2.replace("data/examinations/${item.examined} ", ""))
    pipeline.refresh(family.root)
    assert wiring.read_text() == today
    completed = yaml.safe_load(family.lineage_file.read_text())
    assert completed["examinations"] == {} and completed["heads"]["small"].pop("examined") == "nobody"
    assert {**lineage, "examinations": {}} == completed
    assert family.data("examinations", "nobody").is_dir()
    assert "publish@small" in pipeline.stale(family.root), "DVC can read the wiring"
