"""The stages add_benchmark and evaluate on a real, small workspace."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from components.detectors import Detection, Detector
from components.errors import BrokenLineage, StageFailed
from components.evaluation import scoring
from components.evaluation.add_benchmark import add_benchmark, read_bench
from components.evaluation.evaluate import evaluate
from components.evaluation.examiner import KEPT
from components.evaluation.metrics import METRICS
from components.evaluation.scores import COLUMNS, Scores
from components.faces.table import FaceTable, encode
from components.generations.card import read_card
from components.generations.generation import load_detector, save_generation

WriteRecipe = Callable[..., Path]


def examine(workspace: Path, recipe: Path, generation: str, teacher: str, bench: str, out: str = "scores") -> Path:
    generations = workspace / "generations"
    old = workspace / "nobody" if teacher == "nobody" else generations / teacher
    scores = workspace / out
    champion, chosen = workspace / "verdicts" / teacher / "champion", workspace / "chosen"
    of = workspace / "benches" / bench
    evaluate(recipe, generations / generation, old, champion, chosen, generations, of, workspace / "faces", scores)
    return scores


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_champion_older_than_the_teacher_is_examined_on_what_it_never_met(
    workspace: Path, recipe: WriteRecipe
) -> None:
    """M1 is the champion and M2, its heir, was refused: M3 learns from M2 and is compared with M1."""
    founder = examine(workspace, recipe("M1", "nobody", ["deepfakes"], []), "M1", "nobody", "faceswap", "of M1")
    Scores.read(founder).write(workspace / "verdicts" / "M2" / "champion")
    asked = recipe("M3", "M2", ["deepfakes", "faceswap"], ["deepfakes", "faceswap"])
    scores = examine(workspace, asked, "M3", "M2", "faceswap")
    found = Scores.read(scores / "champion")
    assert (found.generation, list(found.measured)) == ("M1", ["faceswap"])
    assert found.weights == Scores.read(founder).weights
    assert not (scores / "teacher").exists(), "M2 has met both"


def test_the_champion_that_a_person_chose_is_examined_on_what_it_never_met(
    workspace: Path, recipe: WriteRecipe
) -> None:
    """The gate opened for M2, and a person went back to M1: M3 learns from M2 and is compared with M1."""
    founder = examine(workspace, recipe("M1", "nobody", ["deepfakes"], []), "M1", "nobody", "faceswap", "of M1")
    Scores.read(founder).write(workspace / "chosen")
    asked = recipe("M3", "M2", ["deepfakes", "faceswap"], ["deepfakes", "faceswap"], champion="M1")
    scores = examine(workspace, asked, "M3", "M2", "faceswap")
    found = Scores.read(scores / "champion")
    assert (found.generation, list(found.measured)) == ("M1", ["faceswap"])
    unchosen = recipe("M3", "M2", ["deepfakes", "faceswap"], ["deepfakes", "faceswap"])
    assert not (examine(workspace, unchosen, "M3", "M2", "faceswap", "unchosen") / "champion").exists()


def test_a_champion_that_is_the_teacher_is_examined_once(workspace: Path, recipe: WriteRecipe) -> None:
    founder = examine(workspace, recipe("M1", "nobody", ["deepfakes"], []), "M1", "nobody", "faceswap", "of M1")
    Scores.read(founder).write(workspace / "verdicts" / "M1" / "champion")
    scores = examine(workspace, recipe("M2", "M1", ["deepfakes", "faceswap"], ["deepfakes"]), "M2", "M1", "faceswap")
    assert list(Scores.read(scores / "teacher").measured) == ["faceswap"]
    assert not (scores / "champion").exists()


def test_a_founder_is_examined_on_every_benchmark_and_has_no_teacher_to_examine(
    workspace: Path, recipe: WriteRecipe
) -> None:
    scores = examine(workspace, recipe("M1", "nobody", ["deepfakes", "faceswap"], []), "M1", "nobody", "faceswap")
    assert sorted(files(scores)) == ["deepfakes.parquet", "faceswap.parquet", "metrics.json"]
    found = Scores.read(scores)
    assert found.generation == "M1"
    measured = found.measured["deepfakes"]
    assert (measured["clips"], measured["forged"], measured["genuine"]) == (8, 4, 4)
    assert set(METRICS) <= set(measured)
    assert measured["methods"]["deepfakes"]["clips"] == 4
    assert measured["faces"] == FaceTable.load(workspace / "faces" / "deepfakes").digest


def test_a_score_table_holds_the_test_faces_alone_in_the_order_of_the_face_table(
    workspace: Path, recipe: WriteRecipe
) -> None:
    scores = examine(workspace, recipe("M1", "nobody", ["deepfakes"], []), "M1", "nobody", "deepfakes")
    table = pd.read_parquet(scores / "deepfakes.parquet")
    rows = FaceTable.load(workspace / "faces" / "deepfakes").rows
    expected = rows[rows["split"] == "test"]
    assert list(table.columns) == COLUMNS
    assert list(zip(table["clip"], table["frame"], strict=True)) == list(
        zip(expected["clip"], expected["frame"], strict=True)
    )
    assert table["p_fake"].dtype == np.float64
    assert table["p_fake"].between(0, 1).all()


def test_the_teacher_is_examined_only_on_benchmarks_new_to_it(workspace: Path, recipe: WriteRecipe) -> None:
    recipe_file = recipe("M2", "M1", ["deepfakes", "faceswap"], ["deepfakes"])
    scores = examine(workspace, recipe_file, "M2", "M1", "faceswap")
    teacher = Scores.read(scores / "teacher")
    assert (teacher.generation, list(teacher.measured)) == ("M1", ["faceswap"])
    assert teacher.weights != Scores.read(scores).weights


def test_examining_again_gives_the_same_bytes_from_the_faces_or_from_what_was_kept(
    workspace: Path, recipe: WriteRecipe
) -> None:
    recipe_file = recipe("M2", "M1", ["deepfakes", "faceswap"], ["deepfakes"])
    first, kept = (files(examine(workspace, recipe_file, "M2", "M1", "faceswap", out)) for out in ("a", "b"))
    for file in KEPT.rglob("*.parquet"):
        file.unlink()
    afresh = files(examine(workspace, recipe_file, "M2", "M1", "faceswap", "c"))
    assert first == kept == afresh


def test_an_examination_that_was_killed_goes_on_with_what_it_had_finished(
    workspace: Path, recipe: WriteRecipe, killed_at_the_second: list[str]
) -> None:
    recipe_file = recipe("M1", "nobody", ["deepfakes", "faceswap"], [])
    with pytest.raises(KeyboardInterrupt):
        examine(workspace, recipe_file, "M1", "nobody", "faceswap")
    examine(workspace, recipe_file, "M1", "nobody", "faceswap")
    assert killed_at_the_second == ["M1 on deepfakes", "M1 on faceswap", "M1 on faceswap"]


def test_a_kept_table_that_cannot_be_read_is_scored_again(workspace: Path, recipe: WriteRecipe) -> None:
    recipe_file = recipe("M1", "nobody", ["deepfakes"], [])
    whole = files(examine(workspace, recipe_file, "M1", "nobody", "deepfakes"))
    for file in KEPT.rglob("*.parquet"):
        file.write_bytes(b"half a table")
    assert files(examine(workspace, recipe_file, "M1", "nobody", "deepfakes")) == whole


def test_faces_that_changed_since_they_joined_the_bench_are_refused_with_advice(
    workspace: Path, recipe: WriteRecipe
) -> None:
    table = FaceTable.load(workspace / "faces" / "deepfakes")
    table.take(range(6), workspace / "faces" / "deepfakes")
    with pytest.raises(BrokenLineage, match=r"expected faces .* of benchmark 'deepfakes'.*dvc checkout"):
        examine(workspace, recipe("M1", "nobody", ["deepfakes"], []), "M1", "nobody", "deepfakes")


def test_a_benchmark_that_is_not_on_the_bench_is_refused_with_what_is(workspace: Path, recipe: WriteRecipe) -> None:
    with pytest.raises(BrokenLineage, match=r"expected benchmark 'faceswap' on the bench .*, found deepfakes"):
        examine(workspace, recipe("M1", "nobody", ["faceswap"], []), "M1", "nobody", "deepfakes")


def test_an_archive_without_test_clips_is_no_number_but_a_reason(workspace: Path, recipe: WriteRecipe) -> None:
    faces = workspace / "faces" / "deepfakes"
    table = FaceTable.load(faces)
    table.take(np.flatnonzero(table.rows["split"] == "train"), faces)
    add_benchmark(faces, workspace / "nobody", workspace / "benches" / "deepfakes", name="deepfakes")
    scores = examine(workspace, recipe("M1", "nobody", ["deepfakes"], []), "M1", "nobody", "deepfakes")
    found = Scores.read(scores).estimates("deepfakes")
    assert all(e.value is None and e.reason == "no clip was scored" for e in found.values())


def test_scores_do_not_depend_on_the_mode_a_detector_was_left_in(workspace: Path) -> None:
    table = FaceTable.load(workspace / "faces" / "deepfakes")
    detector = load_detector(workspace / "generations" / "M1")
    first = scoring.score(detector, table, range(6), 6)
    again = scoring.score(detector.train(), table, range(6), 6)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(scoring.score(detector, table, range(6), 4), first, atol=1e-5)
    np.testing.assert_allclose(scoring.score(detector, table, [5, 0], 2), first[[5, 0]], atol=1e-5)


def test_faces_are_brought_to_the_device_that_is_asked_for(workspace: Path) -> None:
    met: list[str] = []

    class Elsewhere(Detector):
        """Notes where its faces lie; "meta" is a device that every machine has."""

        def forward(self, faces: torch.Tensor) -> Detection:
            met.append(faces.device.type)
            return Detection(torch.zeros(len(faces), 2), torch.zeros(len(faces), 1), ())

    found = scoring.score(Elsewhere(), FaceTable.load(workspace / "faces" / "deepfakes"), range(5), 3, "meta")
    assert met == ["meta", "meta"] and found.tolist() == [0.5] * 5


def test_a_generation_is_examined_as_its_strategy_answers(workspace: Path, recipe: WriteRecipe) -> None:
    raised = workspace / "generations" / "M1"
    detector, recipe_file = load_detector(raised), recipe("M1", "nobody", ["deepfakes"], [])
    table = FaceTable.load(workspace / "faces" / "deepfakes")
    by_head = Scores.read(examine(workspace, recipe_file, "M1", "nobody", "deepfakes", "by_head")).clips("deepfakes")
    wide = detector(torch.zeros(1, 3, 64, 64)).embedding.shape[1]
    points = torch.nn.functional.normalize(torch.randn(2, wide, generator=torch.Generator().manual_seed(0)))
    prototypes = {f"prototype.{label}.deepfakes": points[label] for label in (0, 1)}
    save_generation(raised, detector, prototypes, {**read_card(raised), "strategy": "icarl"})
    examine(workspace, recipe_file, "M1", "nobody", "deepfakes", "by_prototype")
    found = pd.read_parquet(workspace / "by_prototype" / "deepfakes.parquet")["p_fake"].to_numpy()
    held_out = np.flatnonzero((table.rows["split"] == "test").to_numpy())
    asked = torch.from_numpy(table.images(held_out)).permute(0, 3, 1, 2).float() / 255
    seen = torch.nn.functional.normalize(detector(asked).embedding)
    near = torch.softmax(-torch.cdist(seen, points).square().double(), dim=1)[:, 1]
    np.testing.assert_allclose(found, near.numpy(), atol=1e-5)
    assert not np.allclose(by_head["p_fake"], found[: len(by_head)])


def test_validation_faces_are_scored_beside_the_test_tables_once_and_only_where_the_recipe_asks(
    workspace: Path, recipe: WriteRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = workspace / "faces" / "deepfakes"
    table = FaceTable.load(faces)
    images = [encode(table.image(row)) for row in range(len(table))]
    split = table.rows.assign(split=["val" if clip in ("0.mp4", "1.mp4") else "test" for clip in table.rows["clip"]])
    FaceTable.write(faces, split, images, {"detector": "none"})
    add_benchmark(faces, workspace / "nobody", workspace / "benches" / "deepfakes", name="deepfakes")
    plain = files(examine(workspace, recipe("M1", "nobody", ["deepfakes"], []), "M1", "nobody", "deepfakes", "plain"))
    asked: list[str] = []
    score = scoring.score
    monkeypatch.setattr(scoring, "score", lambda *given: (asked.append(str(given[-1])), score(*given))[1])
    both = recipe("M1", "nobody", ["deepfakes"], [], validation=True)
    first, again = (files(examine(workspace, both, "M1", "nobody", "deepfakes", out)) for out in ("a", "b"))
    assert asked == ["M1 on deepfakes (val)"], "test faces were scored before"
    assert first == again
    assert {name: first[name] for name in plain} == plain
    assert set(first) - set(plain) == {"validation/deepfakes.parquet", "validation/metrics.json"}
    held = pd.read_parquet(workspace / "a" / "validation" / "deepfakes.parquet")
    assert set(held["clip"]) == {"0.mp4", "1.mp4"}
    assert Scores.read(workspace / "a" / "validation").measured["deepfakes"]["clips"] == 2


def test_an_answer_that_is_no_number_stops_the_stage(workspace: Path) -> None:
    detector = load_detector(workspace / "generations" / "M1")
    with torch.no_grad():
        next(p for p in detector.head.parameters()).fill_(float("nan"))  # type: ignore[union-attr]
    with pytest.raises(StageFailed, match=r"found NaN for one of clip '0\.mp4'"):
        scoring.score(detector, FaceTable.load(workspace / "faces" / "deepfakes"), range(6), 6)


def test_a_bench_grows_in_the_order_of_landing_and_its_elders_stay_as_they_were(workspace: Path) -> None:
    assert list(read_bench(workspace / "benches" / "faceswap")) == ["deepfakes", "faceswap"]
    assert list(read_bench(workspace / "benches" / "deepfakes")) == ["deepfakes"]
    written = json.loads((workspace / "benches" / "faceswap" / "bench.json").read_text())
    assert written["faceswap"] == {"faces": FaceTable.load(workspace / "faces" / "faceswap").digest}


def test_an_archive_cannot_join_a_bench_twice(workspace: Path) -> None:
    bench = workspace / "benches" / "deepfakes"
    with pytest.raises(BrokenLineage, match=r"archives\.deepfakes\.after"):
        add_benchmark(workspace / "faces" / "deepfakes", bench, workspace / "again", name="deepfakes")


def test_reading_scores_where_none_are_names_the_stage_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(BrokenLineage, match="Run the evaluate stage first"):
        Scores.read(tmp_path)
