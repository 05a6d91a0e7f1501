"""Who never met a benchmark that joined late, and the rows that let them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from components.errors import BrokenLineage
from components.generations.examinations import extended, lacking
from components.generations.lineage import Lineage, append, check, propose
from components.params import Params
from components.vocabulary import NOBODY

Make = Callable[..., Params]
BORN = ("cffd-M1", "cffd-M2", "plain-M1", "plain-M2")


@pytest.fixture
def lineage(params: Make, tmp_path: Path) -> Lineage:
    """Two lines that learned `swap` and `mesh`, and were examined on those two."""
    proposal = propose(params(), Lineage(), ("swap", "mesh"))
    append(proposal, tmp_path / "lineage.yaml", tmp_path / "recipes")
    return proposal.lineage


def test_whoever_was_judged_before_a_benchmark_joined_lacks_it(lineage: Lineage) -> None:
    assert lacking(lineage, BORN, ["swap", "mesh", "mask"]) == {"mask": list(BORN)}
    assert lacking(lineage, ("cffd-M1",), ["mask"]) == {"mask": ["cffd-M1"]}, "who does not live yet lacks nothing"


def test_a_teacher_has_met_what_its_heir_was_examined_on_once_the_heir_was_judged(
    lineage: Lineage, params: Make
) -> None:
    grown = propose(params(), lineage, ("swap", "mesh", "mask")).lineage
    assert lacking(grown, [*BORN, "cffd-M3"], ["mask"]) == {"mask": ["cffd-M1", "plain-M1", "plain-M2"]}
    assert lacking(grown, BORN, ["mask"]) == {"mask": list(BORN)}


def test_rows_follow_one_another_within_a_line_and_nobody_is_asked_twice(lineage: Lineage, tmp_path: Path) -> None:
    grown = extended(lineage, lacking(lineage, BORN, ["mask"]))
    after = {key: row.after for key, row in grown.examinations.items()}
    assert after == {
        "cffd-M1_on_mask": NOBODY,
        "cffd-M2_on_mask": "cffd-M1_on_mask",
        "plain-M1_on_mask": NOBODY,
        "plain-M2_on_mask": "plain-M1_on_mask",
    }
    assert {head.examined for head in grown.heads.values()} == {"cffd-M2_on_mask", "plain-M2_on_mask"}
    assert list(grown.benches) == ["swap", "mesh", "mask"] and grown.benches["mask"].after == "mesh"
    assert lacking(grown, BORN, ["swap", "mesh", "mask"]) == {}
    grown.write(tmp_path / "lineage.yaml")
    read = Lineage.read(tmp_path / "lineage.yaml")
    check(read, tmp_path / "recipes", tmp_path / "generations")
    assert read == grown


def test_the_next_generation_keeps_the_rows_and_its_line_goes_on_from_the_last(lineage: Lineage, params: Make) -> None:
    grown = extended(lineage, lacking(lineage, BORN, ["mask"]))
    next_one = propose(params(), grown, ("swap", "mesh", "mask")).lineage
    assert next_one.examinations == grown.examinations
    assert next_one.heads["cffd"].generation == "cffd-M3" and next_one.heads["cffd"].examined == "cffd-M2_on_mask"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"after": "cffd-M2_on_mask"}, r"expected examination 'cffd-M1_on_mask' to say .*'after': 'nobody'"),
        ({"strategy": "er"}, r"expected examination 'cffd-M1_on_mask' to say .*'strategy': 'cffd'"),
        ({"generation": "cffd-M9"}, r"says that 'cffd-M9' was examined on 'mask'"),
        ({"benchmark": "film"}, r"says that 'cffd-M1' was examined on 'film'"),
    ],
)
def test_an_examination_is_never_edited(lineage: Lineage, tmp_path: Path, change: dict[str, str], told: str) -> None:
    grown = extended(lineage, lacking(lineage, BORN, ["mask"]))
    grown.examinations["cffd-M1_on_mask"] = grown.examinations["cffd-M1_on_mask"].model_copy(update=change)
    with pytest.raises(BrokenLineage, match=told):
        check(grown, tmp_path / "recipes", tmp_path / "generations")


def test_a_head_names_the_last_examination_of_its_line(lineage: Lineage, tmp_path: Path) -> None:
    grown = extended(lineage, lacking(lineage, BORN, ["mask"]))
    grown.examinations.pop("plain-M2_on_mask")
    with pytest.raises(BrokenLineage, match=r"expected 'plain-M1_on_mask' as the last examination of line 'plain'"):
        check(grown, tmp_path / "recipes", tmp_path / "generations")
