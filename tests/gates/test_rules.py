"""The rules of the gate, as a table: no baseline, worse, equal, better, no rules, nothing measured."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from components.errors import BadParams
from components.evaluation.estimate import Estimate
from components.evaluation.matrix import CELL_METRICS, Matrix
from components.evaluation.scores import Scores
from components.gates.judge import opens
from components.gates.rules import Case, Finding, judged
from components.params import Absolute, Forgetting, Relative

RELATIVE = Relative(rule="relative", max_drop=0.02)
FORGETTING = Forgetting(rule="forgetting", max_mean=0.05, max_worst=0.1)


def line(*rows: dict[str, float], tasks: tuple[str, ...] = ("deepfakes", "face2face", "faceswap")) -> Matrix:
    matrix = Matrix.empty("rsia_net")
    for i, row in enumerate(rows):
        cells = {name: dict.fromkeys(CELL_METRICS, Estimate(value)) for name, value in row.items()}
        matrix = matrix.with_row(f"M{i + 1}", tasks[i], cells)
    return matrix


def case(candidate: Scores, champion: Scores | None = None, matrix: Matrix | None = None, **more: object) -> Case:
    matrix = matrix or line({"deepfakes": 0.9})
    return Case(candidate, champion, matrix, "deepfakes", Path("nowhere"), **more)  # type: ignore[arg-type]


# -- absolute ------------------------------------------------------------------------------------------------------


def test_a_generation_that_knows_its_task_passes_and_the_words_say_by_how_much(examine) -> None:
    auc, alarms = judged(case(examine("M1", {"deepfakes": 3.0})), [Absolute(rule="absolute", min_auc=0.8)])
    assert auc.passed and alarms.passed
    value = auc.measured["auc"]
    assert auc.words == f"On 'deepfakes' AUC is {value:.3f}, at least 0.800 was asked: passed."
    assert (auc.required, auc.benchmark) == ({"min_auc": 0.8}, "deepfakes")


def test_a_generation_that_does_not_know_its_task_is_refused(examine) -> None:
    auc, alarms = judged(case(examine("M1", {"deepfakes": 0.1})), [Absolute(rule="absolute", min_auc=0.8)])
    assert auc.passed is False and alarms.passed
    assert auc.words.endswith("at least 0.800 was asked: refused.")


def test_a_generation_that_accuses_genuine_clips_is_refused(examine) -> None:
    rule = Absolute(rule="absolute", min_auc=0.5, max_false_alarms=0.1)
    auc, alarms = judged(case(examine("M1", {"deepfakes": 1.0})), [rule])
    assert auc.passed and alarms.passed is False
    assert alarms.measured["false_alarms"] > 0.1
    assert "genuine clips called forged" in alarms.words


def test_a_value_exactly_at_its_limit_passes(examine) -> None:
    scores = examine("M1", {"deepfakes": 1.0})
    found = scores.estimates("deepfakes")
    rule = Absolute(rule="absolute", min_auc=found["auc"].value or 0, max_false_alarms=found["false_alarms"].value or 0)
    assert all(f.passed for f in judged(case(scores), [rule]))


def test_a_task_that_was_not_examined_is_refused_not_waved_through(examine) -> None:
    findings = judged(case(examine("M1", {"faceswap": 3.0})), [Absolute(rule="absolute", min_auc=0.0)])
    assert [f.passed for f in findings] == [False, False]
    assert "'M1' was not examined on 'deepfakes'" in findings[0].words


# -- relative ------------------------------------------------------------------------------------------------------


def test_without_a_champion_only_the_relative_rule_is_skipped_and_it_says_so(examine) -> None:
    rules = [Absolute(rule="absolute", min_auc=0.8), RELATIVE]
    findings = judged(case(examine("M1", {"deepfakes": 3.0})), rules)
    assert [f.passed for f in findings] == [True, True, None]
    assert "no champion to compare with: skipped" in findings[2].words
    assert opens(findings)


@pytest.mark.parametrize(
    ("candidate_gap", "passed", "said"),
    [(0.5, False, "not chance"), (3.0, True, "that of 'M1'"), (6.0, True, "above 'M1'")],
    ids=["worse", "equal", "better"],
)
def test_a_candidate_may_be_equal_or_better_but_not_worse_than_the_champion(
    examine, candidate_gap: float, passed: bool, said: str
) -> None:
    champion = examine("M1", {"deepfakes": 3.0})
    (finding,) = judged(case(examine("M2", {"deepfakes": candidate_gap}), champion), [RELATIVE])
    assert finding.passed is passed
    assert said in finding.words
    assert finding.measured["champion"] == "M1"


def test_each_benchmark_is_judged_by_itself(examine) -> None:
    champion = examine("M1", {"deepfakes": 3.0, "faceswap": 3.0})
    findings = judged(case(examine("M2", {"deepfakes": 3.0, "faceswap": 0.3}), champion), [RELATIVE])
    assert {f.benchmark: f.passed for f in findings} == {"deepfakes": True, "faceswap": False}


def test_a_fall_within_the_margin_passes_however_certain_it_is(examine) -> None:
    champion = examine("M1", {"deepfakes": 3.0})
    (finding,) = judged(case(examine("M2", {"deepfakes": 2.9}), champion), [Relative(rule="relative", max_drop=0.1)])
    assert finding.passed and 0 < finding.measured["drop"] < 0.1
    assert finding.measured["p_not_worse"] < 0.05


def test_a_fall_that_may_be_chance_passes_and_the_words_admit_it(examine) -> None:
    champion = examine("M1", {"deepfakes": 1.5}, clips=12)
    candidate = examine("M2", {"deepfakes": 0.5}, clips=12, seed=3)
    (finding,) = judged(case(candidate, champion), [Relative(rule="relative", max_drop=0.0)])
    assert finding.measured["drop"] > 0
    assert finding.passed and "may be chance" in finding.words
    assert finding.measured["p_not_worse"] > 0.05


def test_many_benchmarks_do_not_refuse_a_candidate_by_accident(examine) -> None:
    """Holm: a p-value that would refuse on a benchmark of its own does not among ten."""
    names = [f"b{k:02d}" for k in range(10)]
    champion = examine("M1", dict.fromkeys(names, 1.0), seed=0)
    candidate = examine("M2", {**dict.fromkeys(names, 1.0), "b07": 0.75}, seed=0)
    rule = Relative(rule="relative", max_drop=0.0)
    finding = next(f for f in judged(case(candidate, champion), [rule]) if f.benchmark == "b07")
    assert finding.measured["p_worse"] < finding.measured["p_worse_holm"]
    alone = Case(
        examine("M3", {"b07": 0.75}), examine("M4", {"b07": 1.0}), line({"deepfakes": 1}), "b07", Path("nowhere")
    )
    (single,) = judged(alone, [rule])
    assert single.measured["p_worse"] == single.measured["p_worse_holm"]


def test_a_benchmark_the_champion_never_met_is_skipped_with_words(examine) -> None:
    champion = examine("M1", {"deepfakes": 3.0})
    findings = judged(case(examine("M2", {"deepfakes": 3.0, "faceswap": 3.0}), champion), [RELATIVE])
    assert {f.benchmark: f.passed for f in findings} == {"deepfakes": True, "faceswap": None}
    assert "the champion 'M1' was not examined on it" in findings[1].words


def test_a_benchmark_of_genuine_clips_alone_is_skipped_with_words(examine) -> None:
    genuine: pd.DataFrame = pd.read_parquet(examine("M0", {"deepfakes": 1.0}).tables["deepfakes"])
    genuine = genuine[genuine["label"] == 0]
    candidate, champion = (examine(name, {"portraits": genuine}) for name in ("M2", "M1"))
    (finding,) = judged(case(candidate, champion), [RELATIVE])
    assert finding.passed is None
    assert "found 0 forged and 60 genuine" in finding.words


# -- forgetting ----------------------------------------------------------------------------------------------------


def test_a_generation_which_forgets_more_than_allowed_is_refused(examine) -> None:
    matrix = line({"deepfakes": 0.9, "face2face": 0.5}, {"deepfakes": 0.6, "face2face": 0.9})
    mean, worst = judged(case(examine("M2", {}), matrix=matrix), [FORGETTING])
    assert (mean.passed, worst.passed) == (False, False)
    assert mean.measured["mean"] == pytest.approx(0.3)
    assert worst.benchmark == "deepfakes"
    assert worst.words == (
        "The worst is 'deepfakes', where the AUC lost since its best is 0.300, at most 0.100 was allowed: refused."
    )


def test_mean_and_worst_are_two_limits(examine) -> None:
    matrix = line(
        {"deepfakes": 0.9, "face2face": 0.5},
        {"deepfakes": 0.9, "face2face": 0.9},
        {"deepfakes": 0.75, "face2face": 0.97, "faceswap": 0.9},
    )
    mean, worst = judged(case(examine("M3", {}), matrix=matrix), [FORGETTING])
    assert mean.measured["mean"] == pytest.approx(matrix.summary("M3")["forgetting"].value)
    assert (mean.passed, worst.passed) == (True, False)


def test_a_generation_that_improves_on_old_tasks_passes(examine) -> None:
    matrix = line({"deepfakes": 0.8, "face2face": 0.5}, {"deepfakes": 0.9, "face2face": 0.9})
    assert all(f.passed for f in judged(case(examine("M2", {}), matrix=matrix), [FORGETTING]))


def test_the_first_generation_has_nothing_to_forget_and_the_rule_says_so(examine) -> None:
    (finding,) = judged(case(examine("M1", {})), [FORGETTING])
    assert finding.passed is None and "nothing" not in finding.measured
    assert "no older task to forget" in finding.words


def test_forgetting_that_cannot_be_measured_is_refused_with_advice(examine) -> None:
    matrix = line({"face2face": 0.5}, {"face2face": 0.9})
    (finding,) = judged(case(examine("M2", {}), matrix=matrix), [FORGETTING])
    assert finding.passed is False
    assert "'deepfakes'" in finding.words and "benchmarks in params.yaml" in finding.words


def test_the_best_is_taken_over_generations_that_were_examined(examine) -> None:
    """M1 was born before the benchmark of its task joined; M2 was examined on it."""
    matrix = line({}, {"deepfakes": 0.9, "face2face": 0.9}, {"deepfakes": 0.88, "face2face": 0.9, "faceswap": 0.9})
    mean, _ = judged(case(examine("M3", {}), matrix=matrix), [FORGETTING])
    assert mean.passed and mean.measured["per_task"]["deepfakes"] == pytest.approx(0.02)


# -- what a finding says -------------------------------------------------------------------------------------------


def test_the_absolute_rule_says_what_was_measured_and_what_was_asked(examine) -> None:
    rule = Absolute(rule="absolute", min_auc=0.5, max_false_alarms=0.1)
    scores = examine("M1", {"deepfakes": 1.0})
    value = {name: scores.estimates("deepfakes")[name].value for name in ("auc", "false_alarms")}
    assert [f.as_json() for f in judged(case(scores), [rule])] == [
        {
            "rule": "absolute",
            "passed": True,
            "words": f"On 'deepfakes' AUC is {value['auc']:.3f}, at least 0.500 was asked: passed.",
            "measured": {"auc": value["auc"]},
            "required": {"min_auc": 0.5},
            "benchmark": "deepfakes",
        },
        {
            "rule": "absolute",
            "passed": False,
            "words": f"On 'deepfakes' the share of genuine clips called forged is {value['false_alarms']:.3f}, "
            "at most 0.100 was asked: refused.",
            "measured": {"false_alarms": value["false_alarms"]},
            "required": {"max_false_alarms": 0.1},
            "benchmark": "deepfakes",
        },
    ]


def test_what_the_absolute_rule_cannot_measure_it_calls_undefined_and_says_why(examine) -> None:
    auc, alarms = judged(case(examine("M1", {"faceswap": 3.0})), [Absolute(rule="absolute", min_auc=0.5)])
    why = "is undefined ('M1' was not examined on 'deepfakes')"
    assert auc.words == f"On 'deepfakes' AUC {why}; at least 0.500 was asked: refused."
    assert alarms.words.startswith(f"On 'deepfakes' the share of genuine clips called forged {why}; at most ")
    assert (auc.measured, alarms.measured) == ({"auc": None}, {"false_alarms": None})


@pytest.mark.parametrize(
    ("gap", "margin", "clips", "passed", "said"),
    [
        (
            0.5,
            0.02,
            120,
            False,
            "below 'M1', at most 0.020 below was allowed ({seen}), and with 120 clips that is not chance (p = ",
        ),
        (2.9, 0.1, 120, True, "below 'M1', at most 0.100 below was allowed ({seen}): passed."),
        (6.0, 0.02, 120, True, "above 'M1', at most 0.020 below was allowed ({seen}): passed."),
        (
            2.5,
            0.0,
            12,
            True,
            "below 'M1', at most 0.000 below was allowed ({seen}), yet with 12 clips that may be chance (p = ",
        ),
    ],
    ids=["worse", "within the margin", "better", "perhaps chance"],
)
def test_the_relative_rule_says_how_far_the_candidate_moved_and_how_certain_that_is(
    examine, gap: float, margin: float, clips: int, passed: bool, said: str
) -> None:
    champion, candidate = examine("M1", {"deepfakes": 3.0}, clips=clips), examine("M2", {"deepfakes": gap}, clips=clips)
    rule = Relative(rule="relative", max_drop=margin, alpha=0.05)
    (finding,) = judged(case(candidate, champion), [rule])
    told = finding.as_json()
    moved = candidate.estimates("deepfakes")["auc"].value - champion.estimates("deepfakes")["auc"].value
    assert (told["rule"], told["passed"], told["benchmark"]) == ("relative", passed, "deepfakes")
    assert told["required"] == {"max_drop": margin, "alpha": 0.05}
    assert told["measured"].keys() == {
        "champion", "clips", "drop", "test", "p_worse", "p_worse_holm", "p_not_worse", "smallest_fall",
    }  # fmt: skip
    assert told["measured"]["drop"] == pytest.approx(-moved) and told["measured"]["clips"] == clips
    assert (told["measured"]["champion"], told["measured"]["test"]) == ("M1", "delong")
    seen = f"a fall of {told['measured']['smallest_fall']:.3f} would be seen"
    assert told["words"].startswith(f"On 'deepfakes' AUC is {abs(moved):.3f} {said.format(seen=seen)}")
    if "(p = " in said:
        assert told["words"].endswith(f"(p = {told['measured']['p_worse']:.3g}): {'passed' if passed else 'refused'}.")


def test_the_relative_rule_says_why_it_was_skipped_and_what_it_would_have_required(examine) -> None:
    rule = Relative(rule="relative", max_drop=0.03, alpha=0.01)
    (alone,) = judged(case(examine("M1", {"deepfakes": 3.0})), [rule])
    (unmet,) = judged(case(examine("M2", {"faceswap": 3.0}), examine("M1", {"deepfakes": 3.0})), [rule])
    assert alone.as_json() == {
        "rule": "relative",
        "passed": None,
        "words": "Nobody of this line has passed the gate yet, so there is no champion to compare with: skipped.",
        "measured": {},
        "required": {"max_drop": 0.03, "alpha": 0.01},
    }
    told = unmet.as_json()
    assert (told["rule"], told["passed"], told["benchmark"]) == ("relative", None, "faceswap")
    assert told["required"] == {"max_drop": 0.03, "alpha": 0.01}
    assert told["measured"]["champion"] == "M1" and told["measured"]["p_worse"] is None
    assert told["words"] == (
        "On 'faceswap' no comparison with the champion is possible (the champion 'M1' was not examined on it): skipped."
    )


@pytest.mark.parametrize(("shared", "test"), [(1, "delong"), (4, "delong over sources")])
def test_clips_that_share_a_source_are_compared_source_by_source(examine, shared: int, test: str) -> None:
    tables = {}
    for name, seed in (("M1", 1), ("M2", 2)):
        table = pd.read_parquet(examine(name, {"deepfakes": 0.8}, seed=seed).tables["deepfakes"])
        tables[name] = table.assign(source=[f"s{i // shared}" for i in range(len(table))])
    champion, candidate = (examine(name, {"deepfakes": table}) for name, table in tables.items())
    (finding,) = judged(case(candidate, champion), [RELATIVE])
    assert finding.measured["test"] == test


def test_one_fall_from_1_to_0_is_refused_among_twenty_benchmarks(examine) -> None:
    names = [f"b{k:02d}" for k in range(20)]
    knows = pd.read_parquet(examine("M0", {"b07": 0.0}, clips=24).tables["b07"])
    knows = knows.assign(p_fake=0.9 * knows["label"], source=[f"s{i // 2}" for i in range(len(knows))])
    champion = examine("M1", {**dict.fromkeys(names, 1.0), "b07": knows})
    candidate = examine("M2", {**dict.fromkeys(names, 1.0), "b07": knows.assign(p_fake=0.9 - knows["p_fake"])})
    findings = judged(case(candidate, champion), [RELATIVE])
    assert {f.benchmark for f in findings if not f.passed} == {"b07"}, "the other nineteen answer as before"
    fallen = next(f for f in findings if f.benchmark == "b07")
    assert fallen.measured["drop"] == 1 and fallen.measured["p_worse_holm"] < 0.001


def test_the_smallest_fall_that_would_be_seen_shrinks_with_clips_and_grows_with_benchmarks(examine) -> None:
    def smallest(clips: int, benchmarks: int) -> float:
        gaps = {f"b{k}": 1.5 for k in range(benchmarks)}
        champion, candidate = (examine(f"M{n}", gaps, clips=clips, seed=n) for n in (1, 2))
        return judged(case(candidate, champion), [RELATIVE])[0].measured["smallest_fall"]

    assert RELATIVE.max_drop < smallest(400, 1) < smallest(100, 1) < smallest(100, 10)


def test_where_no_fall_could_be_seen_the_words_say_so(examine) -> None:
    champion, candidate = (examine(f"M{n}", {"deepfakes": 1.0}, clips=4, seed=n) for n in (1, 2))
    (finding,) = judged(case(candidate, champion), [RELATIVE])
    assert finding.measured["smallest_fall"] is None and "(no fall would be seen)" in finding.words


def test_forgetting_says_which_task_fell_how_far_and_what_was_allowed(examine) -> None:
    matrix = line(
        {"deepfakes": 0.9, "face2face": 0.5},
        {"deepfakes": 0.8, "face2face": 0.9},
        {"deepfakes": 0.75, "face2face": 0.88, "faceswap": 0.9},
    )
    mean, worst = (f.as_json() for f in judged(case(examine("M3", {}), matrix=matrix), [FORGETTING]))
    falls = {"deepfakes": pytest.approx(0.15), "face2face": pytest.approx(0.02)}
    assert mean == {
        "rule": "forgetting",
        "passed": False,
        "words": "Over 'deepfakes', 'face2face' the mean AUC lost since its best is 0.085, at most 0.050 was allowed: refused.",
        "measured": {"mean": pytest.approx(0.085), "per_task": falls},
        "required": {"max_mean": 0.05},
    }
    assert worst == {
        "rule": "forgetting",
        "passed": False,
        "words": "The worst is 'deepfakes', where the AUC lost since its best is 0.150, at most 0.100 was allowed: refused.",
        "measured": {"worst": pytest.approx(0.15)},
        "required": {"max_worst": 0.1},
        "benchmark": "deepfakes",
    }


def test_forgetting_that_is_skipped_or_cannot_be_measured_says_so_with_what_it_required(examine) -> None:
    required = {"max_mean": 0.05, "max_worst": 0.1}
    (first,) = judged(case(examine("M1", {})), [FORGETTING])
    assert first.as_json() == {
        "rule": "forgetting",
        "passed": None,
        "words": "The first generation has no older task to forget: skipped.",
        "measured": {},
        "required": required,
    }
    matrix = line({"deepfakes": 0.5}, {"deepfakes": 0.5}, {"deepfakes": 0.5}, tasks=("deepfakes", "mesh", "mask"))
    (unknown,) = judged(case(examine("M3", {}), matrix=matrix), [FORGETTING])
    assert (unknown.rule, unknown.passed, unknown.required) == ("forgetting", False, required)
    assert unknown.measured == {"unmeasured": ["mesh"]}
    assert unknown.words.startswith("Forgetting of 'mesh' cannot be measured: there is no AUC on it before or after.")


# -- the gate as a whole -------------------------------------------------------------------------------------------


def test_a_gate_without_rules_is_an_error_never_an_approval(examine) -> None:
    with pytest.raises(BadParams, match="an empty gate approves nobody"):
        judged(case(examine("M1", {"deepfakes": 9.0})), [])


@pytest.mark.parametrize(
    ("passed", "expected"),
    [
        ([True, None], True),
        ([True, False], False),
        ([None, None], False),
        ([None, False], False),
        ([True, True], True),
        ([], False),
    ],
)
def test_the_gate_opens_when_nothing_refused_and_something_was_measured(
    passed: list[bool | None], expected: bool
) -> None:
    assert opens([Finding("absolute", p, "") for p in passed]) is expected
