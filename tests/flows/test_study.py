"""``perennial study``: which runs it makes, what it refuses before anything is made, and one study from end to end."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from components import code, detectors, strategies
from components.archives import manifest
from components.errors import BadParams, UnknownName
from components.faces.table import FaceTable
from components.generations.lineage import Lineage, propose
from components.generations.recipe import Recipe
from components.lab.archive import render_archive
from components.orders import named
from components.params import Changes, Line, Params, Withdrawal, parse
from components.reports.study import RunKey
from components.tasks.dataset import Batch
from components.withdrawal import files
from flows import pipeline, study
from flows.land import land
from flows.orders import name_in
from flows.pending import ARCHIVE_STAGES, waiting
from flows.study import Study, Variant, ablations, orders, runs_of, variants_in, variants_of
from flows.withdraw import withdraw
from flows.workspace import Workspace

ROOT = Path(__file__).parents[2]
PARAMS = """\
archives:
  swaps: {layout: lab}
  reenacted: {layout: lab}
  whole: {layout: lab, role: task}
  wild: {layout: lab, role: benchmark}
sequence: [swaps, reenacted]
benchmarks: [swaps, reenacted]
lines: {}
faces: {}
validation: {}
gate:
  - {rule: infra}
"""


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """A workspace that names four archives, whose folders are there and empty: enough to refuse a study."""
    workspace = Workspace.create(tmp_path / "workspace", PARAMS)
    for name in workspace.params().archives:
        workspace.data("archives", name).mkdir(parents=True)
    return workspace


def compared(**about: Any) -> Study:
    asked = {"name": "first", "detector": "rsia_net", "variants": variants_of(["er", "cffd"])}
    return Study(**{**asked, "sequence": ("swaps", "reenacted"), "seeds": (0, 1), **about})


def perennial(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flows.cli", *words]
    environment = {**os.environ, "PERENNIAL_DEVICE": "cpu"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)


# -- which runs there are -------------------------------------------------------------------------------------------------


def test_the_given_order_comes_first_and_none_comes_twice() -> None:
    found = orders(compared(sequence=("a", "b", "c"), orders=6))
    assert found[0] == (0, ("a", "b", "c"))
    assert [number for number, _ in found] == list(range(6))
    assert {frozenset(order) for _, order in found} == {frozenset("abc")}
    assert len({order for _, order in found}) == 6


def test_more_orders_keep_those_that_were_drawn_before() -> None:
    fewer, more = (orders(compared(sequence=("a", "b", "c", "d"), orders=count)) for count in (3, 7))
    assert more[:3] == fewer


def test_more_orders_than_there_are_is_refused() -> None:
    with pytest.raises(BadParams, match="expected at most 6 orders of 3 tasks, found 7"):
        orders(compared(sequence=("a", "b", "c"), orders=7))


def test_orders_of_a_dozen_tasks_are_drawn_without_a_list_of_them_all() -> None:
    tasks = tuple("abcdefghijkl")
    fewer, more = (orders(compared(sequence=tasks, orders=count)) for count in (1, 4))
    assert fewer == [(0, tasks)] == more[:1]
    assert len({order for _, order in more}) == 4 and all(sorted(order) == list(tasks) for _, order in more)


def test_every_label_meets_every_seed_in_every_order_under_a_name_of_its_own() -> None:
    found = list(runs_of(compared(seeds=(0, 7), orders=2)))
    assert [key.line for key, _ in found] == [
        "er_s0", "er_s7", "er_s0_o1", "er_s7_o1", "cffd_s0", "cffd_s7", "cffd_s0_o1", "cffd_s7_o1",
    ]  # fmt: skip
    key, line = found[3]
    assert (key.label, key.seed, key.order) == ("er", 7, 1)
    assert (line.strategy, line.seed, line.sequence) == ("er", 7, ("reenacted", "swaps"))


def test_the_name_of_a_line_says_which_run_it_is() -> None:
    keys = [key for key, _ in runs_of(compared(seeds=(0, 17), orders=2))]
    assert [study.key_of(key.line) for key in keys] == keys
    assert study.key_of("er_s1_s2") == RunKey("er_s1_s2", "er_s1", 2)


def test_a_study_that_was_never_begun_cannot_be_pooled_with(place: Workspace) -> None:
    with pytest.raises(UnknownName, match="no study 'secnd'"):
        study.prepare(place, compared(pooled=("secnd",)))
    assert not (place.root / study.FOLDER).exists()


def test_a_seed_named_twice_is_one_run() -> None:
    assert len(list(runs_of(compared(seeds=(3, 3))))) == 2


# -- taking a strategy apart ----------------------------------------------------------------------------------------------


def params(**sections: Any) -> Params:
    """A workspace's choices, for a tiny RSIA-Net unless `sections` say otherwise."""
    raw = {"detectors": {"rsia_net": {"size": "tiny"}}, "gate": [{"rule": "infra"}], **sections}
    archives = {"archives": {"swaps": {"layout": "lab"}}, "sequence": ["swaps"], "benchmarks": ["swaps"]}
    return parse(Params, {**archives, **raw}, "params.yaml")


