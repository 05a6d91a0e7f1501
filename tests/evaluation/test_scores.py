"""What a generation answered, on disk: written, read again, joined, and refused where a part is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.errors import BrokenLineage
from components.evaluation import metrics
from components.evaluation.scores import COLUMNS, Scores, metrics_of
from components.faces.table import write_parquet
from components.params import EvaluationOptions


def faces(archive: str, clips: int = 40, seed: int = 0) -> pd.DataFrame:
    """Two faces a clip, three clips in four forged by two methods, each pair of clips of one source."""
    clip = np.arange(clips).repeat(2)
    label = (clip % 4 > 0).astype(np.int64)
    return pd.DataFrame(
        {
            "archive": archive,
            "clip": [f"{c}.mp4" for c in clip],
            "frame": np.tile([0, 1], clips),
            "source": [f"s{c // 2}" for c in clip],
            "identity": "",
            "method": np.where(label == 0, "genuine", np.where(clip % 4 == 1, "swap", "warp")),
            "label": label,
            "p_fake": np.clip(0.4 + 0.2 * label + np.random.default_rng(seed).normal(0, 0.2, 2 * clips), 0, 1),
        }
    )[COLUMNS]


def examined(folder: Path, *benchmarks: str, weights: str = "w" * 64, seed: int = 0) -> Scores:
    folder.mkdir(parents=True)
    measured, tables = {}, {}
    for name in benchmarks:
        table = faces(name, seed=seed)
        tables[name] = folder / f"{name}.parquet"
        write_parquet(table, tables[name])
        measured[name] = metrics_of(table, f"faces of {name}", EvaluationOptions(bootstrap=20), seed)
    return Scores("M1", weights, measured, tables)


def test_an_entry_says_how_many_clips_there_were_and_all_that_was_measured_on_them() -> None:
    table = faces("lab")
    entry = metrics_of(table, "digest", EvaluationOptions(bootstrap=30, confidence=0.8), 5)
    clips = metrics.clip_scores(table)
    labels, scores = clips["label"].to_numpy(), clips["p_fake"].to_numpy()
    estimates = metrics.measure(clips, bootstrap=30, confidence=0.8, seed=5)
    assert entry == {
        "faces": "digest",
        "clips": 40,
        "forged": 30,
        "genuine": 10,
        **{name: estimate.as_json() for name, estimate in estimates.items()},
        "calibration_error": metrics.calibration_error(labels, scores),
        "brier": pytest.approx(np.mean((scores - labels) ** 2)),
        "methods": metrics.by_method(clips),
    }
    assert set(metrics.METRICS) < set(entry)


def test_an_entry_without_clips_has_no_numbers() -> None:
    entry = metrics_of(faces("lab").iloc[:0], "digest", EvaluationOptions(bootstrap=5), 0)
    assert (entry["clips"], entry["forged"], entry["genuine"], entry["methods"]) == (0, 0, 0, {})
    assert entry["calibration_error"] is None and entry["brier"] is None


def test_what_was_written_is_read_again_wherever_it_lies(tmp_path: Path) -> None:
    here = examined(tmp_path / "here", "deepfakes", "faceswap")
    here.write(tmp_path / "deep" / "there")
    there = Scores.read(tmp_path / "deep" / "there")
    assert (there.generation, there.weights, there.measured) == (here.generation, here.weights, here.measured)
    assert there.tables == {name: tmp_path / "deep" / "there" / f"{name}.parquet" for name in here.tables}
    for name, path in there.tables.items():
        assert path.read_bytes() == here.tables[name].read_bytes()
        pd.testing.assert_frame_equal(there.clips(name), metrics.clip_scores(faces(name)))
    text = (tmp_path / "deep" / "there" / "metrics.json").read_text()
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"  # to be read by eye, too


def test_scores_can_be_written_where_their_tables_lie_already(tmp_path: Path) -> None:
    here = examined(tmp_path / "here", "deepfakes")
    here.write(tmp_path / "here")
    assert Scores.read(tmp_path / "here").measured == here.measured


def test_scores_whose_table_is_gone_are_refused_with_its_place(tmp_path: Path) -> None:
    here = examined(tmp_path / "here", "deepfakes")
    here.write(tmp_path / "here")
    here.tables["deepfakes"].unlink()
    with pytest.raises(
        BrokenLineage, match=r"scores on 'deepfakes' at '.*deepfakes\.parquet', found none\. Run evaluate"
    ):
        Scores.read(tmp_path / "here")


def test_where_there_are_no_scores_none_are_read(tmp_path: Path) -> None:
    assert Scores.read_if_any(tmp_path) is None
    examined(tmp_path / "here", "deepfakes").write(tmp_path / "here")
    found = Scores.read_if_any(tmp_path / "here")
    assert found is not None and found.generation == "M1"


def test_a_benchmark_that_was_not_examined_has_every_metric_undefined_and_says_so(tmp_path: Path) -> None:
    scores = examined(tmp_path / "here", "deepfakes")
    assert list(scores.estimates("mask")) == list(scores.estimates("deepfakes")) == list(metrics.METRICS)
    assert all(e.value is None for e in scores.estimates("mask").values())
    assert {e.reason for e in scores.estimates("mask").values()} == {"'M1' was not examined on 'mask'"}
    known = scores.measured["deepfakes"]
    assert {name: e.as_json() for name, e in scores.estimates("deepfakes").items()} == {
        name: known[name] for name in metrics.METRICS
    }


def test_joined_scores_know_both_and_keep_what_they_knew(tmp_path: Path) -> None:
    mine = examined(tmp_path / "mine", "deepfakes", "faceswap")
    more = examined(tmp_path / "more", "faceswap", "mask", seed=1)
    both = mine.joined(more)
    assert set(both.measured) == set(both.tables) == {"deepfakes", "faceswap", "mask"}
    assert (both.measured["faceswap"], both.tables["faceswap"]) == (mine.measured["faceswap"], mine.tables["faceswap"])
    assert (both.measured["mask"], both.tables["mask"]) == (more.measured["mask"], more.tables["mask"])


def test_scores_of_other_weights_are_not_joined(tmp_path: Path) -> None:
    mine, more = examined(tmp_path / "mine", "deepfakes"), examined(tmp_path / "more", "mask")
    other = replace(more, weights="v" * 64)
    with pytest.raises(BrokenLineage, match=rf"more scores of 'M1' by weights {'w' * 12}, found {'v' * 12}\. It was"):
        mine.joined(other)
