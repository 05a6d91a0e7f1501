"""Metrics of clips: against counting, against scikit-learn, and honest where nothing can be measured."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from components.errors import BadArchive
from components.evaluation import metrics

scored = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8).map(lambda k: k / 8)), min_size=2, max_size=30).filter(
    lambda pairs: len({label for label, _ in pairs}) == 2
)


def arrays(pairs: list[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs], dtype=float)


def clips(n: int = 60, sources: int = 15, seed: int = 0, gap: float = 0.2) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 2
    return pd.DataFrame(
        {
            "archive": "lab",
            "clip": [f"{i}.mp4" for i in range(n)],
            "source": [f"s{i // 2 % sources}" for i in range(n)],
            "method": np.where(label == 0, "genuine", np.where(np.arange(n) % 4 == 1, "swap", "warp")),
            "label": label,
            "p_fake": np.clip(0.4 + gap * label + rng.normal(0, 0.2, n), 0, 1),
        }
    )


@given(scored)
def test_auc_is_the_share_of_pairs_ranked_right_with_ties_counting_half(pairs: list[tuple[int, float]]) -> None:
    labels, scores = arrays(pairs)
    forged, genuine = scores[labels == 1], scores[labels == 0]
    counted = np.mean([(f > g) + 0.5 * (f == g) for f in forged for g in genuine])
    assert metrics.auc(labels, scores) == pytest.approx(counted, abs=1e-12)


@given(scored)
def test_metrics_of_the_bootstrap_with_every_clip_once_are_the_metrics_themselves(
    pairs: list[tuple[int, float]],
) -> None:
    labels, scores = arrays(pairs)
    found = metrics.weighted(labels, scores, np.ones((1, len(labels))))
    for name in metrics.METRICS:
        assert found[name][0] == pytest.approx(metrics.point(name, labels, scores).value, abs=1e-12), name


@given(scored, st.integers(0, 2**16))
def test_a_clip_of_weight_two_counts_as_two_clips(pairs: list[tuple[int, float]], seed: int) -> None:
    labels, scores = arrays(pairs)
    times = np.random.default_rng(seed).integers(0, 3, len(labels))
    repeated_labels, repeated_scores = labels.repeat(times), scores.repeat(times)
    if len(set(repeated_labels)) < 2:
        return
    found = metrics.weighted(labels, scores, times[None].astype(float))
    assert found["auc"][0] == pytest.approx(roc_auc_score(repeated_labels, repeated_scores), abs=1e-12)
    assert found["ap"][0] == pytest.approx(average_precision_score(repeated_labels, repeated_scores), abs=1e-12)
    for name in ("acc", "eer", "false_alarms"):
        assert found[name][0] == pytest.approx(metrics.point(name, repeated_labels, repeated_scores).value, abs=1e-12)


@given(scored)
@example([*[(0, 0.125)] * 4, (0, 0.25), (1, 0.0)])  # .8 + .2 * .2 / .2 was above 1
def test_the_equal_error_rate_is_the_same_seen_from_the_other_class(pairs: list[tuple[int, float]]) -> None:
    labels, scores = arrays(pairs)
    found = metrics.equal_error_rate(labels, scores)
    assert 0 <= found <= 1
    assert metrics.equal_error_rate(1 - labels, -scores) == pytest.approx(found, abs=1e-9)


def test_a_perfect_an_inverted_and_a_blind_ranking_have_equal_error_rates_0_1_and_one_half() -> None:
    labels = np.array([0, 0, 1, 1])
    for scores, expected in (([0, 0.1, 0.8, 1], 0), ([1, 0.8, 0.1, 0], 1), ([0.3] * 4, 0.5)):
        assert metrics.equal_error_rate(labels, np.array(scores, dtype=float)) == pytest.approx(expected)


def test_a_clip_scoring_exactly_one_half_is_not_called_forged() -> None:
    labels, scores = np.array([0, 1]), np.array([0.5, 0.5])
    assert metrics.accuracy(labels, scores) == 0.5
    assert metrics.false_alarm_rate(labels, scores) == 0


def test_a_clip_with_two_labels_is_refused_by_name() -> None:
    faces = clips(4).assign(clip="same.mp4")
    with pytest.raises(BadArchive, match=r"'same\.mp4' in 'lab' have both"):
        metrics.clip_scores(faces)


def test_clips_of_the_same_path_in_two_archives_stay_apart() -> None:
    faces = pd.concat([clips(4), clips(4).assign(archive="other")])
    assert len(metrics.clip_scores(faces)) == 8


@pytest.mark.parametrize(
    ("keep", "defined", "reason"),
    [
        (0, {"acc", "false_alarms"}, "no forged clip was scored"),
        (1, {"acc"}, "no genuine clip was scored"),
        (None, set(), "no clip was scored"),
    ],
)
def test_with_one_class_what_is_undefined_is_null_with_a_reason(
    keep: int | None, defined: set[str], reason: str
) -> None:
    some = clips()
    found = metrics.measure(some[some["label"] == keep], bootstrap=20, confidence=0.95, seed=0)
    for name, estimate in found.items():
        assert (estimate.value is not None) == (name in defined), name
        if name not in defined:
            assert estimate.reason == reason


def test_an_interval_holds_its_value_and_is_the_same_every_time() -> None:
    first, again = (metrics.measure(clips(), bootstrap=300, confidence=0.95, seed=3) for _ in range(2))
    assert first == again
    for name, estimate in first.items():
        assert estimate.low is not None and estimate.high is not None and estimate.value is not None
        assert estimate.low <= estimate.value <= estimate.high, name
        assert estimate.low < estimate.high


def test_clips_of_one_source_are_drawn_together() -> None:
    """Copies of the same clips under the same sources carry no news, so the interval does not shrink."""
    once = clips(40, sources=20)
    copied = pd.concat([once, once.assign(clip="copy of " + once["clip"])])
    a, b = (metrics.measure(c, bootstrap=400, confidence=0.95, seed=1)["auc"] for c in (once, copied))
    assert (a.low, a.high) == pytest.approx((b.low, b.high))


def test_without_resamples_or_with_one_source_the_value_stays_and_the_interval_says_why_it_is_missing() -> None:
    for table, bootstrap, reason in ((clips(), 0, "no resamples"), (clips(sources=1), 50, "one source")):
        found = metrics.measure(table, bootstrap=bootstrap, confidence=0.95, seed=0)["auc"]
        assert found.value is not None and found.low is None
        assert reason in (found.reason or "")


def test_the_bootstrap_interval_of_auc_covers_about_as_often_as_it_says() -> None:
    """120 small worlds whose true AUC is known: gap 0.3 over noise 0.2 gives Phi(0.3 / (0.2 sqrt 2)) = 0.8556."""
    inside = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        label = np.arange(80) % 2
        table = clips(80, sources=80).assign(
            p_fake=0.3 * label + rng.normal(0, 0.2, 80), source=[f"s{i}" for i in range(80)]
        )
        found = metrics.measure(table, bootstrap=200, confidence=0.9, seed=seed)["auc"]
        assert found.low is not None and found.high is not None
        inside += found.low <= 0.8556 <= found.high
    assert 0.82 <= inside / 120 <= 0.97


def test_a_thousand_resamples_of_three_hundred_clips_take_less_than_two_seconds() -> None:
    table = clips(300, sources=75)
    start = time.process_time()  # of this process: others may be at work beside it
    metrics.measure(table, bootstrap=1000, confidence=0.95, seed=0)
    assert time.process_time() - start < 2


def test_the_auc_of_a_method_is_against_all_genuine_clips() -> None:
    table = clips()
    found = metrics.by_method(table)
    assert list(found) == ["swap", "warp"]
    mine = table[table["method"].isin(["genuine", "swap"])]
    assert found["swap"] == {"auc": pytest.approx(roc_auc_score(mine["label"], mine["p_fake"])), "clips": 15}


def test_a_forgery_method_without_genuine_clips_has_no_auc() -> None:
    table = clips()
    assert metrics.by_method(table[table["label"] == 1])["warp"]["auc"] is None


def test_draws_do_not_depend_on_how_many_are_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = np.arange(12) // 2
    at_once = np.concatenate(list(metrics.draws(sources, 50, 4)))
    monkeypatch.setattr(metrics, "CELLS_AT_ONCE", 40)
    np.testing.assert_array_equal(np.concatenate(list(metrics.draws(sources, 50, 4))), at_once)
    assert (at_once[:, 0::2] == at_once[:, 1::2]).all()
