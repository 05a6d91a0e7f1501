"""A study told: means over runs, differences with a test, costs; what is unknown stays unknown, the bytes stay the same."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from components.errors import BadParams, BrokenLineage
from components.evaluation import MATRIX_FILE
from components.evaluation.calibration import Calibration
from components.evaluation.estimate import Estimate
from components.evaluation.matrix import Matrix
from components.evaluation.metrics import METRICS
from components.evaluation.operating_point import OperatingPoint
from components.evaluation.scores import COLUMNS, METRICS_FILE, Scores
from components.generations.card import CARD, CARRY_OVER, write_card
from components.memory import EXEMPLARS
from components.reports.study import COLOURS, Run, RunKey, differences, read_run, table, tell

GOOD = [[0.9, 0.6], [0.8, 0.95]]  # average 0.875, forgets 0.1
POOR = [[0.8, 0.5], [0.4, 0.85]]  # average 0.625, forgets 0.4
TASKS = ("swap", "mesh")
WRITTEN = ("study.json", "stages.csv", "table.md", "study.png")
Raise = Callable[..., Run]


@pytest.fixture
def raised(tmp_path: Path) -> Raise:
    """``raised("er", R)``: a run, and the scores of its last generation, which is `certain` of every clip or guesses."""

    def make(label: str, auc: Any, *, seed: int = 0, order: int = 0, tasks: Iterable[str] = TASKS, **about: Any) -> Run:
        tasks, entry = tuple(tasks), RunKey(f"{label}_s{seed}_o{order}", label, seed, order)
        certain, sources = about.pop("certain", True), about.pop("sources", 40)
        folder = tmp_path / "scores" / entry.line
        folder.mkdir(parents=True)
        tables = {task: scored(folder / f"{task}.parquet", task, certain, sources) for task in tasks}
        square = np.array(auc, dtype=np.float64)
        costs = {
            "images": 100, "exemplars": 20, "memory_bytes": 1_500_000, "stored_bytes": 2_000_000, "seconds": 30.0,
        } | about  # fmt: skip
        last = Scores(f"{entry.line}-M2", "0", {}, tables)
        names = tuple(f"{entry.line}-M{i + 1}" for i in range(len(tasks)))
        return Run(entry, names, tasks, square, square - 0.1, last, **costs)

    return make


def scored(path: Path, task: str, certain: bool, sources: int) -> Path:
    """One genuine and one forged clip of two faces for each of 40 people, who share `sources` sources."""
    chance = np.random.default_rng(0)
    rows = []
    for person in range(40):
        for label in (0, 1):
            p = 0.2 + 0.6 * label if certain else chance.random()
            clip, source, method = f"{person}_{label}.mp4", f"s{person % sources}", "swap" if label else "genuine"
            rows += [(task, clip, frame, source, "", method, label, p) for frame in (0, 1)]
    pd.DataFrame(rows, columns=COLUMNS).to_parquet(path)
    return path


def strictly(path: Path) -> Any:
    """JSON without the words that only some readers understand."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{path.name} holds {word}, which is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def rows_of(markdown: str) -> dict[str, dict[str, str]]:
    """Label -> column -> cell, of every table in it."""
    found: dict[str, dict[str, str]] = {}
    for block in (block for block in markdown.strip().split("\n\n") if block.startswith("|")):
        head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines())
        for row in rows:
            found.setdefault(row[0], {}).update(zip(head, row, strict=True))
    return found


# -- what is written ------------------------------------------------------------------------------------------------------


def test_a_study_is_written_as_data_cells_a_table_and_a_figure(raised: Raise, tmp_path: Path) -> None:
    runs = [raised("cffd", GOOD), raised("finetune", POOR)]
    told = tell(runs, tmp_path / "report", reference="cffd")
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == sorted(WRITTEN)
    assert strictly(tmp_path / "report" / "study.json") == told
    assert told["labels"] == ["cffd", "finetune"]
    assert told["runs"][0]["auc"] == GOOD and told["runs"][0]["tasks"] == list(TASKS)
    assert list(rows_of((tmp_path / "report" / "table.md").read_text())) == ["cffd", "finetune"]
    with Image.open(tmp_path / "report" / "study.png") as figure:
        assert len(np.unique(np.asarray(figure.convert("L")))) > 20, "more than an empty page"