def recipes(strategy: str, detector: str, chosen: Params) -> dict[str, Recipe]:
    """Label -> the recipe `perennial plan` makes of each ablation."""
    variants = ablations(strategy, detector, chosen)
    asked = compared(detector=detector, variants=variants, sequence=("swaps",), seeds=(0,))
    lines = {key.label: line for key, line in runs_of(asked)}
    planned = propose(chosen.model_copy(update={"lines": lines}), Lineage(), ready={"swaps"}).recipes
    return {recipe.row.line: recipe for recipe in planned.values()}


def test_cffd_is_taken_apart_into_its_terms_the_detectors_contrast_and_the_parts_of_its_memory() -> None:
    made = recipes("cffd", "rsia_net", params())
    terms = {"soft_label", "features", "relations", "domains"}
    parts = {"hard", "representative", "diverse"}
    assert set(made) == {"cffd", "cffd_reservoir"} | {f"cffd_no_{name}" for name in terms | parts | {"hscl"}}
    whole = made["cffd"].strategy.options
    for name in terms:
        assert made[f"cffd_no_{name}"].strategy.options == {**whole, name: 0}, "that term alone"
    assert made["cffd_reservoir"].memory.policy == "reservoir"


def test_a_part_of_the_memory_that_is_gone_leaves_its_room_to_the_others_in_proportion() -> None:
    made = recipes("cffd", "rsia_net", params(memory={"hard": 0.5, "representative": 0.3}))
    shares = {part: (m.hard, m.representative, 1 - m.hard - m.representative)
              for part in ("hard", "representative", "diverse") for m in [made[f"cffd_no_{part}"].memory]}  # fmt: skip
    assert shares["hard"] == pytest.approx((0, 0.6, 0.4))
    assert shares["representative"] == pytest.approx((5 / 7, 0, 2 / 7))
    assert shares["diverse"] == pytest.approx((0.625, 0.375, 0))


@pytest.mark.parametrize(
    ("memory", "parts"),
    [
        ({"hard": 1.0, "representative": 0.0}, set()),
        ({"hard": 0.0, "representative": 0.0}, set()),
        ({"hard": 0.9, "representative": 0.1}, {"hard", "representative"}),
        ({"policy": "herding"}, set()),
    ],
)
def test_a_part_that_is_not_there_or_is_all_there_is_is_not_taken_away(memory: dict[str, Any], parts: set[str]) -> None:
    labels = set(ablations("cffd", "rsia_net", params(memory=memory)))
    assert labels & {f"cffd_no_{part}" for part in ("hard", "representative", "diverse")} == {
        f"cffd_no_{part}" for part in parts
    }
    assert ("cffd_reservoir" in labels) is ("policy" not in memory)


def test_without_hscl_no_term_contrasts_neither_the_detectors_nor_the_strategys() -> None:
    made = recipes("cffd", "rsia_net", params())
    batch = Batch.of(torch.rand(4, 3, 96, 96), torch.tensor([0, 1, 0, 1]))
    for label, expected in (("cffd", True), ("cffd_no_hscl", False)):
        recipe = made[label]
        student = detectors.build("rsia_net", detectors.options("rsia_net", recipe.detector.options))
        strategy = strategies.build("cffd", strategies.options("cffd", recipe.strategy.options))
        assert ("hscl" in strategy.losses(student, None, batch)) is expected, label


