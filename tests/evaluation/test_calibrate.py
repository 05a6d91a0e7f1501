"""The stage calibrate: an operating point from validation clips of what was taught, or the reason why there is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components import orders
from components.errors import BrokenLineage
from components.evaluation.add_benchmark import add_benchmark
from components.evaluation.calibrate import calibrate, fit, lacking, looked_at, quality
from components.evaluation.examiner import KEPT
from components.evaluation.ladder import RUNGS
from components.evaluation.matrix import Matrix
from components.evaluation.metrics import clip_scores
from components.evaluation.operating_point import OperatingPoint
from components.evaluation.point_files import FAMILIARITY_FILE, POINT_FILE, POPULATION_FILE, told
from components.evaluation.population import Population
from components.faces.quality import COLUMNS
from components.faces.table import FaceTable, encode
from components.params import OperatingPointOptions, Withdrawal

from .conftest import write_generation

ARCHIVES = ("deepfakes", "faceswap")
GENUINE = {"deepfakes": 12, "faceswap": 10, "later": 3}
Calibrate = Callable[..., Path]


@pytest.fixture(autouse=True)
def _as_it_was(torch_as_it_was: None) -> None:
    """The stage fixes threads and kernels."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two taught archives and one that is not: validation clips of one face, and some to learn and to be judged by."""
    monkeypatch.chdir(tmp_path)
    before = tmp_path / "benches" / "nobody"
    before.mkdir(parents=True)
    for seed, name in enumerate((*ARCHIVES, "later")):
        write_faces(tmp_path / "faces" / name, name, seed)
        add_benchmark(tmp_path / "faces" / name, before, tmp_path / "benches" / name, name=name)
        before = tmp_path / "benches" / name
    write_generation(tmp_path / "generations" / "M2", "M2", 0)
    Matrix.empty("rsia_net").with_row("M1", "deepfakes", {}).write(made(tmp_path / "verdicts" / "M1"))
    orders.write(tmp_path / "withdrawn.yaml", [])
    return tmp_path


@pytest.fixture
def calibrated(place: Path, workspace_recipe) -> Calibrate:
    """Run the stage on M2, and give its folder."""

    def run(out: str = "point", withdrawn: tuple[Withdrawal, ...] = (), **options: object) -> Path:
        orders.write(place / "withdrawn.yaml", withdrawn)
        recipe = workspace_recipe(place, options)
        folders = (place / "verdicts" / "M1", place / "benches" / "later", place / "faces")
        calibrate(recipe, place / "generations" / "M2", *folders, place / "withdrawn.yaml", place / out)
        return place / out

    return run


@pytest.fixture
def workspace_recipe() -> Callable[[Path, dict[str, object]], Path]:
    from components.generations.recipe import Recipe
    from components.params import parse

    def write(place: Path, options: dict[str, object]) -> Path:
        raw = {
            "generation": "M2",
            "row": {"line": "rsia_net", "detector": "rsia_net", "strategy": "finetune", "learns": "faceswap",
                    "teacher": "M1", "bench": "later"},
            "detector": {"name": "rsia_net", "options": {"size": "tiny"}},
            "strategy": {"name": "finetune"},
            "memory": {}, "training": {}, "evaluation": {"batch": 16}, "gate": [], "seed": 0,
            "operating_point": options,
            "benchmarks": [*ARCHIVES, "later"],
        }  # fmt: skip
        path = place / "recipes" / "M2.yaml"
        parse(Recipe, raw, path.name).write(path)
        return path

    return write


def made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_faces(folder: Path, archive: str, seed: int) -> None:
    """As many forged clips as genuine ones, one face each; forged ones brighter, each clip a source of its own."""
    rng = np.random.default_rng(seed)
    splits = [("val", n, label) for n in range(GENUINE[archive]) for label in (0, 1)]
    splits += [(split, n, label) for split in ("train", "test") for n in range(3) for label in (0, 1)]
    rows = [
        {
            "archive": archive, "clip": f"{split}-{n}-{label}.png", "frame": 0, "label": label,
            "method": archive if label else "genuine", "identity": "", "source": f"{archive}-{split}-{n}",
            "split": split, "landmarks": np.zeros(10), "box": np.zeros(4), "score": 0.9, "face_px": 60.0 + n,
        }
        for split, n, label in splits
    ]  # fmt: skip
    images = [encode((rng.integers(0, 150, (48, 48, 3)) + 100 * row["label"]).astype(np.uint8)) for row in rows]
    FaceTable.write(folder, pd.DataFrame(rows), images, {"detector": "none"})


def test_a_generation_gets_an_operating_point_from_all_that_its_line_was_taught(calibrated: Calibrate) -> None:
    folder = calibrated()
    said, point = told(folder), OperatingPoint.read(folder)
    assert (said["generation"], said["taught"], said["ladder"]) == ("M2", list(ARCHIVES), None)
    assert {name: (n["genuine"], n["forged"]) for name, n in point.found["validation"].items()} == {
        "deepfakes": (12, 12),
        "faceswap": (10, 10),
    }
    assert point.found["false_alarms"]["value"] <= 0.05
    assert 0 < point.found["false_alarms"]["high"] < 0.2
    assert set(point.found["cllr_by_kind"]) <= {"temperature", "platt", "isotonic"}
    assert point.found["quality"]["face_px"]["quantiles"]["0.5"] > 60
    assert set(point.familiarity.found["beyond"]) == {"later"}, "which validates, and was not taught"


