"""Evaluation against the golden vectors: whatever cases a file holds, the law must give its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pytest

from components.evaluation import metrics, transfer
from components.evaluation.comparison import delong
from components.evaluation.estimate import Estimate

Arrays = dict[str, np.ndarray]
Golden = Callable[[str], Arrays]


def cases(arrays: Arrays, ending: str) -> Iterator[str]:
    found = [name.removesuffix(ending) for name in arrays if name.endswith(ending)]
    assert found, f"no array ends in {ending}"
    yield from found


def value(estimate: Estimate) -> float:
    assert estimate.value is not None, estimate.reason
    return estimate.value


def test_the_equal_error_rate_is_the_interpolated_one(golden: Golden) -> None:
    g = golden("06_eer_video_mean")
    for case in cases(g, "_eer_nearest"):
        found = metrics.equal_error_rate(g[f"{case}_labels"], g[f"{case}_score"])
        assert found == pytest.approx(float(g[f"{case}_eer"]), abs=1e-9), case


def test_a_clip_scores_the_mean_of_its_faces(golden: Golden) -> None:
    g = golden("06_eer_video_mean")
    faces = faces_of("", [p.rpartition("/")[0] for p in g["frame_path"]], g["frame_label"], g["frame_prob_fake"])
    clips = metrics.clip_scores(faces)
    assert list(clips["clip"]) == list(g["video_key"])
    np.testing.assert_allclose(clips["p_fake"], g["video_prob_fake_mean"], atol=1e-12)
    np.testing.assert_array_equal(clips["label"], g["video_label"])
    assert metrics.equal_error_rate(clips["label"].to_numpy(), clips["p_fake"].to_numpy()) == pytest.approx(
        float(g["video_eer"]), abs=1e-9
    )


def test_equal_names_in_other_folders_are_other_clips(golden: Golden) -> None:
    g = golden("07_video_auc")
    names = [f"{source}/{video}" for source, video in zip(g["frame_source"], g["frame_video"], strict=True)]
    clips = metrics.clip_scores(faces_of(g["frame_dataset"], names, g["frame_label"], g["frame_score"]))
    np.testing.assert_allclose(clips["p_fake"], g["video_score"], atol=1e-12)
    np.testing.assert_array_equal(clips["label"], g["video_label"])
    for subset in cases(g, "_video_acc"):
        mine = clips if subset == "all" else clips[clips["archive"].map(plain).str.startswith(subset)]
        for name, tolerance in (("auc", 1e-12), ("ap", 1e-12), ("acc", 1e-12), ("eer", 1e-9)):
            found = metrics.point(name, mine["label"].to_numpy(), mine["p_fake"].to_numpy())
            assert value(found) == pytest.approx(float(g[f"{subset}_video_{name}"]), abs=tolerance), (subset, name)
    whole = metrics.auc(clips["label"].to_numpy(), clips["p_fake"].to_numpy())
    assert abs(whole - float(g["folder_grouping_video_auc"])) > 1e-6
    assert metrics.auc(g["frame_label"], g["frame_score"]) == pytest.approx(float(g["frame_auc"]), abs=1e-12)
    assert metrics.average_precision(g["frame_label"], g["frame_score"]) == pytest.approx(
        float(g["frame_ap"]), abs=1e-12
    )


NAMED = {
    "final_average": transfer.average,
    "average_incremental": transfer.average_incremental,
    "stage2_mean": transfer.stage2_mean,
    "lower_triangle_mean": transfer.lower_triangle_mean,
    "plasticity": transfer.plasticity,
    "anti_forgetting_final": transfer.anti_forgetting,
    "anti_forgetting_mean": transfer.anti_forgetting_mean,
    "bwt": transfer.bwt,
    "bwt_all": transfer.bwt_all,
    "fwt_half": transfer.fwt,
    "forgetting": transfer.forgetting,
    "forgetting_a": lambda R: transfer.forgetting(R, "avalanche"),
    "forgetting_c": lambda R: transfer.forgetting(R, "rwalk"),
    "forgetting_d": lambda R: transfer.forgetting(R, "pycil"),
    "forgetting_e": lambda R: transfer.forgetting(R, "mammoth"),
}


@pytest.mark.parametrize("name", NAMED)
def test_continual_metrics_have_the_values_of_their_definitions(golden: Golden, name: str) -> None:
    g = golden("20_continual_metrics")
    for case in cases(g, "_scores"):
        R = g[f"{case}_scores"]
        before = R.copy()
        assert value(NAMED[name](R)) == pytest.approx(float(g[f"{case}_{name}"]), abs=1e-12), case
        np.testing.assert_array_equal(R, before)


def test_continual_metrics_by_stage_and_task_have_the_values_of_their_definitions(golden: Golden) -> None:
    g = golden("20_continual_metrics")
    for case in cases(g, "_scores"):
        R = g[f"{case}_scores"]
        np.testing.assert_allclose(transfer.stage_averages(R), g[f"{case}_stage_average"], atol=1e-12)
        np.testing.assert_allclose(transfer.anti_forgettings(R), g[f"{case}_anti_forgetting"], atol=1e-12)
        np.testing.assert_allclose(transfer.forgetting_per_task(R), g[f"{case}_forgetting_per_task"], atol=1e-12)
        assert value(transfer.fwt(R, g[f"{case}_untrained"])) == pytest.approx(float(g[f"{case}_fwt"]), abs=1e-12)
        assert value(transfer.fwt(R, 0)) == pytest.approx(float(g[f"{case}_fwt_no_baseline"]), abs=1e-12)


def test_delong_agrees_with_its_definition(golden: Golden) -> None:
    g = golden("28_delong")
    for case in cases(g, "_score_a"):
        found = delong(g[f"{case}_labels"], g[f"{case}_score_a"], g[f"{case}_score_b"])
        np.testing.assert_allclose(found.auc, g[f"{case}_auc"], atol=1e-10)
        np.testing.assert_allclose(found.covariance, g[f"{case}_covariance"], atol=1e-10)
        assert found.variance_of_difference == pytest.approx(float(g[f"{case}_variance_of_difference"]), abs=1e-10)
        assert found.z() == pytest.approx(float(g[f"{case}_z"]), abs=1e-8)
        assert found.p_two_sided == pytest.approx(float(g[f"{case}_p_two_sided"]), abs=1e-10)
        np.testing.assert_allclose(found.interval(0), g[f"{case}_auc_a_ci95"], atol=1e-9)


def test_delong_calls_identical_rankings_equal_and_never_nan(golden: Golden) -> None:
    g = golden("28_delong")
    for case in cases(g, "_score_a"):
        a = g[f"{case}_score_a"]
        found = delong(g[f"{case}_labels"], a, 2 * a + 1)
        assert (found.variance_of_difference, found.z(), found.p_two_sided) == (pytest.approx(0, abs=1e-15), 0, 1)


def test_calibration_agrees_with_its_definition(golden: Golden) -> None:
    g = golden("29_calibration")
    labels, p = g["labels"], g["prob_fake"]
    assert metrics.calibration_error(labels, p, int(g["bins"])) == pytest.approx(float(g["ece"]), abs=1e-12)
    assert metrics.brier(labels, p) == pytest.approx(float(g["brier"]), abs=1e-12)
    inside = (p > 0) & (p < 1)
    assert metrics.calibration_error(labels[inside], p[inside], int(g["bins"])) == pytest.approx(
        float(g["ece_without_ends"]), abs=1e-12
    )


def plain(name: str) -> str:
    """'FF++' -> 'ffpp', 'Celeb-DF-v2' -> 'celebdfv2'."""
    return "".join(c for c in name.lower().replace("+", "p") if c.isalnum())


def faces_of(archive: object, clip: object, label: np.ndarray, p_fake: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {"archive": archive, "clip": clip, "source": clip, "method": "x", "label": label, "p_fake": p_fake}
    )