def test_where_the_detector_brings_no_contrast_cffd_loses_the_one_it_adds() -> None:
    labels = ablations("cffd", "lnclip", params())
    assert "cffd_no_contrast" in labels and "cffd_no_hscl" not in labels


def test_what_params_yaml_says_of_a_strategy_and_its_detector_is_what_is_taken_apart() -> None:
    said = params(
        detectors={"rsia_net": {"size": "tiny", "hscl_weight": 0, "training": {"epochs": 3}}},
        strategies={"cffd": {"relations": 0}},
    )
    labels = set(ablations("cffd", "rsia_net", said))
    assert "cffd_no_relations" not in labels and "cffd_no_hscl" not in labels
    assert {"cffd_no_features", "cffd_no_contrast"} <= labels


@pytest.mark.parametrize("strategy", strategies.names())
def test_every_strategy_can_be_taken_apart_into_recipes_that_can_be_followed(strategy: str) -> None:
    made = recipes(strategy, "rsia_net", params())
    assert strategy in made
    shares = {"alpha", "share", "decay"} - set(
        strategies.find(strategy).terms.values()
    )  # 0 of these is another method, not one without a term
    assert not set(made) & {f"{strategy}_no_{name}" for name in shares}


# -- what is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "kind", "said"),
    [
        ({"sequence": ("swap", "reenacted")}, UnknownName, "no archive 'swap'.*Did you mean 'swaps'"),
        ({"benchmarks": ("web",)}, UnknownName, "no archive 'web'"),
        ({"detector": "rsia"}, UnknownName, "no detector 'rsia'.*Did you mean 'rsia_net'"),
        ({"variants": variants_of(["er", "cfdd"])}, UnknownName, "no strategy 'cfdd'.*Did you mean 'cffd'"),
        ({"variants": {"My ER": Variant("er")}}, BadParams, "My ER_s0"),
        ({"variants": {}}, BadParams, "expected at least one strategy, one task and one seed"),
        ({"seeds": ()}, BadParams, "expected at least one strategy, one task and one seed"),
        ({"sequence": ()}, BadParams, "expected at least one strategy, one task and one seed"),
        ({"sequence": ("swaps", "swaps")}, BadParams, "sequence names 'swaps' twice"),
        ({"sequence": ("swaps", "wild")}, BadParams, "'wild', which landed as a benchmark"),
        ({"benchmarks": ("swaps",)}, BadParams, "'swaps', which landed as a benchmark"),
        ({"sequence": ("swaps", "whole")}, BadParams, "expected tasks that are benchmarks too, found 'whole'"),
        ({"orders": 3}, BadParams, "expected at most 2 orders"),
        ({"name": "../outside"}, BadParams, "found '../outside'"),
        (
            {"variants": {"odd": Variant("er", Changes(memory={"budgets": 5}))}},
            BadParams,
            "'odd' of study 'first': memory cannot be followed:\n  budgets: unknown key; .* Did you mean 'budget'",
        ),
        (
            {"variants": {"er": Variant("er"), "long": Variant("er", Changes(training={"epochs": "many"}))}},
            BadParams,
            "'long' of study 'first': training .*:\n  epochs: .* found 'many'",
        ),
        (
            {"variants": {"tiny": Variant("er", Changes(memory={"budget": 3}))}},
            BadParams,
            "'tiny' .*budget of at least 4",
        ),
    ],
)
def test_what_cannot_be_followed_is_refused_before_anything_is_made(
    place: Workspace, asked: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        study.run(place, compared(**asked))
    assert not (place.root / ".perennial").exists()


def test_rows_of_a_file_are_strategies_with_changes_under_labels_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "rows.yaml").write_text(
        "cffd_few: {strategy: cffd, changes: {memory: {budget: 8}}}\njoint: {strategy: joint}\n"
    )
    found = variants_in(tmp_path / "rows.yaml")
    assert found == {"cffd_few": Variant("cffd", Changes(memory={"budget": 8})), "joint": Variant("joint")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "few: {strategy: cffd, change: {}}",
            "few.change: unknown key; known: changes, strategy. Did you mean 'changes'",
        ),
        ("few: {strategy: cffd, changes: {memoryy: {}}}", "changes.memoryy: unknown key; .* Did you mean 'memory'"),
        ("'A label': {strategy: cffd}", "A label"),
        ("- cffd", "rows.yaml cannot be followed"),
        ("", "rows.yaml cannot be followed"),
        ("{", "expected YAML in .*rows.yaml"),
    ],
)
def test_a_file_of_rows_that_cannot_be_followed_says_where(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "rows.yaml").write_text(text)
    with pytest.raises(BadParams, match=said):
        variants_in(tmp_path / "rows.yaml")


