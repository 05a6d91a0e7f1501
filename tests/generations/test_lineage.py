"""The lineage: rows are appended, never edited, and what they point to must agree."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.errors import BadParams, BrokenLineage, UnknownName
from components.generations.lineage import Lineage, append, check, propose
from components.generations.recipe import Machine, Recipe
from components.params import MemoryOptions, Params, TrainingOptions
from components.settings import settings
from components.vocabulary import NOBODY

Make = Callable[..., Params]
TASKS = ("swap", "mesh", "mask")


class Family:
    """A lineage.yaml and its recipes."""

    def __init__(self, root: Path) -> None:
        self.file, self.recipes, self.generations = root / "lineage.yaml", root / "recipes", root / "generations"

    def read(self) -> Lineage:
        return Lineage.read(self.file)

    def plan(self, params: Params, *ready: str) -> tuple[str, ...]:
        """Plan and append; returns the names that are new."""
        proposal = propose(params, self.read(), ready)
        append(proposal, self.file, self.recipes)
        return tuple(proposal.recipes)

    def recipe(self, name: str) -> Recipe:
        return Recipe.read(self.recipes / f"{name}.yaml")

    def contents(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in [self.file, *self.recipes.iterdir()]}

    def edit(self, change: Callable[[dict[str, Any]], Any]) -> None:
        raw = yaml.safe_load(self.file.read_text())
        change(raw)
        self.file.write_text(yaml.safe_dump(raw, sort_keys=False))

    def check(self) -> None:
        check(self.read(), self.recipes, self.generations)


@pytest.fixture
def family(tmp_path: Path) -> Family:
    return Family(tmp_path)


def test_a_line_grows_by_one_generation_a_task_each_the_teacher_of_the_next(family: Family, params: Make) -> None:
    new = family.plan(params(), *TASKS)
    assert new == ("cffd-M1", "cffd-M2", "cffd-M3", "plain-M1", "plain-M2", "plain-M3")
    rows = family.read().generations
    assert [rows[name].learns for name in new] == [*TASKS, *TASKS]
    assert [rows[name].teacher for name in new] == [NOBODY, "cffd-M1", "cffd-M2", NOBODY, "plain-M1", "plain-M2"]
    assert [rows[name].is_founder for name in new] == [True, False, False] * 2
    assert {line: head.generation for line, head in family.read().heads.items()} == {
        "cffd": "cffd-M3",
        "plain": "plain-M3",
    }
    family.check()


def test_a_budget_too_small_for_all_tasks_is_refused_before_anything_is_raised(family: Family, params: Make) -> None:
    with pytest.raises(BadParams, match="at least 6, one face of each class for 3 tasks, found 5"):
        family.plan(params(memory={"budget": 5}), *TASKS)
    assert not family.file.exists()
    assert len(family.plan(params(memory={"budget": 4}), "swap", "mesh")) == 4


def test_benchmarks_join_one_after_another(family: Family, params: Make) -> None:
    family.plan(params(), "swap")
    family.plan(params(), *TASKS)
    lineage = family.read()
    assert {name: bench.after for name, bench in lineage.benches.items()} == {
        "swap": NOBODY, "mesh": "swap", "mask": "mesh"
    }  # fmt: skip
    assert lineage.benchmarks("mask") == TASKS and lineage.benchmarks(NOBODY) == ()
    assert family.recipe("cffd-M1").benchmarks == ("swap",)
    assert family.recipe("cffd-M2").benchmarks == TASKS
    assert family.recipe("cffd-M2").teacher_benchmarks == ("swap",)
    assert family.recipe("cffd-M3").teacher_benchmarks == TASKS


def test_planning_twice_changes_nothing(family: Family, params: Make) -> None:
    family.plan(params(), *TASKS)
    before = family.contents()
    assert family.plan(params(), *TASKS) == ()
    assert family.contents() == before


def test_a_new_task_appends_one_row_a_line_and_leaves_every_recipe_alone(family: Family, params: Make) -> None:
    family.plan(params(sequence=TASKS[:2]), *TASKS)
    before = family.contents()
    changed = params(training={"epochs": 99}, memory={"budget": 7}, seed=5)  # shapes the unborn alone
    assert family.plan(changed, *TASKS) == ("cffd-M3", "plain-M3")
    after = family.contents()
    assert {name: after[name] for name in before if name != "lineage.yaml"} == {
        name: content for name, content in before.items() if name != "lineage.yaml"
    }
    rows = yaml.safe_load(before["lineage.yaml"])["generations"]
    assert list(yaml.safe_load(after["lineage.yaml"])["generations"].items())[: len(rows)] == list(rows.items())
    assert (family.recipe("cffd-M3").training.epochs, family.recipe("cffd-M3").seed) == (99, 5)
    assert family.recipe("cffd-M2").training.epochs == 2
    family.check()


def test_a_new_line_starts_with_a_founder_and_learns_everything(family: Family, params: Make) -> None:
    lines = {"cffd": {"detector": "pinhole", "strategy": "cffd"}}
    family.plan(params(lines=lines), *TASKS)
    both = {**lines, "replay": {"detector": "pinhole", "strategy": "er"}}
    assert family.plan(params(lines=both), *TASKS) == ("replay-M1", "replay-M2", "replay-M3")
    assert family.read().generations["replay-M1"].is_founder


def test_an_archive_may_be_a_benchmark_alone(family: Family, params: Make) -> None:
    archives = {"swap": {"layout": "lab"}, "web": {"layout": "lab", "role": "benchmark", "after": "swap"}}
    p = params(archives=archives, sequence=["swap"], benchmarks=["swap", "web"])
    assert family.plan(p, "swap", "web") == ("cffd-M1", "plain-M1")
    assert family.recipe("cffd-M1").benchmarks == ("swap", "web")


def test_what_is_not_ready_waits_and_what_is_ready_does_not(family: Family, params: Make) -> None:
    proposal = propose(params(), family.read(), ["swap", "mask"])
    assert [recipe.row.learns for recipe in proposal.recipes.values()] == ["swap", "mask"] * 2
    assert proposal.waiting == ("mesh",)
    append(proposal, family.file, family.recipes)
    assert family.plan(params(), *TASKS) == ("cffd-M3", "plain-M3")
    assert family.read().generations["cffd-M3"].learns == "mesh"
    assert family.read().benchmarks("mesh") == ("swap", "mask", "mesh")
    family.check()


def test_nothing_ready_plans_nothing(params: Make) -> None:
    proposal = propose(params(), Lineage(), [])
    assert (proposal.recipes, proposal.lineage, proposal.waiting) == ({}, Lineage(), TASKS)


def test_every_option_is_resolved_in_the_recipe(family: Family, params: Make) -> None:
    family.plan(params(detectors={"pinhole": {"width": 6}}, strategies={"cffd": {"temperature": 3}}), "swap")
    mine = family.recipe("cffd-M1")
    assert mine.detector.options == {"width": 6, "spread": 0.01}
    assert mine.strategy.options == {
        **{"temperature": 3.0, "soft_label": 1.0, "features": 0.3, "relations": 0.3, "domains": 0.3},
        **{"contrast": 0.1, "contrast_temperature": 0.1, "new_genuine": True},
    }


def test_an_heir_must_be_able_to_take_over_its_teachers_weights(family: Family, params: Make) -> None:
    family.plan(params(sequence=TASKS[:2]), *TASKS)
    before = family.contents()
    with pytest.raises(BadParams, match=r"fit the weights of 'cffd-M2'.*'width': 4.*found.*'width': 6.*new line"):
        family.plan(params(detectors={"pinhole": {"width": 6}}), *TASKS)
    assert family.contents() == before
    assert family.plan(params(detectors={"pinhole": {"spread": 0.5}}), *TASKS) == ("cffd-M3", "plain-M3")


@pytest.mark.parametrize(
    ("policy", "mine", "plain"),
    [("own", "hybrid", "nothing"), ("reservoir", "reservoir", "reservoir"), ("nothing", "nothing", "nothing")],
)
def test_a_memory_follows_its_strategy_s_paper_unless_params_say_otherwise(
    family: Family, params: Make, policy: str, mine: str, plain: str
) -> None:
    family.plan(params(memory={"policy": policy}), "swap")
    assert family.recipe("cffd-M1").memory.policy == mine
    assert family.recipe("plain-M1").memory.policy == plain


@pytest.mark.parametrize(
    ("changes", "kind", "advice"),
    [
        ({"gate": []}, BadParams, "an empty gate is never an approval"),
        ({"benchmarks": []}, BadParams, "expected at least one benchmark that is ready"),
        ({"lines": {"x": {"detector": "pinhol", "strategy": "er"}}}, UnknownName, "Did you mean 'pinhole'?"),
        ({"lines": {"x": {"detector": "pinhole", "strategy": "cfd"}}}, UnknownName, "Did you mean 'cffd'?"),
        ({"detectors": {"rsianet": {}}}, UnknownName, "no detector 'rsianet'"),
        ({"strategies": {"lwf2": {}}}, UnknownName, "no strategy 'lwf2'"),
        ({"detectors": {"pinhole": {"widht": 3}}}, BadParams, "Did you mean 'width'?"),
        ({"strategies": {"cffd": {"temperature": 0}}}, BadParams, "strategies.cffd cannot be followed"),
    ],
)
def test_what_cannot_be_followed_is_refused_before_anything_is_written(
    family: Family, params: Make, tmp_path: Path, changes: dict[str, Any], kind: type[BadParams], advice: str
) -> None:
    with pytest.raises(kind) as caught:
        family.plan(params(**changes), *TASKS)
    assert advice in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "choice", [{"detector": "rsia_net", "strategy": "cffd"}, {"detector": "pinhole", "strategy": "er"}]
)
def test_a_line_keeps_its_detector_and_its_strategy(family: Family, params: Make, choice: dict[str, str]) -> None:
    family.plan(params(), "swap")
    before = family.contents()
    with pytest.raises(
        BadParams, match=r"line 'cffd' has been 'pinhole' with 'cffd' since its founder.*name a new one"
    ):
        family.plan(params(lines={"cffd": choice}), *TASKS)
    assert family.contents() == before


def test_the_lineage_reads_back_as_it_was_written(family: Family, params: Make) -> None:
    family.plan(params(), *TASKS)
    lineage, text = family.read(), family.file.read_text()
    lineage.write(family.file)
    assert family.file.read_text() == text and text.startswith("# The lineage:")
    assert family.read() == lineage
    assert not list(family.file.parent.glob("*.fresh"))


def test_a_lineage_that_is_no_yaml_is_refused_in_words(family: Family) -> None:
    family.file.write_text("generations: [")
    with pytest.raises(BadParams, match=r"expected YAML in '.*lineage.yaml'"):
        family.read()


def test_a_recipe_keeps_its_digest_when_written_and_read(family: Family, params: Make, tmp_path: Path) -> None:
    family.plan(params(), "swap")
    recipe = family.recipe("cffd-M1")
    recipe.write(tmp_path / "again" / "copy.yaml")
    again = Recipe.read(tmp_path / "again" / "copy.yaml")
    assert again == recipe and again.digest == recipe.digest
    assert (tmp_path / "again" / "copy.yaml").read_bytes() == (family.recipes / "cffd-M1.yaml").read_bytes()


def test_a_recipe_older_than_a_choice_keeps_the_digest_it_had(family: Family, params: Make, tmp_path: Path) -> None:
    family.plan(params(), "swap")
    file = tmp_path / "old.yaml"
    said = yaml.safe_load((family.recipes / "cffd-M1.yaml").read_text())
    del said["memory"]["pool"], said["training"]["pairs"]  # as before there were such choices
    file.write_text(yaml.safe_dump(said))
    old = Recipe.read(file)
    assert (old.memory.pool, old.training.pairs) == (MemoryOptions().pool, TrainingOptions().pairs)
    assert old.digest == hashlib.sha256(yaml.safe_dump(said, sort_keys=True).encode()).hexdigest()
    assert old.digest != family.recipe("cffd-M1").digest


def test_a_digest_names_every_choice_and_no_order_of_keys(family: Family, params: Make) -> None:
    family.plan(params(), "swap")
    recipe = family.recipe("cffd-M1")
    turned = Recipe.model_validate(dict(reversed(recipe.model_dump(mode="json", exclude_unset=True).items())))
    assert turned.digest == recipe.digest
    others = [
        recipe.model_copy(update={"seed": 1}),
        recipe.model_copy(update={"training": recipe.training.model_copy(update={"threads": 2})}),
        recipe.model_copy(update={"benchmarks": ("swap", "mesh")}),
    ]
    assert len({recipe.digest, *(other.digest for other in others)}) == 4


def test_a_missing_recipe_is_missed(family: Family, params: Make) -> None:
    family.plan(params(), *TASKS)
    (family.recipes / "cffd-M2.yaml").unlink()
    with pytest.raises(BrokenLineage, match=r"expected the recipe '.*cffd-M2.yaml', found none"):
        family.check()


def test_a_broken_recipe_is_refused_in_words(family: Family, params: Make) -> None:
    family.plan(params(), "swap")
    file = family.recipes / "cffd-M1.yaml"
    file.write_text("generation: [")
    with pytest.raises(BadParams, match=r"expected YAML in '.*cffd-M1.yaml'"):
        family.check()
    file.write_text("generation: cffd-M1\nsede: 1\n")
    with pytest.raises(BadParams, match=r"sede: unknown key.*Did you mean 'seed'\?"):
        family.check()


def test_an_edited_row_is_told_from_what_was_planned(family: Family, params: Make) -> None:
    family.plan(params(), *TASKS)
    family.edit(lambda raw: raw["generations"]["cffd-M2"].update(learns="mask", bench="mesh"))
    with pytest.raises(BrokenLineage) as caught:
        family.check()
    assert str(caught.value) == (
        "lineage.yaml says of cffd-M2: learns 'mask', bench 'mesh'; its recipe, written when it was planned, says "
        "'mesh', 'mask'. Rows are never edited: restore the row, or plan a new line."
    )


def test_a_recipe_edited_after_birth_is_told(family: Family, params: Make) -> None:
    family.plan(params(), "swap")
    folder, file = family.generations / "cffd-M1", family.recipes / "cffd-M1.yaml"
    folder.mkdir(parents=True)
    (folder / "card.json").write_text(json.dumps({"recipe": family.recipe("cffd-M1").digest}))
    family.check()
    file.write_text(file.read_text().replace("seed: 0", "seed: 1"))
    with pytest.raises(BrokenLineage, match=r"recipes/cffd-M1.yaml was edited after cffd-M1 was born of it"):
        family.check()


def both(family: Family, name: str, **changes: str) -> None:
    """Edit a row and its recipe alike, so that only what they point to can tell."""
    family.edit(lambda raw: raw["generations"][name].update(changes))
    file = family.recipes / f"{name}.yaml"
    raw = yaml.safe_load(file.read_text())
    raw["row"].update(changes)
    file.write_text(yaml.safe_dump(raw))


def test_a_teacher_of_another_line_is_no_teacher(family: Family, params: Make) -> None:
    family.plan(params(), *TASKS)
    both(family, "cffd-M2", teacher="plain-M1")
    with pytest.raises(BrokenLineage, match=r"cffd-M2 of line 'cffd' names 'plain-M1' of another line as its teacher"):
        family.check()


def test_a_teacher_nobody_knows_is_no_teacher(family: Family, params: Make) -> None:
    family.plan(params(), *TASKS)
    both(family, "cffd-M2", teacher="cffd-M0")
    with pytest.raises(BrokenLineage, match=r"cffd-M2 names teacher 'cffd-M0', who is not in lineage.yaml"):
        family.check()


@pytest.mark.parametrize("after", ["mesh", "mask", "nobody", "elsewhere"])
def test_benches_that_do_not_follow_one_another_are_told(family: Family, params: Make, after: str) -> None:
    family.plan(params(), *TASKS)
    family.edit(lambda raw: raw["benches"]["mesh"].update(after=after))
    with pytest.raises(BrokenLineage, match=rf"bench 'mesh' joined after '{after}', but the one above it is 'swap'"):
        family.check()


def test_a_row_may_only_name_a_bench_of_the_lineage(family: Family, params: Make) -> None:
    family.plan(params(), *TASKS)
    family.edit(lambda raw: raw["benches"].pop("mask"))
    with pytest.raises(BrokenLineage, match=r"cffd-M1 names bench 'mask', which is not in lineage.yaml"):
        family.check()


def test_a_head_is_the_youngest_of_its_line(family: Family, params: Make) -> None:
    family.plan(params(), *TASKS)
    family.edit(lambda raw: raw["heads"]["cffd"].update(generation="cffd-M1"))
    with pytest.raises(BrokenLineage, match=r"calls 'cffd-M1' the head of line 'cffd', but its youngest .* 'cffd-M3'"):
        family.check()
    family.edit(lambda raw: raw["heads"].pop("cffd"))
    with pytest.raises(BrokenLineage, match=r"calls 'nobody' the head of line 'cffd'"):
        family.check()


def test_training_is_the_papers_unless_params_a_detector_or_a_line_say_otherwise(family: Family, params: Make) -> None:
    line = {"detector": "pinhole", "strategy": "finetune"}
    planned = params(
        lines={
            "plain": line,
            "odd": {**line, "seed": 7, "changes": {"training": {"epochs": 9}, "detector": {"width": 6}}},
        },
        detectors={"pinhole": {"training": {"epochs": 5, "gamma": 0.25}}},
        training={"batch": 8, "epochs": 3},
    )
    family.plan(planned, "swap")
    plain, odd = family.recipe("plain-M1"), family.recipe("odd-M1")
    assert plain.training.step_epochs == 4  # the detector's recipe
    assert plain.training.batch == 8  # the general section, over the recipe's 6
    assert (plain.training.epochs, plain.training.gamma) == (5, 0.25)  # the detector's section, over the general one
    assert (odd.training.epochs, odd.training.gamma) == (9, 0.25)  # the line's, over the detector's
    assert (plain.seed, odd.seed) == (0, 7)
    assert (plain.detector.options["width"], odd.detector.options["width"]) == (4, 6)


def test_a_line_may_learn_in_an_order_of_its_own(family: Family, params: Make) -> None:
    line = {"detector": "pinhole", "strategy": "finetune"}
    order = list(reversed(TASKS))
    family.plan(params(lines={"plain": line, "back": {**line, "sequence": order}}), *TASKS)
    rows = family.read().generations
    assert [row.learns for row in rows.values() if row.line == "plain"] == list(TASKS)
    assert [row.learns for row in rows.values() if row.line == "back"] == order


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"training": {"epoch": 3}}, "Did you mean 'epochs'"),
        ({"memory": {"budged": 3}}, "Did you mean 'budget'"),
        ({"strategy": {"tau": 3}}, "strategies.cffd"),
        ({"detector": {"with": 3}}, "Did you mean 'width'"),
    ],
)
def test_what_a_line_changes_is_checked_as_the_sections_are(
    family: Family, params: Make, changes: dict[str, Any], place: str
) -> None:
    with pytest.raises(BadParams, match=place):
        family.plan(params(lines={"x": {"detector": "pinhole", "strategy": "cffd", "changes": changes}}), "swap")


# -- the machine ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """`said("DEVICES", "2")`: settings of this test alone."""

    def say(name: str, value: str) -> None:
        monkeypatch.setenv(f"PERENNIAL_{name}", value)
        settings.cache_clear()

    yield say
    monkeypatch.undo()
    settings.cache_clear()


def test_a_recipe_freezes_how_the_machine_computes(
    family: Family, params: Make, said: Callable[[str, str], None]
) -> None:
    said("PRECISION", "bf16-mixed")
    said("DETERMINISTIC", "false")
    said("DEVICES", "2")
    said("COMPILE", "default")
    family.plan(params(), "swap")
    said("PRECISION", "32-true")
    machine = family.recipe("cffd-M1").machine
    assert machine == Machine(precision="bf16-mixed", deterministic=False, devices=2, compile="default")


def test_a_recipe_of_0_1_was_made_with_the_defaults_and_keeps_its_digest(family: Family, params: Make) -> None:
    family.plan(params(), "swap")
    path = family.recipes / "cffd-M1.yaml"
    raw = yaml.safe_load(path.read_text())
    del raw["machine"]
    path.write_text(yaml.safe_dump(raw))
    old = family.recipe("cffd-M1")
    assert old.machine == Machine()
    assert old.digest == hashlib.sha256(yaml.safe_dump(raw, sort_keys=True).encode()).hexdigest()
