"""The files of one generation are found together, or it is said what does not belong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.digests import file_digest
from components.errors import BrokenLineage
from components.evaluation import MATRIX_FILE
from components.evaluation.scores import METRICS_FILE
from components.gates.files import GenerationFiles
from components.gates.verdict import VERDICT_FILE
from components.generations.card import CARD, CURVE, WEIGHTS, write_card


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def files(tmp_path: Path) -> GenerationFiles:
    """The second generation of a line, whole."""
    found = GenerationFiles(
        *(tmp_path / part / "er-M2" for part in ("generations", "scores", "verdicts")), tmp_path / "r"
    )
    found.folder.mkdir(parents=True)
    (found.folder / WEIGHTS).write_bytes(b"weights")
    (found.folder / CURVE).write_text("epoch,cross_entropy,distil\n0,0.7,\n1,nan,0.2\n")
    weights = file_digest(found.folder / WEIGHTS)
    write_card(found.folder, {"generation": "er-M2", "line": "er", "learns": "mesh", "weights": weights})
    write(found.scores / METRICS_FILE, {"weights": weights})
    write(found.judged / VERDICT_FILE, {"opens": True, "candidate": {"weights": weights}})
    write(found.judged / MATRIX_FILE, {"generations": ["er-M1", "er-M2"]})
    write(tmp_path / "r", {"seed": 3})
    return found


def test_one_reader_tells_what_a_generation_is_and_what_became_of_it(files: GenerationFiles) -> None:
    files.expect_whole()
    assert (files.name, files.short, files.line, files.learns, files.index) == ("er-M2", "M2", "er", "mesh", 2)
    assert files.opens and files.recipe == {"seed": 3} and files.code is None


def test_a_curve_leaves_out_what_was_not_lost_in_an_epoch(files: GenerationFiles) -> None:
    assert files.curve == ({"epoch": 0, "cross_entropy": 0.7}, {"epoch": 1, "distil": 0.2})


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("folder", CARD), ("folder", CURVE), ("folder", WEIGHTS), ("scores", METRICS_FILE),
        ("judged", MATRIX_FILE), ("judged", VERDICT_FILE),
    ],
)  # fmt: skip
def test_a_file_that_is_missing_is_named(files: GenerationFiles, part: str, name: str) -> None:
    (getattr(files, part) / name).unlink()
    with pytest.raises(BrokenLineage, match=f"found no.*{name}|{name}', found none"):
        files.expect_whole()


def test_weights_that_are_not_those_of_the_card_belong_to_no_generation(files: GenerationFiles) -> None:
    (files.folder / WEIGHTS).write_bytes(b"others")
    with pytest.raises(BrokenLineage, match=r"card\.json' to speak of weights"):
        files.expect_whole()


@pytest.mark.parametrize(("part", "name"), [("scores", METRICS_FILE), ("judged", VERDICT_FILE)])
def test_scores_or_a_verdict_of_other_weights_belong_to_no_generation(
    files: GenerationFiles, part: str, name: str
) -> None:
    other = {"weights": "f" * 64, "candidate": {"weights": "f" * 64}}
    write(getattr(files, part) / name, other)
    with pytest.raises(BrokenLineage, match=f"{name}' to speak of weights .*, found ffffffffffff"):
        files.expect_whole()


def test_the_digest_is_another_for_another_score_or_verdict_and_the_same_for_the_same_files(
    files: GenerationFiles,
) -> None:
    def digest() -> str:
        return GenerationFiles(files.folder, files.scores, files.judged).digest

    before = digest()
    assert digest() == before
    (files.scores / "swap.parquet").write_bytes(b"scores")
    scored = digest()
    write(files.judged / VERDICT_FILE, {"opens": False})
    assert len({before, scored, digest()}) == 3