@pytest.mark.parametrize("strategy", ["finetune", "joint", "er"])
def test_whatever_a_strategy_keeps_one_memory_is_said_for_all(place: Workspace, strategy: str) -> None:
    changes = Changes(memory={"budget_bytes": 10_000, "pool": 50})
    study._check(place, compared(variants={"row": Variant(strategy, changes)}))


def test_archives_whose_files_are_not_here_are_asked_for(place: Workspace) -> None:
    place.data("archives", "reenacted").rmdir()
    with pytest.raises(BadParams, match=r"expected the files of 'reenacted', found none\. Fetch them with `dvc pull`"):
        study.run(place, compared())


def test_a_study_of_which_no_run_is_finished_cannot_be_told(place: Workspace) -> None:
    Workspace.create(place.root / study.FOLDER / "first", PARAMS)
    with pytest.raises(BadParams, match="expected at least one finished run"):
        study.tell(place, compared())


def test_a_study_that_cannot_be_told_on_validation_faces_says_so_before_anything_is_raised(place: Workspace) -> None:
    old = Workspace.create(place.root / study.FOLDER / "old", PARAMS)
    with pytest.raises(BadParams, match=r"found one of an older version\. Tell study 'first' .* with --on test"):
        study._expect_validation(old, compared())
    own = Workspace.create(place.root / study.FOLDER / "first", study._params(place))
    assert own.params().evaluation.validation and not place.params().evaluation.validation
    for name, splits in (("swaps", ["train", "val"]), ("reenacted", ["train", "test"])):
        rows = pd.DataFrame({field.name: ["0", "0"] for field in manifest.SCHEMA}).assign(split=splits)
        numbers = {field.name: int for field in manifest.SCHEMA if str(field.type).startswith("int")}
        manifest.write(rows.astype(numbers), own.data("manifests", name) / manifest.MANIFEST_FILE)
    study._expect_validation(own, compared(sequence=("swaps",)))
    with pytest.raises(BadParams, match=r"expected validation clips in 'reenacted', found none: .* --on test"):
        study._expect_validation(own, compared())


def test_lines_are_added_and_those_that_are_there_stay(place: Workspace) -> None:
    study._write_lines(place, compared(seeds=(0,)))
    study._write_lines(place, compared(seeds=(1,), variants=variants_of(["er"])))
    lines = place.params().lines
    assert list(lines) == ["er_s0", "cffd_s0", "er_s1"]
    assert lines["er_s1"] == Line(detector="rsia_net", strategy="er", seed=1, sequence=("swaps", "reenacted"))
    assert place.params_file.read_text().startswith("# A study: written by `perennial study`")


def test_what_is_withdrawn_after_a_study_began_is_left_out_of_the_rest_of_it(place: Workspace) -> None:
    own = Workspace.create(place.root / study.FOLDER / "first", study._params(place))
    gone, later = Withdrawal(archive="swaps", source="133_097"), Withdrawal(archive="wild", identity="no")
    for told in ([], [gone], [gone, later], [gone, later]):
        study._leave_out(own, told)
        assert own.params().withdrawn == tuple(told)
    assert own.params_file.read_text().startswith("# A study: written by `perennial study`")


