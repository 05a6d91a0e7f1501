"""Protocols by name: what their files say is what generations are raised by, counted by and compared with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from components import protocols
from components.archives import manifest
from components.errors import BadParams, UnknownName
from components.evaluation.foreign import Imported
from components.evaluation.scores import COLUMNS, Scores
from components.faces.table import FaceTable, encode
from components.generations.lineage import Lineage, propose
from components.generations.recipe import Recipe
from components.params import Params, Withdrawal, parse
from components.protocols import Protocol
from components.reports import foreign
from components.reports import protocol as report
from components.reports.study import Run, RunKey, tell
from components.tasks import few
from components.tasks.dataset import Faces
from flows import parts, study
from flows import protocols as flow
from flows.study import Study, Variant
from flows.workspace import Workspace

EVERY = protocols.names()
FF = ("deepfakes", "face2face", "faceswap", "neuraltextures")
EASY = ("gaugan", "biggan", "cyclegan", "imle", "deepfake", "crn", "wild")
ORDERS = {
    "cffd_forgeries": FF,
    "cffd_datasets": ("ffpp", "dfdcp", "cdf2"),
    "dfil": ("ffpp", "dfdcp", "dfd", "cdf2"),
    "sur_lid_p1": ("sdv21", "ffpp", "dfdcp", "cdf2"),
    "sur_lid_p2": ("hybrid", "mcnet", "blendface", "stylegan3"),
    "hdp_forgeries": FF,
    "hdp_datasets": ("ffpp", "cdf2", "wilddeepfake", "dfdc"),
    "msfd_di": ("ffpp", "dfd", "cdf2", "dfdcp", "ffiw", "kodf"),
    "msfd_fsi": ("ffpp", "dfdcp", "dfd", "cdf2"),
    "cddb_easy": tuple(f"cddb_{task}" for task in EASY),
    "cddb_hard": tuple(f"cddb_{task}" for task in ("gaugan", "biggan", "wild", "whichfaceisreal", "san")),
    "cddb_long": tuple(f"cddb_{task}" for task in (*EASY, "glow", "stargan_gf", "stylegan", "whichfaceisreal", "san")),
}
PARAMS = {
    "sequence": [],
    "benchmarks": [],
    "lines": {},
    "faces": {"frames": 16, "size_px": 96},
    "validation": {},
    "detectors": {"rsia_net": {"size": "tiny", "training": {"epochs": 3, "learning_rate": 0.5}}},
    "memory": {"budget_bytes": 1_000_000},
    "gate": [{"rule": "infra"}],
}
every_protocol = pytest.mark.parametrize("name", EVERY)


def place_with(root: Path, archives: dict[str, str]) -> Workspace:
    """A workspace that names archives, by layout, of which only the manifests are there: enough to plan."""
    sections = {"archives": {name: {"layout": layout} for name, layout in archives.items()}, **PARAMS}
    workspace = Workspace.create(root / "workspace", yaml.safe_dump(sections))
    for name in archives:
        workspace.data("archives", name).mkdir(parents=True)
    return workspace


def ready_for(name: str, root: Path) -> Workspace:
    said = protocols.read(name)
    workspace = place_with(root, {archive: wanted.layout for archive, wanted in said.archives.items()})
    for task in said.tasks:
        if task.methods:
            methods = [m.lower() for other in said.tasks if other.archive == task.archive for m in other.methods]
            stand_in_manifest(workspace.data("manifests", task.archive), methods)
    return workspace


def stand_in_manifest(folder: Path, methods: list[str]) -> None:
    about = {"sha256": "0", "label": 1, "identity": "", "source": "s", "split": "train", "kind": "clip"}
    rows = pd.DataFrame({"path": methods, "method": methods}).assign(**about, frames=1, width=96, height=96)
    manifest.write(rows, folder / manifest.MANIFEST_FILE)


def asked(**about: Any) -> Study:
    variants = {"cffd": Variant("cffd"), "finetune": Variant("finetune")}
    return Study(
        **{"name": "first", "detector": "rsia_net", "variants": variants, "sequence": (), "seeds": (0,), **about}
    )


def planned(workspace: Workspace, chosen: Study) -> dict[str, Recipe]:
    """The recipes of the first line of the study's own workspace, by task, in the order of birth."""
    study._check(workspace, chosen)
    raw = yaml.safe_load(study._cut(study._params(workspace), chosen.faces))
    tasks = list(chosen.sequence)
    raw |= {"archives": {task: {"layout": "crops"} for task in tasks}, "sequence": tasks, "benchmarks": tasks}
    raw["lines"] = {key.line: line.model_dump(mode="json", exclude_unset=True) for key, line in study.runs_of(chosen)}
    recipes = propose(parse(Params, raw, "study"), Lineage(), ready=set(tasks)).recipes.values()
    return {recipe.row.learns: recipe for recipe in recipes if recipe.row.line == "cffd_s0"}


