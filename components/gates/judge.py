"""Stage judge: the rules look at a candidate, and what they say becomes an artifact.

    python -m components.gates.judge RECIPE GENERATION SCORES OPERATING_POINT TEACHER_VERDICT CHOSEN CHOSEN_POINT VERDICT

A verdict folder carries all the next judge needs of the past: the matrix so far, and the champion's score tables and
operating point. So does it the candidate's own operating point, for whoever tells of it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from components import stage
from components.digests import file_digest
from components.errors import BrokenLineage
from components.evaluation.matrix import CELL_METRICS, Matrix, Row
from components.evaluation.operating_point import OperatingPoint
from components.evaluation.point_files import POINT_FILE, told
from components.evaluation.scores import Scores
from components.gates.rules import Case, Finding, judged
from components.gates.verdict import CHAMPION, read_verdict, write_verdict
from components.generations.card import WEIGHTS, read_card
from components.generations.recipe import Recipe
from components.vocabulary import NOBODY

BESIDE = ("teacher", "champion")
"""Who was examined beside a candidate, in folders of its scores."""


@dataclass(frozen=True)
class Past:
    """What the line was when the candidate was born."""

    matrix: Matrix
    champion: Scores | None
    point: Path
    """Folder of the champion's operating point, if it has one."""


def judge(
    recipe_file: Path,
    generation: Path,
    scores: Path,
    point_folder: Path,
    teacher_verdict: Path,
    chosen: Path,
    chosen_point: Path,
    verdict: Path,
) -> None:
    """Decide whether a generation may replace the champion of its line.

    recipe_file      recipes/<generation>.yaml, with the rules
    generation       the candidate's folder
    scores           how it did, and in teacher/ and champion/ how those did on benchmarks new to them
    point_folder     its operating point, or why it has none
    teacher_verdict  its teacher's verdict folder; nobody's is empty
    chosen           scores of the champion that a person chose since, if the recipe names one; nobody's are empty
    chosen_point     and the operating point of that champion
    verdict          output: verdict.json, matrix.json, operating_point.json (the candidate's), champion/ (the score tables
                     and the operating point of the champion from now on)
    """
    recipe = Recipe.read(recipe_file)
    candidate = Scores.read(scores)
    said = told(point_folder)
    _expect_one_candidate(recipe, generation, candidate, said)
    past = _past(recipe, teacher_verdict, chosen, chosen_point)
    past = _completed(past, recipe, [found for who in BESIDE if (found := Scores.read_if_any(scores / who))])
    _expect_same_faces(candidate, past.champion)
    matrix = past.matrix.with_row(recipe.generation, recipe.row.learns, _row(candidate, recipe.benchmarks))
    case = Case(
        candidate,
        past.champion,
        matrix,
        recipe.row.learns,
        generation,
        OperatingPoint.read_if_any(point_folder),
        str(said.get("reason")),
        said.get("ladder"),
        OperatingPoint.read_if_any(past.point) if past.champion else None,
    )
    findings = judged(case, recipe.gate)
    opened = opens(findings)
    champion = candidate if opened else past.champion
    verdict.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(verdict / CHAMPION, ignore_errors=True)
    if champion:
        champion.write(verdict / CHAMPION)
        _carry(point_folder if opened else past.point, verdict / CHAMPION)
    _carry(point_folder, verdict)
    matrix.write(verdict)
    content = _verdict(recipe, candidate, past.champion, champion, findings)
    content["standing"] = case.standing.as_json() if case.standing else None
    write_verdict(verdict, content)
    print(content["words"], *(f"  {finding.words}" for finding in findings), sep="\n", flush=True)


def opens(findings: Sequence[Finding]) -> bool:
    """No rule refused, and at least one was really measured: a gate whose every rule was skipped approves nobody."""
    return all(f.passed is not False for f in findings) and any(f.passed for f in findings)