def test_every_cell_of_R_is_one_row(raised: Raise, tmp_path: Path) -> None:
    tell([raised("cffd", GOOD), raised("cffd", POOR, seed=1)], tmp_path, reference="cffd")
    with (tmp_path / "stages.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 4
    assert rows[2] == {
        "label": "cffd", "seed": "0", "order": "0", "stage": "2", "learned": "mesh", "task": "swap",
        "auc": "0.800000", "acc": "0.700000", "split": "test",
    }  # fmt: skip


def test_the_same_runs_write_the_same_bytes(raised: Raise, tmp_path: Path) -> None:
    runs = [raised("cffd", GOOD), raised("cffd", POOR, seed=1), raised("er", POOR, certain=False)]
    for folder in ("one", "two"):
        tell(runs, tmp_path / folder, reference="cffd")
    for name in WRITTEN:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_of_nothing_there_is_nothing_to_tell(tmp_path: Path) -> None:
    with pytest.raises(BadParams, match="expected at least one finished run"):
        tell([], tmp_path / "report", reference="cffd")
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("count", [1, len(COLOURS) + 3])
def test_any_number_of_strategies_can_be_drawn(raised: Raise, tmp_path: Path, count: int) -> None:
    runs = [raised(f"label{number}", POOR, seed=seed) for number in range(count) for seed in (0, 1)]
    told = tell(runs, tmp_path, reference="none of them")
    assert len(told["labels"]) == count
    with Image.open(tmp_path / "study.png") as figure:
        figure.verify()


# -- means over runs ------------------------------------------------------------------------------------------------------


def test_means_and_deviations_are_over_runs_with_n_minus_1(raised: Raise, tmp_path: Path) -> None:
    runs = [raised("cffd", GOOD), raised("cffd", POOR, seed=1)]
    mean = tell(runs, tmp_path, reference="cffd")["means"]["cffd"]
    by_hand = {
        "average": (0.75, 0.25),
        "average_acc": (0.65, 0.25),
        "average_incremental": ((0.8875 + 0.7125) / 2, 0.175),
        "forgetting_since_learned": (0.25, 0.3),
        "bwt": (-0.25, 0.3),
        "fwt": (0.05, 0.1),
        "anti_forgetting": (0.6, 0.4),
        "plasticity": (0.875, 0.1),
    }
    for name, (middle, apart) in by_hand.items():
        assert mean[name]["mean"] == pytest.approx(middle), name
        assert mean[name]["sd"] == pytest.approx(apart / math.sqrt(2)), (
            name
        )  # of two values: their distance over root 2
    assert mean["final_auc"]["swap"]["mean"] == pytest.approx(0.6)
    assert mean["runs"] == 2
    assert "0.750 ± 0.177" in (tmp_path / "table.md").read_text()


def test_one_run_has_no_deviation(raised: Raise, tmp_path: Path) -> None:
    told = tell([raised("cffd", GOOD)], tmp_path, reference="cffd")
    assert told["means"]["cffd"]["average"] == {"mean": pytest.approx(0.875), "sd": None}
    assert rows_of(table(told))["cffd"]["average AUC"] == "0.875"


def test_costs_are_means_and_time_is_unknown_where_one_run_was_not_clocked(raised: Raise, tmp_path: Path) -> None:
    runs = [
        raised("cffd", GOOD, seconds=10.0, images=100, stored_bytes=1_000_000),
        raised("cffd", GOOD, seed=1, seconds=30.0, images=300, stored_bytes=3_500_000),
        raised("er", GOOD, seconds=10.0),
        raised("er", GOOD, seed=1, seconds=None),
    ]
    rows = rows_of(table(tell(runs, tmp_path, reference="cffd")))
    costs = ("seconds a run", "images seen", "exemplars", "MB of exemplars", "MB handed down")
    assert [rows["cffd"][name] for name in costs] == ["20", "200", "20", "1.50", "2.25"]
    assert rows["er"]["seconds a run"] == "–"


def test_runs_in_different_orders_share_a_table_in_which_a_task_keeps_its_name(raised: Raise, tmp_path: Path) -> None:
    there = raised("cffd", GOOD)
    back = raised("cffd", GOOD, order=1, tasks=reversed(TASKS))
    told = tell([there, back], tmp_path, reference="cffd")
    final = told["means"]["cffd"]["final_auc"]
    assert {task: over["mean"] for task, over in final.items()} == pytest.approx({"swap": 0.875, "mesh": 0.875})
    assert [run["tasks"] for run in told["runs"]] == [["swap", "mesh"], ["mesh", "swap"]]
    assert rows_of(table(told))["cffd"]["runs"] == "2"


def test_the_gap_to_joint_is_what_joint_knows_more(raised: Raise, tmp_path: Path) -> None:
    runs = [raised("cffd", POOR), raised("joint", GOOD)]
    rows = rows_of(table(tell(runs, tmp_path, reference="cffd")))
    assert rows["cffd"]["gap to joint"] == "0.250"
    assert rows["joint"]["gap to joint"] == "0.000"


def test_without_joint_there_is_no_gap(raised: Raise, tmp_path: Path) -> None:
    runs = [raised("cffd", POOR), raised("er", GOOD)]
    rows = rows_of(table(tell(runs, tmp_path, reference="cffd")))
    assert {row["gap to joint"] for row in rows.values()} == {"–"}


def test_a_benchmark_nobody_learned_has_a_column_and_a_run_without_it_leaves_a_dash(
    raised: Raise, tmp_path: Path
) -> None:
    runs = [
        raised("cffd", GOOD, unseen={"diffusion": Estimate(0.71)}),
        raised("cffd", GOOD, seed=1, unseen={"diffusion": Estimate(0.73)}),
        raised("er", GOOD),
    ]
    told = tell(runs, tmp_path, reference="cffd")
    rows = rows_of(table(told))
    assert (rows["cffd"]["diffusion (unseen)"], rows["er"]["diffusion (unseen)"]) == ("0.720", "–")
    assert told["means"]["er"]["unseen_auc"]["diffusion"]["reason"] == "not every run was examined on it"
    assert told["means"]["cffd"]["average"]["mean"] == pytest.approx(0.875), "what was not learned is in no average"


# -- what is not known ----------------------------------------------------------------------------------------------------


def test_a_score_nobody_measured_is_null_with_a_reason_and_no_number_anywhere(raised: Raise, tmp_path: Path) -> None:
    torn = [[0.9, float("nan")], [float("nan"), 0.9]]
    tell([raised("cffd", GOOD), raised("er", torn)], tmp_path, reference="cffd")
    told = strictly(tmp_path / "study.json")
    assert told["runs"][1]["auc"] == [[0.9, None], [None, 0.9]]
    missing = "1 of the 2 scores in this mean were not measured"
    assert told["runs"][1]["metrics"]["auc"]["average"] == {"value": None, "reason": missing}
    assert told["means"]["er"]["average"] == {"mean": None, "sd": None, "reason": missing}
    assert told["means"]["er"]["final_auc"]["swap"]["reason"] == "'er_s0_o0-M2' was not examined on 'swap'"
    difference = told["differences"]["er"]
    assert difference == {
        "difference": None, "reason": "a score it needs is undefined", "runs": [1, 1], "streams": 1,
    }  # fmt: skip
    row = rows_of((tmp_path / "table.md").read_text())["er"]
    assert [row[name] for name in ("swap", "mesh", "average AUC", "cffd leads by", "p")] == [
        "–", "0.900", "–", "–", "–",
    ]  # fmt: skip
    assert "nan" not in (tmp_path / "table.md").read_text() + (tmp_path / "stages.csv").read_text()
    assert "er,0,0,1,swap,mesh,,,test\n" in (tmp_path / "stages.csv").read_text()


def test_after_one_task_nothing_can_be_forgotten_yet(raised: Raise, tmp_path: Path) -> None:
    told = tell([raised("cffd", [[0.9]], tasks=["swap"])], tmp_path, reference="cffd")
    assert told["means"]["cffd"]["forgetting_since_learned"]["reason"] == "only one task has been learned"
    assert rows_of(table(told))["cffd"]["forgetting"] == "–"


# -- differences ----------------------------------------------------------------------------------------------------------


def test_a_difference_is_that_of_the_means_in_the_table(raised: Raise) -> None:
    higher = [[0.9, 0.6], [0.7, 0.75]]  # average 0.725
    runs = [
        raised("cffd", GOOD),
        raised("cffd", higher, seed=1),
        raised("cffd", POOR, seed=2),
        raised("er", POOR),
        raised("er", higher, seed=1),
    ]
    found = differences([runs], "cffd")
    assert list(found) == ["er"]
    assert (found["er"]["runs"], found["er"]["streams"]) == ([3, 2], 1)
    assert found["er"]["difference"] == pytest.approx((0.875 + 0.725 + 0.625) / 3 - (0.625 + 0.725) / 2)


def test_only_orders_that_both_were_run_in_are_compared(raised: Raise) -> None:
    runs = [raised("cffd", GOOD), raised("er", POOR), raised("er", GOOD, order=1), raised("lwf", GOOD, order=1)]
    found = differences([runs], "cffd")
    assert {label: one["difference"] for label, one in found.items()} == {"er": pytest.approx(0.25)}


def test_without_the_reference_there_are_no_differences(raised: Raise, tmp_path: Path) -> None:
    told = tell([raised("er", GOOD), raised("lwf", POOR)], tmp_path, reference="cffd")
    assert told["differences"] == {}
    assert "leads" not in table(told)


def twice(raised: Raise, label: str, auc: Any, **about: Any) -> list[Run]:
    """Two seeds that know .005 less and more than `auc` says."""
    return [raised(label, np.array(auc) + luck, seed=seed, **about) for seed, luck in ((0, -0.005), (1, 0.005))]


def test_answers_that_are_the_same_differ_by_nothing(raised: Raise) -> None:
    runs = [raised(label, GOOD, seed=seed) for label in ("cffd", "icarl") for seed in (0, 1)]
    found = differences([runs], "cffd")["icarl"]
    assert (found["difference"], found["low"], found["high"], found["p"]) == (0, 0, 0, 1)
    assert found["not_behind"]


@pytest.mark.parametrize(("better", "worse", "sign"), [("cffd", "icarl", 1), ("icarl", "cffd", -1)])
def test_a_clear_difference_has_a_small_p_whoever_leads(raised: Raise, better: str, worse: str, sign: int) -> None:
    runs = [*twice(raised, better, GOOD), *twice(raised, worse, POOR, certain=False)]
    found = differences([runs], "cffd")["icarl"]
    assert found["difference"] == pytest.approx(sign * 0.25)
    assert found["p"] < 0.01 and found["sides"] == 2
    assert sign * found["low"] > 0 and sign * found["high"] > 0
    assert found["not_behind"] is (sign > 0)
    assert 0 < found["smallest"] < 0.25


def test_the_planned_test_is_one_sided_and_takes_no_part_in_holms_correction(raised: Raise, tmp_path: Path) -> None:
    runs = [
        *twice(raised, "cffd", GOOD),
        *twice(raised, "finetune", POOR, certain=False),
        *twice(raised, "icarl", GOOD),
    ]
    runs += twice(raised, "er", POOR, certain=False)
    told = tell(runs, tmp_path, reference="cffd")
    found = told["differences"]
    assert found["er"]["sides"] == 1 and "p_holm" not in found["er"]
    assert found["er"]["p"] == pytest.approx(found["finetune"]["p"] / 2), "the same answers, from one side"
    assert found["finetune"]["p_holm"] == pytest.approx(2 * found["finetune"]["p"]), "of two, not of three"
    assert found["icarl"]["p_holm"] == found["icarl"]["p"] == 1
    assert found["er"]["smallest"] < found["finetune"]["smallest"]
    rows = rows_of(table(told))
    assert rows["er"]["p"].endswith("(planned)") and not rows["icarl"]["p"].endswith("(planned)")
    assert rows["icarl"]["not behind"] == "no", "its lead of nothing may be one of -.02"


def test_a_label_without_scores_takes_no_part_in_the_correction(raised: Raise) -> None:
    torn = [[0.9, 0.5], [float("nan"), 0.9]]
    runs = [*twice(raised, "cffd", GOOD), *twice(raised, "finetune", POOR, certain=False), *twice(raised, "lwf", torn)]
    found = differences([runs], "cffd")
    assert found["finetune"]["p_holm"] == found["finetune"]["p"]
    assert "p_holm" not in found["lwf"]


def test_one_seed_shows_a_difference_and_proves_nothing(raised: Raise, tmp_path: Path) -> None:
    told = tell([raised("cffd", GOOD), raised("er", POOR, certain=False)], tmp_path, reference="cffd")
    assert told["differences"]["er"] == {
        "difference": pytest.approx(0.25),
        "reason": "no test: one run says nothing of other seeds",
        "runs": [1, 1],
        "streams": 1,
    }
    row = rows_of(table(told))["er"]
    assert [row[name] for name in ("cffd leads by", "p", "not behind", "smallest lead seen")] == [
        "+0.250",
        "–",
        "–",
        "–",
    ]


def test_clips_of_one_source_show_a_difference_and_prove_nothing(raised: Raise) -> None:
    runs = [*twice(raised, "cffd", GOOD, sources=1), *twice(raised, "er", POOR, sources=1, certain=False)]
    found = differences([runs], "cffd")["er"]
    assert found["difference"] == pytest.approx(0.25)
    assert found["reason"] == "no test: needs 2 sources of each class, found 1 forged and 1 genuine"


def test_streams_of_other_studies_are_pooled_and_the_table_says_so(raised: Raise, tmp_path: Path) -> None:
    runs = [*twice(raised, "cffd", GOOD), *twice(raised, "er", POOR, certain=False), *twice(raised, "joint", GOOD)]
    again = {"order": 0, "tasks": ("second_swap", "second_mesh")}
    others = [raised("cffd", GOOD, seed=seed, **again) for seed in (2, 3)]
    others += [raised("er", GOOD, seed=seed, certain=False, **again) for seed in (2, 3)]
    told = tell(runs, tmp_path, reference="cffd", others={"second": others})
    found = told["differences"]
    assert found["er"]["difference"] == pytest.approx((0.25 + 0) / 2)
    assert (found["er"]["streams"], found["er"]["runs"], found["joint"]["streams"]) == (2, [4, 4], 1)
    rows = rows_of((tmp_path / "table.md").read_text())
    assert (rows["er"]["streams"], rows["er"]["runs"]) == ("2", "2"), "means are of this study alone"
    assert "Streams pooled: this study's and second." in (tmp_path / "table.md").read_text()


# -- one threshold and one code -------------------------------------------------------------------------------------------


def test_accuracy_at_one_threshold_is_of_all_clips_together(raised: Raise, tmp_path: Path) -> None:
    runs = [raised("cffd", GOOD), raised("er", POOR, certain=False)]
    rows = rows_of(table(tell(runs, tmp_path, reference="cffd")))
    assert rows["cffd"]["ACC at .5, all clips"] == "1.000"
    assert 0.2 < float(rows["er"]["ACC at .5, all clips"]) < 0.8
    assert rows["er"]["ACC at .5, mean of tasks"] == "0.525", "of the matrix"


def test_a_fitted_threshold_has_a_column_of_its_own_and_who_has_none_a_dash(raised: Raise, tmp_path: Path) -> None:
    never = OperatingPoint(Calibration("temperature"), threshold=1.0, margin=0.0, found={})
    runs = [raised("cffd", GOOD, point=never), raised("er", POOR, certain=False)]
    told = tell(runs, tmp_path, reference="cffd")
    rows = rows_of(table(told))
    assert rows["cffd"]["accuracy at one threshold"] == "0.500", "where nobody is accused"
    assert rows["er"]["accuracy at one threshold"] == "–"
    assert told["runs"][1]["fitted_acc"] == {
        "value": None,
        "reason": "it was raised before there were operating points",
    }
    assert "Accuracy at one threshold: of all clips" in table(told)


def test_the_commit_of_the_code_stands_under_the_table_and_several_are_pointed_out(
    raised: Raise, tmp_path: Path
) -> None:
    first, second = "a" * 40, "b" * 40
    runs = [raised("cffd", GOOD, commits=(first,)), raised("er", POOR, commits=(first,))]
    assert table(tell(runs, tmp_path, reference="cffd")).endswith(f"Commit of the code: {'a' * 12}.\n")
    runs += [raised("er", POOR, seed=1, commits=(first, second)), raised("lwf", POOR, commits=(None,))]
    assert table(tell(runs, tmp_path, reference="cffd")).endswith(
        f"**The runs were raised by several commits**: {'a' * 12} (cffd, er); {'b' * 12} (er); unknown (lwf).\n"
    )


# -- what a line left behind ----------------------------------------------------------------------------------------------


def place(root: Path) -> Callable[[str, str], Path]:
    return lambda kind, name: root / "data" / kind / name


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """The files of line er_s0 that a study reads: two generations, the second of them examined on three archives."""
    data, matrix = tmp_path / "data", Matrix.empty("er_s0")
    learned = {"er_s0-M1": ("swap", {"swap": 0.9, "mesh": 0.6}), "er_s0-M2": ("mesh", {"swap": 0.8, "mesh": 0.95})}
    for name, (task, aucs) in learned.items():
        cells = {"acc": Estimate(0.7), "ap": Estimate(0.7), "eer": Estimate(0.3)}
        row = {bench: {"auc": Estimate(auc), **cells} for bench, auc in [*aucs.items(), ("diffusion", 0.55)]}
        matrix = matrix.with_row(name, task, row)
        for kind in ("verdicts", "generations", "memories", "scores"):
            (data / kind / name).mkdir(parents=True)
        write_card(data / "generations" / name, {"images_seen": 120, "code": {"commit": f"of {task}"}})
        (data / "generations" / name / CARRY_OVER).write_bytes(b"b" * 70)
        pd.DataFrame({"rank": range(7)}).to_parquet(data / "memories" / name / EXEMPLARS)
        (data / "memories" / name / "faces.arrow").write_bytes(b"m" * 500)
    matrix.write(data / "verdicts" / "er_s0-M2")
    Scores("er_s0-M2", "0", {}, {}).write(data / "scores" / "er_s0-M2")
    return tmp_path


CLOCKED = {
    f"{stage}@er_s0-M{n}": 10.0 * n for n in (1, 2) for stage in ("evolve", "curate", "evaluate")
} | {"evolve@other-M1": 99.0}  # fmt: skip


def test_a_run_is_read_from_what_its_line_left_behind(workspace: Path) -> None:
    run = read_run(place(workspace), RunKey("er_s0", "er", 0), ("er_s0-M1", "er_s0-M2"), CLOCKED)
    assert run.tasks == ("swap", "mesh")
    assert run.auc.tolist() == GOOD
    assert run.acc.tolist() == [[0.7, 0.7], [0.7, 0.7]]
    assert run.unseen == {"diffusion": Estimate(0.55)}
    assert run.images == 240, "of both generations"
    assert run.exemplars == 7
    assert run.memory_bytes == 500 + (workspace / "data" / "memories" / "er_s0-M2" / EXEMPLARS).stat().st_size
    assert run.stored_bytes == run.memory_bytes + 70, "memory and carry-over of the last generation alone"
    assert run.commits == ("of swap", "of mesh")
    assert run.seconds == 60.0, "raising and curating both; examining is no cost of a strategy"
    assert run.metric("average").value == pytest.approx(0.875)
    assert run.metric("average", "acc").value == pytest.approx(0.7)


def test_on_the_validation_split_a_run_is_read_from_the_scores_of_every_generation(workspace: Path) -> None:
    keys = (RunKey("er_s0", "er", 0), ("er_s0-M1", "er_s0-M2"), CLOCKED)
    with pytest.raises(BadParams, match=r"'er_s0-M1' on the validation split, found none: .* --on test"):
        read_run(place(workspace), *keys, on="validation")
    for name, row in zip(keys[1], POOR, strict=True):
        folder = place(workspace)("scores", name) / "validation"
        cells = {task: {name: {"value": auc} for name in METRICS} for task, auc in zip(TASKS, row, strict=True)}
        Scores(name, "0", cells, {}).write(folder)
        for task in TASKS:
            scored(folder / f"{task}.parquet", task, certain=True, sources=4)
    run = read_run(place(workspace), *keys, on="validation")
    assert (run.auc.tolist(), run.tasks) == (POOR, TASKS)
    assert run.last.tables["mesh"].parent.name == "validation"
    assert read_run(place(workspace), *keys).auc.tolist() == GOOD


def test_a_run_of_which_one_stage_came_out_of_the_cache_has_no_time(workspace: Path) -> None:
    known = {stage: seconds for stage, seconds in CLOCKED.items() if stage != "curate@er_s0-M2"}
    assert read_run(place(workspace), RunKey("er_s0", "er", 0), ("er_s0-M1", "er_s0-M2"), known).seconds is None


@pytest.mark.parametrize(
    "lost", [f"verdicts/er_s0-M2/{MATRIX_FILE}", f"scores/er_s0-M2/{METRICS_FILE}", f"generations/er_s0-M1/{CARD}"]
)
def test_a_run_with_a_lost_file_is_a_broken_line(workspace: Path, lost: str) -> None:
    (workspace / "data" / lost).unlink()
    with pytest.raises(BrokenLineage, match="expected"):
        read_run(place(workspace), RunKey("er_s0", "er", 0), ("er_s0-M1", "er_s0-M2"), CLOCKED)