def test_a_study_that_begins_is_told_what_was_withdrawn_before(place: Workspace) -> None:
    gone = Withdrawal(archive="swaps", source="133_097")
    place.rewrite(lambda document: name_in(document, [gone]))
    own = Workspace.create(place.root / study.FOLDER / "first", study._params(place))
    assert own.params().withdrawn == (gone,)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"sequence": ("reenacted", "swaps")}, r"sequence '\('swaps', 'reenacted'\)' instead of"),
        ({"detector": "lnclip"}, "detector 'rsia_net' instead of 'lnclip'"),
        ({"variants": {"er": Variant("finetune")}}, "strategy 'er' instead of 'finetune'"),
    ],
)
def test_a_line_that_is_there_with_other_choices_is_refused_and_not_told_as_another(
    place: Workspace, other: dict[str, Any], said: str
) -> None:
    own = Workspace.create(place.root / study.FOLDER / "first", PARAMS)
    study._write_lines(own, compared())
    written = own.params_file.read_bytes()
    for refuse in (lambda asked: study._write_lines(own, asked), lambda asked: study.tell(place, asked)):
        with pytest.raises(BadParams, match=f"line 'er_s0' of study 'first' is there with other choices: .*{said}"):
            refuse(replace(compared(), **other))
    assert own.params_file.read_bytes() == written


@pytest.mark.parametrize("seeds", ["0,a", "0.5", "-1", "1;2"])
def test_seeds_that_are_no_whole_numbers_are_quoted(seeds: str) -> None:
    with pytest.raises(BadParams, match=f"expected whole numbers separated by commas, found '{seeds}'"):
        study.numbers(seeds)


def test_whole_numbers_are_read_with_or_without_blanks() -> None:
    assert study.numbers("0, 1,12") == (0, 1, 12)


def test_the_command_says_what_is_wrong_with_its_seeds_and_shows_no_traceback(place: Workspace) -> None:
    done = perennial("study", "first", "--seeds", "0,two", "-C", str(place.root))
    assert done.returncode == 1
    assert done.stderr.startswith("BadParams: expected whole numbers separated by commas, found '0,two'.")
    assert "Traceback" not in done.stderr


# -- a study from end to end ----------------------------------------------------------------------------------------------