def _past(recipe: Recipe, teacher_verdict: Path, chosen: Path, chosen_point: Path) -> Past:
    """Matrix and champion as the teacher left them, or the champion that the recipe names."""
    left = teacher_verdict / CHAMPION
    if recipe.row.is_founder:
        return Past(Matrix.empty(recipe.row.line), None, left)
    before = read_verdict(teacher_verdict)
    _expect("the verdict on", recipe.row.teacher, before["generation"], teacher_verdict)
    matrix = replace(Matrix.read(teacher_verdict), line=recipe.row.line)
    if recipe.row.champion == NOBODY:
        return Past(matrix, Scores.read(left) if before["champion_after"] else None, left)
    champion = Scores.read(chosen)
    _expect("scores of", recipe.row.champion, champion.generation, chosen)
    return Past(matrix, champion, chosen_point)


def _expect(what: str, who: str, found: str, folder: Path) -> None:
    if found != who:
        raise BrokenLineage(f"expected {what} '{who}' in '{folder}', found '{found}'. Check dvc.yaml and lineage.yaml.")


def _completed(past: Past, recipe: Recipe, beside: Sequence[Scores]) -> Past:
    """With how the teacher and the champion do on what is new to them."""
    matrix, champion = past.matrix, past.champion
    for found in beside:
        matrix = matrix.with_cells(found.generation, _row(found, recipe.benchmarks))
        if champion and champion.generation == found.generation:
            champion = champion.joined(found)
    return replace(past, matrix=matrix, champion=champion)


def _row(scores: Scores, benchmarks: Sequence[str]) -> Row:
    """The cells of these scores, in the order the benchmarks joined."""
    found = {name: scores.estimates(name) for name in benchmarks if name in scores.measured}
    return {name: {metric: estimates[metric] for metric in CELL_METRICS} for name, estimates in found.items()}


def _carry(point: Path, into: Path) -> None:
    """Copy what is said of an operating point, where somebody said it."""
    (into / POINT_FILE).unlink(missing_ok=True)
    if (point / POINT_FILE).is_file():
        shutil.copyfile(point / POINT_FILE, into / POINT_FILE)


def _expect_one_candidate(recipe: Recipe, generation: Path, candidate: Scores, said: Mapping[str, Any]) -> None:
    """Recipe, card, weights on disk, scores and operating point must speak of one and the same generation."""
    card = read_card(generation)
    names = {"recipe": recipe.generation, "card": card["generation"], "scores": candidate.generation}
    weights = {"card": card["weights"], "file": file_digest(generation / WEIGHTS), "scores": candidate.weights}
    weights |= {"operating point": str(said["weights"])} if "weights" in said else {}
    if len(set(names.values())) > 1 or len(set(weights.values())) > 1:
        found = ", ".join(f"{k} '{v}'" for k, v in names.items())
        digests = ", ".join(f"{k} {v[:12]}" for k, v in weights.items())
        raise BrokenLineage(
            f"expected recipe, card and scores of one generation, found names {found} and weights {digests}. "
            f"Examine it again: `dvc repro evaluate@{recipe.generation} calibrate@{recipe.generation}`."
        )


def _expect_same_faces(candidate: Scores, champion: Scores | None) -> None:
    for name in candidate.measured if champion else ():
        mine, theirs = candidate.measured[name], champion.measured.get(name) if champion else None
        if champion and theirs and mine["faces"] != theirs["faces"]:
            raise BrokenLineage(
                f"expected candidate and champion to be examined on the same faces of '{name}', found "
                f"{mine['faces'][:12]} and {theirs['faces'][:12]}: the archive was cropped again in between. "
                f"Examine the champion again: `perennial run --again {champion.generation}`."
            )


def _verdict(
    recipe: Recipe, candidate: Scores, before: Scores | None, after: Scores | None, findings: Sequence[Finding]
) -> dict[str, Any]:
    opened = opens(findings)
    counts = {kind: sum(f.passed is kind for f in findings) for kind in (True, False, None)}
    tally = f"{counts[True]} passed, {counts[False]} refused, {counts[None]} skipped"
    return {
        "generation": recipe.generation,
        "line": recipe.row.line,
        "opens": opened,
        "founder": recipe.row.is_founder,
        "candidate": {"name": candidate.generation, "weights": candidate.weights},
        "champion": {"name": before.generation, "weights": before.weights} if before else None,
        "champion_after": after.generation if after else None,
        "rules": [finding.as_json() for finding in findings],
        "words": f"{recipe.generation}: the gate {'opens' if opened else 'stays closed'} ({tally}).",
    }


if __name__ == "__main__":
    stage.run(judge, brief=True)
