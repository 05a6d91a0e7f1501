"""What follows a closed gate: a line is a tree, and the branch that lives leads from a founder to its youngest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from components.errors import BadParams, Refused, UnknownName
from components.generations.lineage import Judged, Lineage, append, check, propose, retry
from components.generations.recipe import Recipe
from components.params import Params
from components.vocabulary import NOBODY

Make = Callable[..., Params]
TASKS = ("swap", "mesh", "mask")
MORE = {"training": {"epochs": 9}}


@dataclass
class Family:
    """One line, and what the gate said of its generations."""

    root: Path
    params: Make
    after: str = "hold"
    said: dict[str, bool] = field(default_factory=dict)
    champion: str = NOBODY

    @property
    def lineage(self) -> Lineage:
        return Lineage.read(self.root / "lineage.yaml")

    @property
    def rows(self) -> dict[str, tuple[str, str]]:
        """Generation -> its teacher and its task."""
        return {name: (row.teacher, row.learns) for name, row in self.lineage.generations.items()}

    @property
    def judged(self) -> Judged:
        refused = {n: self.recipe(n) for n, opens in self.said.items() if not opens and n != self.champion}
        champions = {} if self.champion == NOBODY else {"cffd": self.champion}
        return Judged(frozenset({n for n, opens in self.said.items() if opens}), refused, champions)

    def recipe(self, name: str) -> Recipe:
        return Recipe.read(self.root / "recipes" / f"{name}.yaml")

    def chosen(self, changes: Mapping[str, Any]) -> Params:
        line = {"detector": "pinhole", "strategy": "cffd", "after_refusal": self.after}
        training = {"founder_epochs": 2, "epochs": 2, "batch": 8, "faces_per_clip": 3, "learning_rate": 0.01}
        more = {**changes, "training": {**training, **changes.get("training", {})}}
        return self.params(**{"lines": {"cffd": line}, **more})

    def judge(self, name: str, *, opens: bool) -> None:
        self.said[name] = opens
        self.champion = name if opens else self.champion

    def plan(self, *ready: str, **changes: Any) -> list[str]:
        proposal = propose(self.chosen(changes), self.lineage, ready or TASKS, self.judged)
        append(proposal, self.root / "lineage.yaml", self.root / "recipes")
        check(self.lineage, self.root / "recipes", self.root / "generations")
        return list(proposal.recipes)

    def retry(self, name: str, *ready: str, **changes: Any) -> list[str]:
        proposal = retry(self.chosen(changes), self.lineage, ready or TASKS, self.judged, name)
        append(proposal, self.root / "lineage.yaml", self.root / "recipes")
        check(self.lineage, self.root / "recipes", self.root / "generations")
        return list(proposal.recipes)


@pytest.fixture
def family(tmp_path: Path, params: Make) -> Family:
    return Family(tmp_path, params)


@pytest.fixture
def refused(family: Family) -> Family:
    """The founder is champion; the second was refused."""
    family.plan()
    family.judge("cffd-M1", opens=True)
    family.plan()
    family.judge("cffd-M2", opens=False)
    return family


def test_a_line_that_may_not_go_on_from_a_refused_one_is_planned_one_verdict_at_a_time(family: Family) -> None:
    assert family.plan() == ["cffd-M1"]
    assert family.plan() == [], "the first has no verdict yet"
    family.judge("cffd-M1", opens=True)
    assert family.plan() == ["cffd-M2"]
    family.judge("cffd-M2", opens=True)
    assert family.plan() == ["cffd-M3"]
    assert family.rows["cffd-M3"] == ("cffd-M2", "mask")


def test_a_line_that_continues_is_planned_whole_and_learns_from_whoever_was_refused(family: Family) -> None:
    family.after = "continue"
    assert family.plan("swap", "mesh") == ["cffd-M1", "cffd-M2"]
    family.judge("cffd-M1", opens=True)
    family.judge("cffd-M2", opens=False)
    assert family.plan() == ["cffd-M3"]
    assert family.rows["cffd-M3"] == ("cffd-M2", "mask")


def test_a_line_that_holds_learns_nothing_after_a_refusal_whatever_params_say(refused: Family) -> None:
    assert refused.plan() == refused.plan(**MORE) == []


def test_who_was_refused_and_promoted_by_a_person_teaches_the_next(refused: Family) -> None:
    refused.judge("cffd-M2", opens=True)
    assert refused.plan() == ["cffd-M3"]
    assert refused.rows["cffd-M3"] == ("cffd-M2", "mask")


def test_a_retry_learns_the_same_task_from_the_champion_with_the_choices_of_today(refused: Family) -> None:
    assert refused.retry("cffd-M2", **MORE) == ["cffd-M3"]
    assert refused.rows["cffd-M3"] == ("cffd-M1", "mesh")
    assert (refused.recipe("cffd-M2").training.epochs, refused.recipe("cffd-M3").training.epochs) == (2, 9)
    lineage = refused.lineage
    assert lineage.of("cffd") == ["cffd-M1", "cffd-M2", "cffd-M3"]
    assert lineage.living("cffd") == ["cffd-M1", "cffd-M3"]
    assert lineage.retired == {"cffd-M2"}
    assert lineage.tasks("cffd-M3") == ["swap", "mesh"]


def test_the_line_goes_on_from_the_retry_and_never_from_the_retired(refused: Family) -> None:
    refused.retry("cffd-M2", **MORE)
    refused.judge("cffd-M3", opens=True)
    assert refused.plan() == ["cffd-M4"]
    assert refused.rows["cffd-M4"] == ("cffd-M3", "mask")
    assert refused.lineage.living("cffd") == ["cffd-M1", "cffd-M3", "cffd-M4"]


def test_whatever_was_learned_since_the_champion_is_learned_anew_on_its_branch(family: Family) -> None:
    family.after = "continue"
    family.plan()
    for name in ("cffd-M1", "cffd-M2", "cffd-M3"):
        family.judge(name, opens=name == "cffd-M1")
    assert family.retry("cffd-M3") == ["cffd-M4"], "from another teacher the same choices are no repetition"
    assert family.plan() == ["cffd-M5"]
    assert family.rows["cffd-M4"] == ("cffd-M1", "mask") and family.rows["cffd-M5"] == ("cffd-M4", "mesh")
    assert family.lineage.retired == {"cffd-M2", "cffd-M3"}


def test_a_founder_that_was_refused_gets_a_founder_in_its_place(family: Family) -> None:
    family.plan()
    family.judge("cffd-M1", opens=False)
    assert family.retry("cffd-M1", training={"founder_epochs": 5}) == ["cffd-M2"]
    assert family.lineage.generations["cffd-M2"].is_founder
    assert family.lineage.living("cffd") == ["cffd-M2"]
    assert family.recipe("cffd-M2").training.founder_epochs == 5


def test_by_itself_a_line_retries_as_soon_as_params_choose_otherwise(refused: Family) -> None:
    refused.after = "retry"
    assert refused.plan() == []
    assert refused.plan(**MORE) == ["cffd-M3"]
    refused.judge("cffd-M3", opens=False)
    assert refused.plan(**MORE) == refused.plan() == [], "both were tried"
    assert refused.plan(memory={"budget": 20}) == ["cffd-M4"]
    assert refused.rows["cffd-M3"] == refused.rows["cffd-M4"] == ("cffd-M1", "mesh")
    assert refused.lineage.retired == {"cffd-M2", "cffd-M3"}


def test_a_retry_learns_the_youngest_version_of_the_task(refused: Family) -> None:
    archives = {
        "swap": {"layout": "lab"},
        "mesh": {"layout": "lab", "after": "swap"},
        "mesh_v2": {"layout": "lab", "after": "mesh", "supersedes": "mesh"},
    }
    changes = {"archives": archives, "sequence": ["swap", "mesh_v2"], "benchmarks": ["swap", "mesh"]}
    with pytest.raises(BadParams, match=r"expected the faces of 'mesh_v2', which cffd-M2 learned, found none"):
        refused.retry("cffd-M2", "swap", "mesh", **changes)
    assert refused.retry("cffd-M2", "swap", "mesh", "mesh_v2", **changes) == ["cffd-M3"]
    assert refused.rows["cffd-M3"] == ("cffd-M1", "mesh_v2")


@pytest.mark.parametrize(
    ("name", "changes", "kind", "told"),
    [
        ("cffd-M9", MORE, UnknownName, "no generation 'cffd-M9'"),
        ("cffd-M1", MORE, Refused, "found that 'cffd-M1' is the champion"),
        ("cffd-M2", {}, Refused, "expected other choices .* than those by which 'cffd-M2' was raised and refused"),
        ("cffd-M2", {**MORE, "lines": {}}, BadParams, "expected line 'cffd' under `lines`"),
        ("cffd-M2", {"detectors": {"pinhole": {"width": 6}}}, BadParams, "fit the weights of 'cffd-M1'"),
    ],
)
def test_what_cannot_be_retried_is_refused_and_nothing_is_written(
    refused: Family, name: str, changes: dict[str, Any], kind: type[Exception], told: str
) -> None:
    before = refused.lineage
    with pytest.raises(kind, match=told):
        refused.retry(name, **changes)
    assert refused.lineage == before


def test_a_generation_is_retried_once_it_was_judged_and_never_twice(refused: Family) -> None:
    refused.retry("cffd-M2", **MORE)
    with pytest.raises(Refused, match=r"expected a verdict on 'cffd-M3', found none"):
        refused.retry("cffd-M3", memory={"budget": 20})
    with pytest.raises(Refused, match=r"on the branch to 'cffd-M3', found that 'cffd-M2' is retired"):
        refused.retry("cffd-M2", memory={"budget": 20})


def test_whoever_stands_between_the_champion_and_its_ancestors_is_not_retried(family: Family) -> None:
    family.after = "continue"
    family.plan()
    for name, opens in (("cffd-M1", True), ("cffd-M2", False), ("cffd-M3", True)):
        family.judge(name, opens=opens)
    with pytest.raises(Refused, match=r"'cffd-M2' is an ancestor of the champion 'cffd-M3'"):
        family.retry("cffd-M2", **MORE)