def test_the_validation_clips_are_kept_for_comparing_later_files_with_them(calibrated: Calibrate) -> None:
    found = Population.read(calibrated())
    assert found is not None and len(found) == 2 * (12 + 10)
    assert len(set(found.sources)) == 12 + 10
    assert set(found.traits) == {"picture", "embedding"}
    assert sorted(set(found.quality["face_px"])) == [60.0 + number for number in range(12)]
    assert set(found.quality) == {"detector_score", *COLUMNS}


def test_calibrating_again_gives_the_same_bytes_from_the_faces_or_from_what_was_kept(calibrated: Calibrate) -> None:
    first, kept = calibrated("a"), calibrated("b")
    for file in KEPT.rglob("*.parquet"):
        file.unlink()
    afresh = calibrated("c")
    for name in (POINT_FILE, FAMILIARITY_FILE, POPULATION_FILE):
        assert (first / name).read_bytes() == (kept / name).read_bytes() == (afresh / name).read_bytes()


def test_a_calibration_that_was_killed_goes_on_with_the_answers_it_had(
    calibrated: Calibrate, killed_at_the_second: list[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        calibrated()
    assert OperatingPoint.read_if_any(calibrated())
    assert killed_at_the_second == ["M2 on deepfakes (val)", "M2 on faceswap (val)", "M2 on faceswap (val)"]


def test_too_few_clips_make_no_operating_point_and_the_file_says_what_it_takes(calibrated: Calibrate) -> None:
    folder = calibrated(false_alarms=0.01)
    assert OperatingPoint.read_if_any(folder) is None
    assert [path.name for path in folder.iterdir()] == [POINT_FILE]
    words = "22 genuine and 22 forged validation clips.*a threshold for 1% false alarms takes 99 genuine"
    with pytest.raises(BrokenLineage, match=words):
        OperatingPoint.read(folder)


def test_who_was_withdrawn_is_neither_counted_nor_looked_at(calibrated: Calibrate, place: Path) -> None:
    gone = Withdrawal(archive="deepfakes", source="deepfakes-val-0")
    point = OperatingPoint.read(calibrated(withdrawn=(gone,)))
    assert point.found["validation"]["deepfakes"]["genuine"] == 11
    rows = FaceTable.load(place / "faces" / "deepfakes").rows
    looked = rows.iloc[looked_at(rows, "val", [gone])]
    assert "deepfakes-val-0" not in set(looked["source"]) and len(looked) == 22


def test_the_ladder_is_climbed_where_somebody_asks_and_of_what_was_taught(calibrated: Calibrate) -> None:
    said = told(calibrated(false_alarms=0.01, ladder=True))
    assert said["point"] is None
    assert {name: climbed["faces"] for name, climbed in said["ladder"].items()} == dict.fromkeys(ARCHIVES, 6)
    assert all(set(climbed["rungs"]) == set(RUNGS) for climbed in said["ladder"].values())


# -- the fit -----------------------------------------------------------------------------------------------------------


def clips(gap: float, count: int = 200, seed: int = 0) -> pd.DataFrame:
    label = np.arange(count) % 2
    x = np.random.default_rng(seed).normal(gap * (label - 0.5), 1)
    table = {"archive": "a", "clip": np.arange(count).astype(str), "source": (np.arange(count) // 2).astype(str)}
    return clip_scores(pd.DataFrame({**table, "method": "m", "label": label, "p_fake": 1 / (1 + np.exp(-x))}))


def test_nine_in_ten_held_out_clips_are_answered_and_false_alarms_keep_the_stated_rate() -> None:
    point = fit(clips(4.0), OperatingPointOptions(), 0.95)
    new = clips(4.0, 2000, seed=1)
    labels, scores = new["label"].to_numpy(), new["p_fake"].to_numpy()
    called = point.called(scores)
    assert np.mean([one is None for one in called]) < 0.08
    assert point.forged(scores)[labels == 0].mean() < 0.08
    assert point.forged(scores)[labels == 1].mean() > 0.9
    assert point.likelihood_ratio(np.array([0.01]))[0] < 0.1 < 10 < point.likelihood_ratio(np.array([0.99]))[0]


def test_what_lacks_is_told_and_a_lone_source_is_not_enough() -> None:
    options, table = OperatingPointOptions(), clips(1.0, 100)
    assert lacking(table, options) is None
    assert "of 1 and 1 sources" in (lacking(table.assign(source="s"), options) or "")
    assert "0 forged" in (lacking(table[table["label"] == 0], options) or "")
    assert lacking(table.iloc[:0], options).startswith("0 genuine and 0 forged")


def test_every_number_a_face_table_says_of_a_face_is_described_and_unknown_ones_are_not() -> None:
    unknown = dict.fromkeys(COLUMNS, np.nan)
    found = quality(pd.DataFrame({**unknown, "score": [0.9, 0.8, np.nan], "face_px": [20.0, 40.0, 60.0], "frame": 1}))
    assert {name: one["faces"] for name, one in found.items()} == {"face_px": 3, "score": 2}
    assert found["face_px"]["quantiles"]["0.5"] == 40


def test_a_point_is_read_as_it_was_written_and_without_its_statistics_knows_no_strangers(calibrated: Calibrate) -> None:
    folder = calibrated()
    point = OperatingPoint.read(folder)
    traits = {"picture": np.zeros((2, 84), np.float32), "embedding": np.zeros((2, 32), np.float32)}
    assert point.unfamiliarity(traits).shape == (2,)
    (folder / FAMILIARITY_FILE).unlink()
    bare = OperatingPoint.read(folder)
    assert (bare.threshold, bare.calibration) == (point.threshold, point.calibration)
    with pytest.raises(BrokenLineage, match=FAMILIARITY_FILE):
        bare.unfamiliarity(traits)
    assert json.loads((folder / POINT_FILE).read_text())["format"] == 1
