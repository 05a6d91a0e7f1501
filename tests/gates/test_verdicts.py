"""The stage judge: what it writes, what it carries on, and what it refuses to judge."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.digests import file_digest
from components.errors import BadParams, BrokenLineage
from components.evaluation.matrix import Matrix
from components.evaluation.operating_point import OperatingPoint
from components.evaluation.scores import Scores
from components.gates.judge import judge
from components.gates.verdict import read_verdict
from components.generations.card import WEIGHTS, write_card
from components.generations.recipe import Recipe
from components.params import parse

RULES = [
    {"rule": "absolute", "min_auc": 0.8},
    {"rule": "relative", "max_drop": 0.02},
    {"rule": "forgetting", "max_mean": 0.05},
]
SEQUENCE = {"M1": "deepfakes", "M2": "faceswap", "M3": "face2face"}

Judge = Callable[..., dict[str, Any]]


@pytest.fixture
def judged(tmp_path: Path, examine, point_at) -> Judge:
    """Raise a generation in name, examine it with these gaps, judge it, and read the verdict."""

    def run(
        name: str, teacher: str, gaps: dict[str, float], new_to_teacher: dict[str, float] | None = None, **more: Any
    ) -> dict[str, Any]:
        generation, scores = tmp_path / "generations" / name, tmp_path / "scores" / name
        generation.mkdir(parents=True)
        (generation / WEIGHTS).write_bytes(f"weights of {name}".encode())
        weights = file_digest(generation / WEIGHTS)
        write_card(generation, {"generation": name, "weights": weights})
        examine(name, gaps, folder=scores, weights=weights, faces=more.get("faces", "faces of "))
        if new_to_teacher:
            old = file_digest(tmp_path / "generations" / teacher / WEIGHTS)
            examine(teacher, new_to_teacher, folder=scores / "teacher", weights=old)
        for champion, unmet in more.get("new_to_champion", {}).items():
            best = file_digest(tmp_path / "generations" / champion / WEIGHTS)
            examine(champion, unmet, folder=scores / "champion", weights=best)
        before = tmp_path / "verdicts" / teacher
        before.mkdir(parents=True, exist_ok=True)
        chosen = more.get("champion", "nobody")
        recipe = recipe_of(tmp_path, name, teacher, list(gaps), more.get("rules", RULES), chosen)
        if "point" in more:
            about = {"generation": name, "weights": more.get("point_of", weights), "ladder": None}
            point_at(more["point"]).write(tmp_path / "operating_points" / name, about)
        point, best = tmp_path / "operating_points" / name, more.get("scores_of", chosen)
        chosen_files = (tmp_path / "scores" / best, tmp_path / "operating_points" / best)
        judge(recipe, generation, scores, point, before, *chosen_files, tmp_path / "verdicts" / name)
        return read_verdict(tmp_path / "verdicts" / name)

    return run


def recipe_of(
    folder: Path, name: str, teacher: str, benchmarks: list[str], rules: list[dict[str, Any]], champion: str = "nobody"
) -> Path:
    row = {"line": "rsia_net", "detector": "rsia_net", "strategy": "finetune", "learns": SEQUENCE[name]}
    raw = {
        "generation": name,
        "row": {**row, "teacher": teacher, "bench": SEQUENCE[name], "champion": champion},
        "detector": {"name": "rsia_net"},
        "strategy": {"name": "finetune"},
        "memory": {},
        "training": {},
        "evaluation": {},
        "gate": rules,
        "seed": 0,
        "benchmarks": benchmarks,
    }
    path = folder / "recipes" / f"{name}.yaml"
    parse(Recipe, raw, path.name).write(path)
    return path


def test_a_founder_that_knows_its_task_becomes_the_first_champion(judged: Judge, tmp_path: Path) -> None:
    verdict = judged("M1", "nobody", {"deepfakes": 3.0})
    assert verdict["opens"] and verdict["founder"]
    assert (verdict["champion"], verdict["champion_after"]) == (None, "M1")
    assert verdict["candidate"] == {"name": "M1", "weights": file_digest(tmp_path / "generations" / "M1" / WEIGHTS)}
    assert [r["passed"] for r in verdict["rules"]] == [True, True, None, None]
    assert all(r["words"].endswith(".") for r in verdict["rules"])
    assert Scores.read(tmp_path / "verdicts" / "M1" / "champion").generation == "M1"


def test_an_heir_that_keeps_the_old_and_learns_the_new_replaces_the_champion(judged: Judge, tmp_path: Path) -> None:
    judged("M1", "nobody", {"deepfakes": 3.0})
    verdict = judged("M2", "M1", {"deepfakes": 3.0, "faceswap": 3.0}, {"faceswap": 0.2})
    assert verdict["opens"] and not verdict["founder"]
    assert (verdict["champion"]["name"], verdict["champion_after"]) == ("M1", "M2")
    assert verdict["champion"]["weights"] == file_digest(tmp_path / "generations" / "M1" / WEIGHTS)


def test_an_heir_that_forgets_leaves_the_champion_in_place(judged: Judge, tmp_path: Path) -> None:
    judged("M1", "nobody", {"deepfakes": 3.0})
    verdict = judged("M2", "M1", {"deepfakes": 0.2, "faceswap": 3.0}, {"faceswap": 0.2})
    assert not verdict["opens"]
    assert verdict["champion_after"] == "M1"
    refused = [r for r in verdict["rules"] if r["passed"] is False]
    assert {(r["rule"], r.get("benchmark")) for r in refused} >= {("relative", "deepfakes"), ("forgetting", None)}
    kept = Scores.read(tmp_path / "verdicts" / "M2" / "champion")
    assert kept.generation == "M1"
    assert sorted(kept.measured) == ["deepfakes", "faceswap"], "with how the champion does on what was new to it"


def test_the_heir_of_a_refused_generation_is_compared_with_the_champion_not_with_its_teacher(judged: Judge) -> None:
    judged("M1", "nobody", {"deepfakes": 3.0})
    judged("M2", "M1", {"deepfakes": 0.2, "faceswap": 3.0}, {"faceswap": 0.2})
    verdict = judged("M3", "M2", {"deepfakes": 3.0, "faceswap": 3.0, "face2face": 3.0}, {"face2face": 0.1})
    relative = {r["benchmark"]: r for r in verdict["rules"] if r["rule"] == "relative"}
    assert relative["deepfakes"]["measured"]["champion"] == "M1"
    assert relative["face2face"]["passed"] is None
    assert verdict["opens"] and verdict["champion_after"] == "M3"


def test_no_benchmark_that_is_new_since_a_refusal_escapes_the_comparison_with_the_champion(
    judged: Judge, tmp_path: Path
) -> None:
    judged("M1", "nobody", {"deepfakes": 3.0})
    judged("M2", "M1", {"deepfakes": 0.2, "faceswap": 3.0}, {"faceswap": 0.2})
    gaps = {"deepfakes": 3.0, "faceswap": 3.0, "face2face": 3.0, "diffusion": 0.2}
    new = {"face2face": 0.2, "diffusion": 3.0}
    verdict = judged("M3", "M2", gaps, new, new_to_champion={"M1": new}, rules=RULES[1:2])
    found = {rule["benchmark"]: (rule["measured"]["champion"], rule["passed"]) for rule in verdict["rules"]}
    assert found == {name: ("M1", name != "diffusion") for name in gaps}, "M1 knew it, though it never learned it"
    assert not verdict["opens"]
    assert sorted(Scores.read(tmp_path / "verdicts" / "M3" / "champion").measured) == sorted(gaps)
    cell = Matrix.read(tmp_path / "verdicts" / "M3").cell("M1", "diffusion")
    assert cell["auc"].value is not None


def test_when_nobody_ever_passed_there_is_no_champion_folder(judged: Judge, tmp_path: Path) -> None:
    first = judged("M1", "nobody", {"deepfakes": 0.1})
    second = judged("M2", "M1", {"deepfakes": 0.1, "faceswap": 0.1}, {"faceswap": 0.1})
    for verdict in (first, second):
        assert (verdict["opens"], verdict["champion"], verdict["champion_after"]) == (False, None, None)
    assert not list((tmp_path / "verdicts").glob("*/champion"))


def test_the_matrix_grows_by_a_row_and_the_teacher_fills_its_null_cells(judged: Judge, tmp_path: Path) -> None:
    judged("M1", "nobody", {"deepfakes": 3.0})
    alone = Matrix.read(tmp_path / "verdicts" / "M1")
    judged("M2", "M1", {"deepfakes": 3.0, "faceswap": 3.0}, {"faceswap": 0.2})
    matrix = Matrix.read(tmp_path / "verdicts" / "M2")
    assert (matrix.generations, matrix.benchmarks) == (("M1", "M2"), ("deepfakes", "faceswap"))
    assert matrix.cell("M1", "deepfakes") == alone.cell("M1", "deepfakes")
    blind = matrix.cell("M1", "faceswap")["auc"].value
    assert blind is not None
    assert matrix.summary("M2")["fwt"].value == pytest.approx(blind - 0.5)
    assert alone.summary("M1")["fwt"].value is None


def test_a_verdict_says_who_was_compared_with_whom_and_who_stands_after_it(judged: Judge, tmp_path: Path) -> None:
    def identity(name: str) -> dict[str, str]:
        return {"name": name, "weights": file_digest(tmp_path / "generations" / name / WEIGHTS)}

    judged("M1", "nobody", {"deepfakes": 3.0})
    verdict = judged("M2", "M1", {"deepfakes": 3.0, "faceswap": 3.0}, {"faceswap": 0.2})
    rules = verdict.pop("rules")
    assert verdict == {
        "generation": "M2",
        "line": "rsia_net",
        "opens": True,
        "founder": False,
        "candidate": identity("M2"),
        "champion": identity("M1"),
        "champion_after": "M2",
        "standing": None,
        "words": "M2: the gate opens (6 passed, 0 refused, 0 skipped).",
    }
    assert [rule["rule"] for rule in rules] == ["absolute"] * 2 + ["relative"] * 2 + ["forgetting"] * 2
    text = (tmp_path / "verdicts" / "M2" / "verdict.json").read_text()
    assert text == json.dumps({**verdict, "rules": rules}, indent=2, sort_keys=True) + "\n"  # to be read by eye, too


def test_the_verdict_and_the_words_of_every_rule_are_printed(judged: Judge, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = judged("M1", "nobody", {"deepfakes": 3.0})
    assert capsys.readouterr().out.splitlines() == [verdict["words"], *(f"  {r['words']}" for r in verdict["rules"])]


def test_the_matrix_holds_what_the_scores_say_benchmark_by_benchmark(judged: Judge, tmp_path: Path) -> None:
    judged("M1", "nobody", {"deepfakes": 2.0, "faceswap": 0.5})
    matrix, scores = Matrix.read(tmp_path / "verdicts" / "M1"), Scores.read(tmp_path / "scores" / "M1")
    assert (matrix.line, dict(matrix.learns)) == ("rsia_net", {"M1": "deepfakes"})
    for name in ("deepfakes", "faceswap"):
        known = scores.estimates(name)
        assert matrix.cell("M1", name) == {metric: known[metric] for metric in ("auc", "acc", "ap", "eer")}


def test_judging_again_gives_the_same_bytes(judged: Judge, tmp_path: Path) -> None:
    judged("M1", "nobody", {"deepfakes": 3.0})
    judged("M2", "M1", {"deepfakes": 3.0, "faceswap": 3.0}, {"faceswap": 0.2})
    again = tmp_path / "again"
    judge(
        tmp_path / "recipes" / "M2.yaml",
        tmp_path / "generations" / "M2",
        tmp_path / "scores" / "M2",
        tmp_path / "operating_points" / "M2",
        tmp_path / "verdicts" / "M1",
        *(tmp_path / kind / "nobody" for kind in ("scores", "operating_points")),
        again,
    )
    first = tmp_path / "verdicts" / "M2"
    files = sorted(p.relative_to(first) for p in first.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    for name in files:
        assert (first / name).read_bytes() == (again / name).read_bytes(), name


def test_the_operating_point_goes_with_the_verdict_and_the_champions_with_the_champion(
    judged: Judge, tmp_path: Path
) -> None:
    judged("M1", "nobody", {"deepfakes": 3.0}, point=0.5)
    verdict = judged("M2", "M1", {"deepfakes": 0.2, "faceswap": 3.0}, {"faceswap": 0.2}, point=0.7)
    assert not verdict["opens"]
    folder = tmp_path / "verdicts" / "M2"
    assert OperatingPoint.read(folder).threshold == 0.7
    assert OperatingPoint.read(folder / "champion").threshold == 0.5
    assert set(verdict["standing"]) == {"accuracy", "balanced_accuracy", "calibration_error", "false_alarms", "misses"}
    assert set(verdict["standing"]["false_alarms"]) == {"deepfakes", "faceswap"}


def test_an_heir_is_compared_with_the_champion_that_a_person_chose(judged: Judge, tmp_path: Path) -> None:
    """The gate stayed closed for M2, and a person promoted it all the same."""
    judged("M1", "nobody", {"deepfakes": 3.0}, point=0.5)
    refused = judged("M2", "M1", {"deepfakes": 0.2, "faceswap": 3.0}, {"faceswap": 0.2}, point=0.7)
    assert (refused["opens"], refused["champion_after"]) == (False, "M1")
    gaps = {"deepfakes": 0.3, "faceswap": 0.2, "face2face": 3.0}
    verdict = judged("M3", "M2", gaps, {"face2face": 0.2}, champion="M2", rules=RULES[:2])
    weights = file_digest(tmp_path / "generations" / "M2" / WEIGHTS)
    assert verdict["champion"] == {"name": "M2", "weights": weights}
    compared = {r["benchmark"]: r["passed"] for r in verdict["rules"] if r["rule"] == "relative"}
    assert compared == {"deepfakes": True, "faceswap": False, "face2face": True}, (
        "by M2's, the last by what it said beside M3"
    )
    assert verdict["champion_after"] == "M2"
    folder = tmp_path / "verdicts" / "M3" / "champion"
    assert (Scores.read(folder).generation, OperatingPoint.read(folder).threshold) == ("M2", 0.7)


def test_scores_of_somebody_else_are_not_those_of_the_chosen_champion(judged: Judge) -> None:
    judged("M1", "nobody", {"deepfakes": 3.0})
    judged("M2", "M1", {"deepfakes": 3.0, "faceswap": 3.0}, {"faceswap": 0.2})
    with pytest.raises(BrokenLineage, match=r"expected scores of 'M1' in .*found 'M2'\. Check dvc.yaml"):
        judged("M3", "M2", {"face2face": 3.0}, champion="M1", scores_of="M2")


def test_a_generation_without_an_operating_point_is_judged_by_the_rules_that_need_none(
    judged: Judge, tmp_path: Path
) -> None:
    verdict = judged("M1", "nobody", {"deepfakes": 3.0})
    assert verdict["opens"] and verdict["standing"] is None
    assert OperatingPoint.read_if_any(tmp_path / "verdicts" / "M1") is None
    assert OperatingPoint.read_if_any(tmp_path / "verdicts" / "M1" / "champion") is None


def test_an_operating_point_of_other_weights_is_refused(judged: Judge) -> None:
    with pytest.raises(BrokenLineage, match=r"operating point somebody el.*calibrate@M1"):
        judged("M1", "nobody", {"deepfakes": 3.0}, point=0.5, point_of="somebody else's")


def test_a_recipe_without_rules_leaves_no_verdict(judged: Judge, tmp_path: Path) -> None:
    with pytest.raises(BadParams, match="an empty gate approves nobody"):
        judged("M1", "nobody", {"deepfakes": 3.0}, rules=[])
    assert not (tmp_path / "verdicts" / "M1" / "verdict.json").exists()


def test_an_heir_whose_teacher_was_never_judged_cannot_be_judged(judged: Judge) -> None:
    with pytest.raises(BrokenLineage, match=r"expected a verdict at .*dvc repro judge@M1"):
        judged("M2", "M1", {"faceswap": 3.0})


def test_a_verdict_on_somebody_else_is_not_the_teachers(judged: Judge, tmp_path: Path) -> None:
    judged("M1", "nobody", {"deepfakes": 3.0})
    shutil.copytree(tmp_path / "verdicts" / "M1", tmp_path / "verdicts" / "M2")
    with pytest.raises(BrokenLineage, match=r"expected the verdict on 'M2'.*found 'M1'"):
        judged("M3", "M2", {"face2face": 3.0})


def test_scores_by_other_weights_than_the_candidates_are_refused(judged: Judge, tmp_path: Path) -> None:
    judged("M1", "nobody", {"deepfakes": 3.0})
    before = file_digest(tmp_path / "generations" / "M1" / WEIGHTS)
    (tmp_path / "generations" / "M1" / WEIGHTS).write_bytes(b"other weights")
    now = file_digest(tmp_path / "generations" / "M1" / WEIGHTS)
    known, found = before[:12], now[:12]
    said = rf"names recipe 'M1', card 'M1', scores 'M1' and weights card {known}, file {found}, scores {known}\..*evaluate@M1"
    with pytest.raises(BrokenLineage, match=said):
        judge(
            tmp_path / "recipes" / "M1.yaml",
            tmp_path / "generations" / "M1",
            tmp_path / "scores" / "M1",
            tmp_path / "operating_points" / "M1",
            tmp_path / "verdicts" / "nobody",
            *(tmp_path / kind / "nobody" for kind in ("scores", "operating_points")),
            tmp_path / "again",
        )


def test_a_champion_examined_on_other_faces_cannot_be_compared_with(judged: Judge) -> None:
    judged("M1", "nobody", {"deepfakes": 3.0})
    with pytest.raises(BrokenLineage, match=r"cropped again in between.*perennial run --again M1"):
        judged("M2", "M1", {"deepfakes": 3.0, "faceswap": 3.0}, faces="newly cropped ")


def test_a_verdict_is_plain_json_whose_rules_have_all_they_promise(judged: Judge, tmp_path: Path) -> None:
    judged("M1", "nobody", {"deepfakes": 3.0})
    raw = json.loads((tmp_path / "verdicts" / "M1" / "verdict.json").read_text())
    for rule in raw["rules"]:
        assert set(rule) - {"benchmark"} == {"rule", "measured", "required", "passed", "words"}
    assert raw["words"] == "M1: the gate opens (2 passed, 0 refused, 2 skipped)."


def test_from_the_command_line_a_missing_recipe_is_advice_and_exit_code_1(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "components.gates.judge", *(str(tmp_path / part) for part in "RGSPTCQV")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("BrokenLineage: expected the recipe")
