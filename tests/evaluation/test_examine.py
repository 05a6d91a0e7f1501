"""The stage examine: a cell more for a generation that was judged before a benchmark joined."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from components.errors import BrokenLineage
from components.evaluation import late, scoring
from components.evaluation.evaluate import evaluate
from components.evaluation.examine import examine
from components.evaluation.scores import Scores

WriteRecipe = Callable[..., Path]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was really scored, by its title."""
    titles: list[str] = []
    score = scoring.score

    def noted(*args: object) -> object:
        titles.append(str(args[-1]))
        return score(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(scoring, "score", noted)
    return titles


def meet(workspace: Path, recipe: Path, generation: str, benchmark: str, before: str = "nobody") -> Path:
    """The examination of a generation on a benchmark, under the name of both."""
    found = workspace / f"{generation}_on_{benchmark}"
    folder, bench = workspace / "generations" / generation, workspace / "benches" / benchmark
    examine(recipe, folder, bench, workspace / "faces", workspace / before, found, benchmark=benchmark)
    return found


def looked_at(workspace: Path, recipe: Path, generation: Path, teacher: Path) -> Path:
    """Its scores by the stage evaluate, in a line without a champion."""
    scores, bench = workspace / "scores", workspace / "benches" / "faceswap"
    no_champion, generations = workspace / "none", workspace / "generations"
    evaluate(recipe, generation, teacher, no_champion, no_champion, generations, bench, workspace / "faces", scores)
    return scores


def test_it_is_scored_as_evaluate_scores_and_says_so_in_the_same_files(workspace: Path, recipe: WriteRecipe) -> None:
    found = meet(workspace, recipe("M1", "nobody", ["deepfakes"], []), "M1", "faceswap")
    both = recipe("M1", "nobody", ["deepfakes", "faceswap"], [])
    scores = looked_at(workspace, both, workspace / "generations" / "M1", workspace / "nobody")
    assert (found / "faceswap.parquet").read_bytes() == (scores / "faceswap.parquet").read_bytes()
    assert list(Scores.read(found).measured) == ["faceswap"]
    assert Scores.read(found).measured["faceswap"] == Scores.read(scores).measured["faceswap"]


def test_a_cell_is_scored_once_whichever_stage_asks(workspace: Path, recipe: WriteRecipe, asked: list[str]) -> None:
    found = meet(workspace, recipe("M1", "nobody", ["deepfakes"], []), "M1", "faceswap")
    heir = recipe("M2", "M1", ["deepfakes", "faceswap"], ["deepfakes"])
    looked_at(workspace, heir, workspace / "generations" / "M2", workspace / "generations" / "M1")
    assert asked == ["M1 on faceswap", "M2 on deepfakes", "M2 on faceswap"]
    beside = workspace / "scores" / "teacher" / "faceswap.parquet"
    assert beside.read_bytes() == (found / "faceswap.parquet").read_bytes()


def test_the_last_examination_of_a_line_knows_them_all(workspace: Path, recipe: WriteRecipe) -> None:
    first = meet(workspace, recipe("M1", "nobody", ["deepfakes"], []), "M1", "faceswap")
    second = meet(workspace, recipe("M2", "M1", ["deepfakes"], []), "M2", "faceswap", before=first.name)
    cells = late.read(second)
    assert [(cell.generation, cell.benchmark) for cell in cells] == [("M1", "faceswap"), ("M2", "faceswap")]
    assert cells[0] == late.read(first)[0] and cells[0].weights == Scores.read(first).weights
    assert cells[1].measured == Scores.read(second).measured["faceswap"]
    assert late.read(workspace / "nobody") == []


def test_faces_that_changed_since_they_joined_are_refused_as_by_evaluate(workspace: Path, recipe: WriteRecipe) -> None:
    (workspace / "faces" / "faceswap").rename(workspace / "faces" / "other")
    (workspace / "faces" / "deepfakes").rename(workspace / "faces" / "faceswap")
    with pytest.raises(BrokenLineage, match=r"expected faces .* of benchmark 'faceswap'.*dvc checkout"):
        meet(workspace, recipe("M1", "nobody", ["deepfakes"], []), "M1", "faceswap")