TINY = """\
archives: {}
sequence: []
benchmarks: []
lines: {}
faces: {size_px: 96, frames: 2}
validation: {min_per_class: 2}
detectors:
  rsia_net: {size: tiny, trunk: small, width: 8, input_px: 96}
memory: {budget: 8}
training: {founder_epochs: 1, epochs: 1, batch: 8, faces_per_clip: 2}
evaluation: {bootstrap: 20}
gate:
  - {rule: infra}
"""


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which two archives of the lab landed, eight people each; nothing was made of them."""
    root = tmp_path_factory.mktemp("study")
    workspace = Workspace.create(root / "workspace", TINY)
    pipeline.start(workspace.root)
    for number, (name, family) in enumerate({"swaps": "identity_swap", "reenacted": "reenactment"}.items()):
        about = {"people": 8, "clips_per_person": 1, "frames": 2, "size_px": 112, "seed": number}
        render_archive(root / name, families=[family], first_person=8 * number, **about)
        land(workspace, name, str(root / name), layout="lab")
    return workspace


@pytest.mark.slow
def test_a_study_runs_is_told_on_either_split_continues_with_nothing_and_grows_by_a_grid(
    parent: Workspace, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", prefect_server)  # one server for all that is started here
    about = ("study", "small", "-C", str(parent.root))
    done = perennial(*about, "--strategies", "finetune,cffd", "--seeds", "0")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    reports = parent.root / "reports" / "studies" / "small"
    report = reports / "validation"
    assert str(report) in done.stdout
    assert {path.name for path in report.iterdir()} == {"study.json", "stages.csv", "table.md", "study.png"}
    told = json.loads((report / "study.json").read_text())
    assert (told["split"], told["labels"]) == ("validation", ["finetune", "cffd"])
    assert told["differences"]["finetune"]["runs"] == [1, 1]
    assert told["commits"].keys() == {code.commit() or ""}
    assert all(run["cost"]["seconds"] > 0 and run["cost"]["images"] > 0 for run in told["runs"])
    with (report / "stages.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 4 and {row["split"] for row in rows} == {"validation"}
    assert all(0 <= float(row[score]) <= 1 for row in rows for score in ("auc", "acc")), "every cell of R is filled"
    assert parent.lineage() == Lineage(), "the workspace itself has raised nobody"

    own = Workspace.at(parent.root / study.FOLDER / "small")
    same = compared(name="small", variants=variants_of(["finetune", "cffd"]), seeds=(0,))
    before, locked = (report / "study.json").read_bytes(), (own.root / "dvc.lock").read_bytes()
    assert study.run(parent, same) == (report, None), "nothing is left to do"
    assert ((report / "study.json").read_bytes(), (own.root / "dvc.lock").read_bytes()) == (before, locked)

    tested = study.tell(parent, same, "test")
    assert tested == reports / "test" and "**test** split" in (tested / "table.md").read_text()
    assert "**validation** split" in (report / "table.md").read_text(), "both are kept"
    scores = own.data("scores", "cffd_s0-M2")
    of_test = json.loads((tested / "study.json").read_text())["runs"][1]["auc"][-1]
    for split, folder, last in (("test", scores, of_test), ("val", scores / "validation", told["runs"][1]["auc"][-1])):
        clips = pd.read_parquet(folder / "swaps.parquet")["clip"]
        rows = FaceTable.load(own.data("faces", "swaps")).rows
        assert set(clips) == set(rows.loc[rows["split"] == split, "clip"])
        measured = json.loads((folder / "metrics.json").read_text())["benchmarks"]
        assert last == [measured[name]["auc"]["value"] for name in ("swaps", "reenacted")]

    asked = [(run.entry.label, run.entry.seed) for run in study.finished_of(parent, "small", "test")]
    assert asked == [("finetune", 0), ("cffd", 0)], "another study can be pooled with all of them"

    tuned = ("tune", "small", "-C", str(parent.root), "--strategy", "finetune", "--grid", "training.epochs=1,2")
    done = perennial(*tuned)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads((reports / "tune.json").read_text())
    assert {point["label"]: point["values"] for point in found["points"]} == {
        "finetune": {"training.epochs": 1},
        "finetune_epochs_2": {"training.epochs": 2},
    }
    assert all(point["runs"] == 1 and 0 <= point["mean"] <= 1 for point in found["points"])
    assert found["points"][0]["label"] == found["chosen"]
    assert parent.params().training.epochs == 1, "nothing is changed by itself"
    earlier, now = (yaml.safe_load(lock)["stages"] for lock in (locked, (own.root / "dvc.lock").read_bytes()))
    assert {name: now[name] for name in earlier} == earlier, "what was raised before was not raised again"
    raised = {name.split("@")[1] for name in now.keys() - earlier.keys()}
    assert raised == {"finetune_epochs_2_s0-M1", "finetune_epochs_2_s0-M2", "finetune_epochs_2_s0"}


def faces_of(workspace: Workspace, name: str) -> FaceTable:
    """The faces that the stages of an archive leave, all of them brought up to date."""
    for stage in ARCHIVE_STAGES:
        pipeline.reproduce(workspace.root, f"{stage}@{name}", timeout_s=600)
    return FaceTable.load(workspace.data("faces", name))


@pytest.mark.slow
def test_a_new_study_never_gets_the_faces_back_that_were_cut_before_they_were_withdrawn(
    parent: Workspace, tmp_path: Path
) -> None:
    parent = Workspace.at(shutil.copytree(parent.root, tmp_path / "parent", symlinks=True))
    before = faces_of(parent, "swaps")
    assert waiting(parent) == ("reenacted",)
    asked = compared(sequence=("swaps",), variants=variants_of(["er"]), seeds=(0,))
    again = faces_of(study.prepare(parent, replace(asked, name="earlier")), "swaps")
    assert again.digest == before.digest, "what nobody asked about comes from the cache or is cut alike"
    source = before.rows["source"].iloc[0]
    withdraw(parent, named("swaps", source=source), why="asked by letter", say=lambda words: None)
    assert waiting(parent) == ("swaps", "reenacted"), "nobody learned it yet, so it is cut anew"
    for name in ("earlier", "later"):  # one that was prepared before, one that is new
        own = study.prepare(parent, replace(asked, name=name))
        files.resolve(own.data(), own.params(), own.lineage())  # as its lifecycle begins
        left = faces_of(own, "swaps")
        assert source not in set(left.rows["source"])
        assert 0 < len(left) < len(before)