# -- the files ------------------------------------------------------------------------------------------------------------


def test_the_list_is_that_of_the_orders_below() -> None:
    assert set(EVERY) == set(ORDERS)


@every_protocol
def test_a_reported_row_names_its_source_and_stays_within_what_a_share_can_be(name: str) -> None:
    for row in protocols.read(name).reported:
        assert row.source and 0.4 < row.average < 1, row
        assert row.forgetting is None or -0.1 < row.forgetting < 0.6, row


def test_rows_of_another_papers_table_say_which() -> None:
    by_row = {row.row: row for row in protocols.read("dfil").reported}
    assert by_row["DFIL"].through.startswith("DevFD") and not by_row["DevFD"].through
    assert all(row.through for name in ("msfd_di", "msfd_fsi") for row in protocols.read(name).reported)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size_px": None}, "'size_px' is null, and unknown does not say so"),
        (
            {"test": {"frames": 4, "metric": "auc", "over": "clips", "mean": "tasks"}},
            "expected learn.frames of 4 at most",
        ),
        ({"tasks": [{"name": "a", "archive": "b"}]}, "task 'a' is of archive 'b', which is not listed"),
        ({"unknown": {"network": "who knows"}}, "unknown names 'network', which is stated"),
        (
            {"reported": [{"row": "x", "average": 0.9, "tasks": [0.9], "source": "y"}]},
            "row 'x' has 1 values for 4 tasks",
        ),
    ],
)
def test_a_file_that_contradicts_itself_or_hides_what_it_does_not_know_is_refused(change: Any, said: str) -> None:
    raw = protocols.read("sur_lid_p1").model_dump(mode="json", exclude_unset=True)
    with pytest.raises(BadParams, match=said):
        parse(Protocol, {**raw, **change}, "a protocol")


# -- what generations are raised by ---------------------------------------------------------------------------------------


@every_protocol
def test_order_frames_few_shot_counts_memory_and_epochs_of_every_recipe_are_those_of_the_file(
    name: str, tmp_path: Path
) -> None:
    said, workspace = protocols.read(name), ready_for(name, tmp_path)
    chosen = flow.applied(workspace, asked(), name)
    recipes = planned(workspace, chosen)
    assert tuple(recipes) == ORDERS[name]
    for task in said.tasks:
        assert chosen.of(task.name).archive == task.archive and chosen.of(task.name).methods == task.methods
    everything = {"founder_clips_per_class": None, "clips_per_class": None, "frames_per_clip": None}
    for recipe in recipes.values():
        assert (recipe.faces.frames, recipe.faces.size_px) == (said.test.frames or 16, said.size_px or 96)
        learned = recipe.training.model_dump()
        own = {"epochs": 3, "learning_rate": 0.5}
        assert {key: learned[key] for key in everything | own | said.training} == everything | own | said.training
        budget = said.memory.budget
        assert (recipe.memory.budget, recipe.memory.per_task) == (budget or 500, said.memory.per_task or False)
        assert recipe.memory.budget_bytes == (1_000_000 if budget is None else None)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> FaceTable:
    """Faces of 230 genuine and 230 forged training clips: one of 32 frames, the others of two."""
    clips = [
        (f"{kind}/{n}.mp4", label, 2 if n else 32) for label, kind in enumerate(("real", "fake")) for n in range(230)
    ]
    rows = pd.DataFrame(
        [(clip, label, frame) for clip, label, frames in clips for frame in range(frames)],
        columns=["clip", "label", "frame"],
    )
    rows = rows.assign(archive="any", method="", identity="", source=rows["clip"], split="train", score=1.0)
    rows = rows.assign(landmarks=[[0.0] * 10] * len(rows), box=[[0.0] * 4] * len(rows))
    one = encode(np.zeros((4, 4, 3), np.uint8))
    return FaceTable.write(tmp_path_factory.mktemp("faces") / "any", rows, [one] * len(rows), {})


