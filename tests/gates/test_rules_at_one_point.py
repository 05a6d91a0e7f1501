"""Rules that AUC cannot stand for: one threshold on every benchmark, honest probabilities, faces made worse."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from components.evaluation.calibration import log_odds
from components.evaluation.estimate import Estimate
from components.evaluation.matrix import CELL_METRICS, Matrix
from components.gates.judge import opens
from components.gates.rules import Case, judged
from components.params import Absolute, AtOnePoint, Calibrated, Relative, Robust

from .conftest import answers

TASKS = ("deepfakes", "faceswap")
AT_ONE_POINT = AtOnePoint(rule="operating_point", min_balanced_accuracy=0.85, max_false_alarms=0.2)
AUC_ALONE = [Absolute(rule="absolute", min_auc=0.9), Relative(rule="relative", max_drop=0.02)]


def line(*tasks: str) -> Matrix:
    matrix = Matrix.empty("line")
    for number, task in enumerate(tasks):
        matrix = matrix.with_row(f"M{number + 1}", task, {task: dict.fromkeys(CELL_METRICS, Estimate(0.9))})
    return matrix


def case(candidate, champion=None, **more) -> Case:
    return Case(candidate, champion, line(*TASKS), TASKS[-1], Path("nowhere"), **more)


def moved(benchmark: str, log_odds_by: float, gap: float = 5.0, clips: int = 200, seed: int = 1) -> pd.DataFrame:
    """Answers of that gap, all of them shifted to one side; their order, and so the AUC, stays."""
    table = answers(benchmark, gap, clips, seed)
    x = log_odds(table["p_fake"].to_numpy()) + log_odds_by
    return table.assign(p_fake=1 / (1 + pow(2.718281828, -x)))


# -- operating_point ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shift", "refused_for"), [(4.0, "false_alarms"), (-6.0, "balanced_accuracy")])
def test_good_aucs_and_a_shifted_benchmark_are_refused_by_operating_point_alone(
    examine, point_at, shift: float, refused_for: str
) -> None:
    champion = examine("M1", {name: moved(name, 0) for name in TASKS})
    candidate = examine("M2", {"deepfakes": moved("deepfakes", 0), "faceswap": moved("faceswap", shift)})
    findings = judged(case(candidate, champion, point=point_at(0.5)), [*AUC_ALONE, AT_ONE_POINT])
    refused = [f for f in findings if f.passed is False]
    assert {f.rule for f in refused} == {"operating_point"}
    assert any(refused_for in f.measured for f in refused)
    assert all(f.benchmark in (None, "faceswap") for f in refused)
    assert not opens(findings)


def test_a_generation_that_holds_its_threshold_everywhere_passes(examine, point_at) -> None:
    scores = examine("M2", {name: moved(name, 0) for name in TASKS})
    whole, *each = judged(case(scores, point=point_at(0.5)), [AT_ONE_POINT])
    assert whole.passed and whole.measured["balanced_accuracy"] > 0.95
    assert whole.words.startswith("At its threshold 0.500 balanced accuracy over 'deepfakes', 'faceswap' is 0.9")
    assert {f.benchmark: f.passed for f in each} == dict.fromkeys(TASKS, True)


def test_what_the_line_was_not_taught_is_not_held_against_it(examine, point_at) -> None:
    scores = examine("M2", {**{name: moved(name, 0) for name in TASKS}, "later": moved("later", 9, gap=0)})
    assert {f.benchmark for f in judged(case(scores, point=point_at(0.5)), [AT_ONE_POINT])} == {None, *TASKS}


def test_without_an_operating_point_the_rules_on_it_refuse_and_say_why(examine) -> None:
    rules = [AT_ONE_POINT, Calibrated(rule="calibration", max_error=0.1)]
    findings = judged(case(examine("M2", dict.fromkeys(TASKS, 5.0)), no_point="too few clips"), rules)
    assert [f.passed for f in findings] == [False, False]
    assert all("too few clips" in f.words and f.words.endswith("refused.") for f in findings)


def test_a_benchmark_without_genuine_clips_is_refused_not_waved_through(examine, point_at) -> None:
    forged_only = moved("faceswap", 0).query("label == 1")
    scores = examine("M2", {"deepfakes": moved("deepfakes", 0), "faceswap": forged_only})
    findings = judged(case(scores, point=point_at(0.5)), [AT_ONE_POINT])
    assert {f.benchmark: f.passed for f in findings} == {None: True, "deepfakes": True, "faceswap": False}


# -- calibration -------------------------------------------------------------------------------------------------------


def test_probabilities_that_are_surer_than_they_may_be_are_refused(examine, point_at) -> None:
    scores = examine("M2", {name: moved(name, 0, gap=1.0) for name in TASKS})
    rule = Calibrated(rule="calibration", max_error=0.1)
    (honest, _), (boasting, _) = (judged(case(scores, point=point_at(0.5, slope)), [rule]) for slope in (1.0, 5.0))
    assert honest.passed and boasting.passed is False
    assert boasting.measured["error"] > 0.2


def test_a_drift_from_the_champions_calibration_is_refused(examine, point_at) -> None:
    scores = {name: moved(name, 0, gap=1.0) for name in TASKS}
    champion, candidate = examine("M1", scores), examine("M2", scores)
    rule = Calibrated(rule="calibration", max_error=1.0, max_drift=0.05)
    worse = case(candidate, champion, point=point_at(0.5, 5.0), champions_point=point_at(0.5))
    own, drift = judged(worse, [rule])
    assert own.passed and drift.passed is False
    assert drift.measured["drift"] > 0.1 and "'deepfakes'" in drift.words and "'faceswap'" not in drift.words
    same = case(candidate, champion, point=point_at(0.5), champions_point=point_at(0.5))
    assert judged(same, [rule])[1].measured["drift"] == 0


@pytest.mark.parametrize(("champion", "why"), [(False, "there is no champion yet"), (True, "has no operating point")])
def test_drift_is_skipped_where_there_is_nothing_to_drift_from(examine, point_at, champion: bool, why: str) -> None:
    before = examine("M1", {"deepfakes": 5.0}) if champion else None
    candidate = examine("M2", dict.fromkeys(TASKS, 5.0))
    _, drift = judged(case(candidate, before, point=point_at(0.5)), [Calibrated(rule="calibration", max_error=1.0)])
    assert drift.passed is None and why in drift.words


# -- robustness --------------------------------------------------------------------------------------------------------


def climbed(**rungs: float | None) -> dict:
    found = {"faces": 100, "clean": 0.95, "rungs": {"jpeg_75": 0.94, "jpeg_50": 0.93, "noise_15": 0.7} | rungs}
    return {"deepfakes": {**found, "rungs": {"jpeg_75": 0.94, "jpeg_50": 0.93, "noise_15": 0.9}}, "faceswap": found}


def test_a_generation_that_falls_apart_under_jpeg_50_is_refused_by_robustness(examine) -> None:
    scores = examine("M2", dict.fromkeys(TASKS, 5.0))
    rule = Robust(rule="robustness", max_fall=0.3)
    findings = judged(case(scores, ladder=climbed(jpeg_50=0.55)), [*AUC_ALONE, rule])
    (refused,) = [f for f in findings if f.passed is False]
    assert (refused.rule, refused.benchmark, refused.measured["rung"]) == ("robustness", "faceswap", "jpeg_50")
    assert refused.words == (
        "On 'faceswap' AUC of 100 faces is 0.950, and 0.550 after jpeg_50; at most 0.300 less was allowed: refused."
    )
    assert all(f.passed for f in judged(case(scores, ladder=climbed()), [rule]))


def test_each_rung_may_have_its_own_limit_and_others_are_not_asked(examine) -> None:
    scores = examine("M2", dict.fromkeys(TASKS, 5.0))
    named = Robust(rule="robustness", max_fall={"jpeg_50": 0.1, "noise_15": 0.26})
    findings = judged(case(scores, ladder=climbed(jpeg_75=0.2)), [named])
    assert [f.passed for f in findings] == [True, True]
    (_, strict) = judged(case(scores, ladder=climbed()), [Robust(rule="robustness", max_fall={"noise_15": 0.1})])
    assert strict.passed is False


@pytest.mark.parametrize("ladder", [None, {}, climbed(jpeg_50=None)])
def test_a_ladder_that_was_not_climbed_is_refused_not_waved_through(examine, ladder) -> None:
    findings = judged(
        case(examine("M2", dict.fromkeys(TASKS, 5.0)), ladder=ladder), [Robust(rule="robustness", max_fall=0.5)]
    )
    assert findings[-1].passed is False
