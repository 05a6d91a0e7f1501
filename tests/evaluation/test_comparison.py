"""Paired comparisons: no false certainty, no false accusation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.evaluation.comparison import compare, delong, holm
from components.evaluation.metrics import auc


def clips(p_fake: np.ndarray, per_source: int = 1) -> pd.DataFrame:
    n = len(p_fake)
    return pd.DataFrame(
        {
            "archive": "lab",
            "clip": [f"{i}" for i in range(n)],
            "source": [f"s{i // per_source}" for i in range(n)],
            "label": np.arange(n) % 2,
            "p_fake": p_fake,
        }
    )


def answers(gap: float, n: int = 200, seed: int = 0) -> np.ndarray:
    return gap * (np.arange(n) % 2) + np.random.default_rng(seed).normal(0, 1, n)


BOTH_TESTS = pytest.mark.parametrize("per_source", [1, 2], ids=["delong", "over sources"])


@BOTH_TESTS
def test_a_clear_fall_is_found_and_non_inferiority_is_not(per_source: int) -> None:
    found = compare(clips(answers(0.3), per_source), clips(answers(2.5, seed=1), per_source), margin=0.02)
    assert found.drop is not None and found.drop > 0.2
    assert found.p_worse is not None and found.p_worse < 0.01
    assert found.p_not_worse is not None and found.p_not_worse > 0.9
    assert found.test == ("delong" if per_source == 1 else "delong over sources")


@BOTH_TESTS
def test_equal_scores_are_no_fall_and_prove_non_inferiority(per_source: int) -> None:
    same = clips(answers(1), per_source)
    found = compare(same, same, margin=0.02)
    assert found.drop == 0
    assert found.p_worse is not None and found.p_worse > 0.999
    assert found.p_not_worse is not None and found.p_not_worse < 0.01


@BOTH_TESTS
def test_an_improvement_is_never_held_against_the_candidate(per_source: int) -> None:
    found = compare(clips(answers(2.5), per_source), clips(answers(0.3, seed=1), per_source), margin=0)
    assert found.p_worse is not None and found.p_worse > 0.99


@BOTH_TESTS
def test_a_fall_seen_on_a_handful_of_clips_may_be_chance(per_source: int) -> None:
    found = compare(
        clips(answers(0.8, n=12, seed=3), per_source),
        clips(answers(1.2, n=12, seed=4), per_source),
        margin=0.0,
    )
    assert found.p_worse is not None and found.p_worse > 0.01
    assert found.p_not_worse is not None and found.p_not_worse > 0.01


def test_fewer_than_two_sources_of_a_class_give_no_answer_but_a_reason() -> None:
    lone = clips(answers(1, n=40)).assign(label=[1] + [0] * 39)
    found = compare(lone, lone, margin=0.02)
    assert (found.drop, found.p_worse, found.test) == (None, None, None)
    assert "2 sources of each class, found 1 forged and 39 genuine" in (found.reason or "")


def test_only_clips_both_have_scored_are_compared_each_with_itself() -> None:
    table = clips(answers(1))
    found = compare(table.sample(frac=1, random_state=0), table.iloc[:150], margin=0.0)
    assert (found.clips, found.drop) == (150, 0)


def test_one_source_in_all_gives_no_answer() -> None:
    table = clips(answers(1, n=20), per_source=20)
    assert compare(table, table, margin=0).reason is not None


@pytest.mark.parametrize("per_source", [1, 2])
def test_a_candidate_exactly_on_the_margin_is_accused_no_more_often_than_alpha(per_source: int) -> None:
    accused = 0
    for seed in range(100):
        new, old = answers(1.0, 100, seed), answers(1.0, 100, 1000 + seed)
        found = compare(clips(new, per_source), clips(old, per_source), margin=0)
        accused += found.p_worse is not None and found.p_worse < 0.05
    assert accused / 100 <= 0.1


@given(st.integers(4, 30), st.integers(0, 2**16))
def test_delong_has_the_auc_of_pair_counting_and_a_covariance_without_negative_variance(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    a, b = rng.integers(0, 6, (2, n)) / 5
    found = delong(labels, a, b)
    assert found.auc == pytest.approx((auc(labels, a), auc(labels, b)), abs=1e-12)
    assert np.linalg.eigvalsh(found.covariance).min() >= -1e-12


def test_delong_refuses_a_class_of_one() -> None:
    with pytest.raises(ValueError, match="found 1 forged and 3 genuine"):
        delong(np.array([0, 0, 0, 1]), np.arange(4.0), np.arange(4.0))


def test_holm_multiplies_the_smallest_most_and_keeps_the_order() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.randoms())
def test_holm_never_lowers_a_p_value_and_does_not_care_about_the_order(p: list[float], random: object) -> None:
    adjusted = holm(p)
    assert all(a >= b for a, b in zip(adjusted, p, strict=True))
    assert holm(p[::-1]) == pytest.approx(adjusted[::-1])