@every_protocol
def test_a_generation_learns_from_as_many_clips_and_frames_as_the_file_says(
    name: str, table: FaceTable, tmp_path: Path
) -> None:
    said, workspace = protocols.read(name), ready_for(name, tmp_path)
    recipes = list(planned(workspace, flow.applied(workspace, asked(), name)).values())
    task = Faces.training_split("any", table)
    stated = [said.learn.founder_clips_per_class, *[said.learn.clips_per_class] * (len(recipes) - 1)]
    for recipe, count in zip(recipes, stated, strict=True):
        rows = few.learned(task, recipe.training, founder=recipe.row.is_founder).rows
        clips = 230 if count in (None, "all") else count
        assert rows.groupby("label")["clip"].nunique().tolist() == [clips, clips]
        most = max(rows.groupby("clip").size())
        assert most <= (said.learn.frames or 32)
    whole = few.learned(task, recipes[0].training, founder=True).rows
    assert (whole["clip"] == "real/0.mp4").sum() == (
        said.learn.frames or 32
    ) or said.learn.founder_clips_per_class == 200


def test_what_a_variant_changes_stays_its_own_under_a_protocol(tmp_path: Path) -> None:
    workspace = ready_for("dfil", tmp_path)
    whole = flow.applied(workspace, asked(variants=study.ablations("cffd", "rsia_net", workspace.params())), "dfil")
    assert whole.variants["cffd_reservoir"].changes.memory["policy"] == "reservoir"
    assert whole.variants["cffd_reservoir"].changes.memory["budget"] == 500
    assert all(variant.changes.training["clips_per_class"] == 25 for variant in whole.variants.values())


# -- what is missing ------------------------------------------------------------------------------------------------------


def test_archives_that_have_not_landed_are_listed_with_how_to_land_them_and_nothing_changes(tmp_path: Path) -> None:
    workspace = place_with(tmp_path, {"ffpp": "faceforensics"})
    before = workspace.params_file.read_bytes()
    with pytest.raises(
        BadParams, match=r"(?s)found 3 missing.*perennial land dfdcp PATH --layout dfdc_preview.*nothing was changed"
    ):
        flow.applied(workspace, asked(), "dfil")
    assert workspace.params_file.read_bytes() == before and not (workspace.root / ".perennial").exists()


def test_a_method_the_archive_landed_without_is_missing_too(tmp_path: Path) -> None:
    workspace = place_with(tmp_path, {"ffpp": "faceforensics"})
    stand_in_manifest(workspace.data("manifests", "ffpp"), ["Deepfakes", "Face2Face", "NeuralTextures"])
    with pytest.raises(BadParams, match="a method of 'ffpp' for task 'faceswap': no method 'FaceSwap'"):
        flow.applied(workspace, asked(), "hdp_forgeries")


def test_every_protocol_is_listed_as_ready_or_with_what_it_lacks(tmp_path: Path) -> None:
    told = flow.listed(ready_for("cffd_datasets", tmp_path))
    assert "ready: perennial study NAME --protocol cffd_datasets" in told
    assert "missing 'kodf', KoDF: `perennial land kodf PATH --layout kodf`" in told
    assert all(f"{name}: " in told for name in EVERY)


