"""Probabilities at even odds, what they cost, and the threshold that leaves genuine clips in peace."""

from __future__ import annotations

import math

import numpy as np
import pytest

from components.evaluation import calibration
from components.evaluation.calibration import Calibration, cllr, fit, fitted, log_odds

RNG_CLIPS = 6000


def planted(seed: int, clips: int = RNG_CLIPS) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and the log odds with which each of them is forged: calibrated, as many genuine as forged."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 3, clips)
    return (rng.random(clips) < 1 / (1 + np.exp(-x))).astype(np.int64), x


def as_scores(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_a_temperature_that_was_planted_is_found() -> None:
    labels, x = planted(0)
    found = fit("temperature", labels, as_scores(3 * x))
    assert 1 / found.slope == pytest.approx(3, rel=0.05)


def test_the_kind_that_foretells_other_sources_best_is_taken() -> None:
    labels, x = planted(1, 1200)
    sources = np.arange(1200) // 2
    shifted = fitted(labels, as_scores(x + 3), sources)
    assert shifted.calibration.kind != "temperature"
    assert min(shifted.held_out, key=lambda kind: shifted.held_out[kind]) == shifted.calibration.kind
    assert shifted.held_out["temperature"] > shifted.held_out["platt"] + 0.05
    assert cllr(labels, shifted.calibration.probability(as_scores(x + 3))) == pytest.approx(
        cllr(labels, as_scores(x)), abs=0.02
    )


@pytest.mark.parametrize("kind", calibration.KINDS)
def test_a_higher_score_is_never_less_probable_and_nothing_is_certain(kind: calibration.Kind) -> None:
    """Also of clips that are told apart without a mistake, where likelihood alone would go to infinity."""
    labels = np.repeat([0, 1], 20)
    found = fit(kind, labels, np.linspace(0, 1, 40))
    p = found.probability(np.linspace(0, 1, 101))
    assert (np.diff(p) >= 0).all()
    assert (p > 0).all() and (p < 1).all()


def test_how_many_clips_of_a_class_there_are_says_nothing_of_a_clip() -> None:
    labels, x = planted(2)
    rare = np.flatnonzero(labels == 1)[:300]
    few = np.concatenate([np.flatnonzero(labels == 0), rare])
    whole, thinned = (fit("platt", labels[these], as_scores(x)[these]) for these in (np.arange(len(x)), few))
    assert thinned.probability(np.array([0.5])) == pytest.approx(whole.probability(np.array([0.5])), abs=0.05)


def test_a_calibration_is_read_as_it_was_written() -> None:
    labels, x = planted(3, 400)
    for kind in calibration.KINDS:
        found = fit(kind, labels, as_scores(x))
        assert Calibration.from_json(found.as_json()) == found


# -- Cllr --------------------------------------------------------------------------------------------------------------


def test_cllr_is_the_mean_surprise_in_bits_of_both_classes() -> None:
    """Likelihood ratios 4 and 1 of forged, 1/4 and 2 of genuine clips: (log2 5/4 + log2 2 + log2 5/4 + log2 3) / 4."""
    labels, ratios = np.array([1, 1, 0, 0]), np.array([4, 1, 1 / 4, 2])
    assert cllr(labels, ratios / (1 + ratios)) == pytest.approx(math.log2(9.375) / 4, abs=1e-12)


def test_cllr_is_one_bit_of_who_knows_nothing_and_none_of_who_knows() -> None:
    labels = np.array([0, 0, 0, 1])
    assert cllr(labels, np.full(4, 0.5)) == 1.0
    assert cllr(labels, labels.astype(float)) == 0.0
    assert cllr(labels, 1.0 - labels) > 20


def test_reliability_and_its_error_weigh_both_classes_alike() -> None:
    labels, p = np.array([0, 0, 0, 1]), np.array([0.25, 0.25, 0.25, 0.25])
    (row,) = calibration.reliability(labels, p)
    assert (row["clips"], row["mean"], row["forged"]) == (4, 0.25, pytest.approx(0.5))
    assert calibration.balanced_error(labels, p) == pytest.approx(0.25)


# -- the threshold -----------------------------------------------------------------------------------------------------


def test_new_genuine_clips_are_called_forged_as_rarely_as_was_asked() -> None:
    """Of uniform scores a share of 1 - threshold lies above it; over many draws that is the rate, or less."""
    rng = np.random.default_rng(4)
    labels = np.repeat([0, 1], [39, 10])
    rates = [1 - calibration.threshold(labels, np.r_[rng.random(39), np.ones(10)], 0.05) for _ in range(500)]
    assert 0.02 < np.mean(rates) <= 0.05


def test_too_few_genuine_clips_make_no_threshold() -> None:
    assert [calibration.needed(rate) for rate in (0.05, 0.1, 0.2, 0.5)] == [19, 9, 4, 1]
    labels, scores = np.repeat([0, 1], [18, 5]), np.linspace(0, 1, 23)
    with pytest.raises(ValueError, match="18 genuine clips, and it takes 19"):
        calibration.threshold(labels, scores, 0.05)


def test_the_threshold_lies_half_way_to_the_next_clip() -> None:
    labels, scores = np.repeat([0, 1], [19, 2]), np.r_[np.linspace(0.01, 0.2, 19), 0.8, 0.9]
    assert calibration.threshold(labels, scores, 0.05) == pytest.approx(0.5)
    saturated = np.r_[np.linspace(0.01, 0.2, 18), 1.0, 1.0, 1.0]
    assert calibration.threshold(labels, saturated, 0.05) == pytest.approx(1, abs=1e-6)


def test_only_the_stated_share_of_clips_is_too_near_to_call() -> None:
    scores = as_scores(np.linspace(-5, 5, 100))
    near = calibration.margin(scores, 0.5, 0.1)
    assert (np.abs(log_odds(scores)) < near).sum() == 10
    assert calibration.margin(scores, 0.5, 0.0) == pytest.approx(np.abs(log_odds(scores)).min())


def test_an_interval_counts_sources_not_clips() -> None:
    """None of ten: Clopper and Pearson's upper end is 1 - (alpha / 2)^(1/10)."""
    once = calibration.rate(np.zeros(10, bool), np.arange(10), 0.95)
    four_times = calibration.rate(np.zeros(40, bool), np.arange(40) // 4, 0.95)
    assert (once.value, once.low) == (0.0, 0.0)
    assert once.high == four_times.high == pytest.approx(1 - 0.025 ** (1 / 10), abs=1e-12)