def test_a_name_nobody_knows_and_an_order_of_ones_own_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"no protocol 'dfill'.*Did you mean 'dfil'"):
        flow.applied(place_with(tmp_path, {}), asked(), "dfill")
    with pytest.raises(BadParams, match="expected no --sequence beside --protocol"):
        flow.expect_no_order("a,b")


def test_a_study_that_began_with_other_faces_is_not_continued_under_a_protocol(tmp_path: Path) -> None:
    workspace = ready_for("sur_lid_p1", tmp_path)
    own = Workspace.create(workspace.root / study.FOLDER / "first", study._params(workspace))
    chosen = flow.applied(workspace, asked(), "sur_lid_p1")
    with pytest.raises(BadParams, match="began with other faces: frames 16 instead of 32, size_px 96 instead of 256"):
        study._refuse_other_faces(own, chosen)


def test_what_is_withdrawn_from_an_archive_is_withdrawn_from_its_parts(tmp_path: Path) -> None:
    workspace = ready_for("cffd_forgeries", tmp_path)
    among = flow.applied(workspace, asked(), "cffd_forgeries").parts
    orders = parts.renamed([Withdrawal(archive="ffpp", source="1"), Withdrawal(archive="dfd", source="1")], among)
    assert [(order.archive, order.source) for order in orders] == [(task, "1") for task in FF]


# -- what is told ---------------------------------------------------------------------------------------------------------


def raised(folder: Path, label: str, tasks: tuple[str, ...], seed: int = 0, fakes: int = 4) -> Run:
    """A run whose last scores rank clips well and single faces worse; the first task has twice as many clips."""
    tables = {}
    folder.mkdir(parents=True, exist_ok=True)
    for number, task in enumerate(tasks):
        count = fakes * (2 if number == 0 else 1)
        rows = [
            (
                task,
                f"{n}_{label_of}",
                frame,
                f"s{n}",
                "",
                "x",
                label_of,
                0.3 + 0.2 * label_of + (0.3 if frame else -0.25),
            )
            for n in range(count)
            for label_of in (0, 1)
            for frame in (0, 1)
        ]
        tables[task] = folder / f"{label}_{seed}_{task}.parquet"
        pd.DataFrame(rows, columns=COLUMNS).to_parquet(tables[task])
    square = np.full((len(tasks), len(tasks)), 0.9)
    last = Scores(f"{label}_s{seed}-M{len(tasks)}", "0", {}, tables)
    names = tuple(f"{label}_s{seed}-M{i + 1}" for i in range(len(tasks)))
    return Run(RunKey(f"{label}_s{seed}", label, seed), names, tasks, square, square, last, 0, 0, 0, 0, None)


@every_protocol
def test_the_table_has_the_metric_of_the_file_over_what_it_counts_and_names_both_means(
    name: str, tmp_path: Path
) -> None:
    said = protocols.read(name)
    runs = [raised(tmp_path, label, said.sequence) for label in ("finetune", "dfil")]
    path = report.tell(name, said, runs, lambda kind, which: tmp_path / "none" / which, tmp_path / "out",
                       archives={}, resamples=40)  # fmt: skip
    told, words = json.loads((tmp_path / "out" / "protocol.json").read_text()), path.read_text()
    metric, over = said.test.metric or "auc", said.test.over or "clips"
    assert (told["measured"]["dfil"]["metric"], told["measured"]["dfil"]["over"]) == (metric, over)
    assert f"average {metric.upper()} over {over}, tasks alike" in words and f"by the number of {over}" in words
    expected = {("auc", "clips"): 1.0, ("acc", "clips"): 1.0, ("acc", "faces"): 0.5}[metric, over]
    assert told["measured"]["dfil"]["final"][said.sequence[0]] == pytest.approx(expected)
    assert told["measured"]["dfil"]["counted"][said.sequence[0]] == (16 if over == "clips" else 32)
    rows = {row["row"]: row for row in told["beside"]}
    for row in said.reported:
        gap = expected - row.average if row.strategy in ("finetune", "dfil") else None
        assert rows[row.row]["difference"] == (None if gap is None else pytest.approx(gap))
        assert (f"through {row.through}" in words) or not row.through
    for fact in said.unknown:
        assert fact in words


def test_both_means_differ_where_tasks_are_of_other_sizes_and_the_interval_holds_the_mean(tmp_path: Path) -> None:
    said = protocols.read("cffd_datasets")
    good, poor = raised(tmp_path, "er", said.sequence), dict(raised(tmp_path, "er", said.sequence).last.tables)
    rows = pd.read_parquet(poor["ffpp"])
    rows.loc[rows["source"].isin(["s0", "s1"]), "p_fake"] = 0.1
    rows.to_parquet(poor["ffpp"])
    found = report.measure(said, [good], lambda kind, name: tmp_path / "none" / name, {}, 200)
    assert found["final"]["ffpp"] == pytest.approx(0.875)
    assert found["images"]["average"] < found["tasks"]["average"] < 1
    assert found["images"]["low"] < found["images"]["average"] < found["images"]["high"]


def test_sources_of_one_archive_are_drawn_once_for_all_of_its_parts(tmp_path: Path) -> None:
    said = protocols.read("cffd_forgeries")
    run = raised(tmp_path, "er", said.sequence)
    for path in run.last.tables.values():
        rows = pd.read_parquet(path)
        rows.loc[rows["source"].isin(["s0"]), "p_fake"] = 0.1
        rows.to_parquet(path)
    apart, together = (
        report.measure(said, [run], lambda kind, name: tmp_path / "none" / name, archives, 400)["tasks"]
        for archives in ({}, dict.fromkeys(said.sequence, "ffpp"))
    )
    assert together["high"] - together["low"] > apart["high"] - apart["low"]


def test_a_foreign_line_stands_in_both_tables_with_its_difference_and_without_a_past(tmp_path: Path) -> None:
    said = protocols.read("cffd_datasets")
    ours = raised(tmp_path, "cffd", said.sequence)
    tables = {task: Imported(pd.read_parquet(path).query("frame == 0").assign(frame=-1), (), ())
              for task, path in ours.last.tables.items()}  # fmt: skip
    foreign.write(tmp_path / "foreign" / "xception", "xception", tables, dict.fromkeys(tables, "0"))
    (theirs,) = foreign.read_runs(tmp_path / "foreign", said.sequence, seed=0)
    told = tell([ours, theirs], tmp_path / "study", reference="cffd")
    assert told["differences"]["xception"]["difference"] == pytest.approx(0.9 - 1.0)
    assert told["means"]["xception"]["cost"] == dict.fromkeys(
        ("seconds", "images", "exemplars", "memory_bytes", "stored_bytes")
    )
    assert told["means"]["xception"]["bwt"]["mean"] is None
    row = next(
        line for line in (tmp_path / "study" / "table.md").read_text().splitlines() if line.startswith("| xception")
    )
    assert "1.000" in row and "0.500" in row and "–" in row
    report.tell("cffd_datasets", said, [ours, theirs], lambda kind, name: tmp_path / "none" / name, tmp_path / "out",
                archives={}, resamples=40)  # fmt: skip
    measured = json.loads((tmp_path / "out" / "protocol.json").read_text())["measured"]
    assert measured["xception"]["final"] == dict.fromkeys(said.sequence, 0.5)
    assert measured["xception"]["forgetting"] is None


def test_a_table_needs_a_run_in_the_order_of_the_protocol(tmp_path: Path) -> None:
    said = protocols.read("dfil")
    other = raised(tmp_path, "er", said.sequence[::-1])
    with pytest.raises(BadParams, match="expected a finished run in the order of protocol 'dfil', found none"):
        report.tell("dfil", said, [other], lambda kind, name: tmp_path, tmp_path / "out", archives={})
