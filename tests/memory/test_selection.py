"""Laws of choosing: whatever is offered, the choice is whole, fair, and may be cut short."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from components.memory import selection

Offer = tuple[np.ndarray, np.ndarray, list[str]]


@st.composite
def offers(draw: st.DrawFn) -> Offer:
    """Probabilities over two views, embeddings and clips of 1 to 40 faces; duplicates and uneven clips included."""
    size, clips = draw(st.integers(1, 40)), draw(st.integers(1, 12))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    p = generator.choice([0.0, 0.25, 0.5, 0.9, 1.0], (2, size)) if draw(st.booleans()) else generator.random((2, size))
    embeddings = generator.integers(-1, 2, (size, 3)).astype(np.float32)
    uneven = generator.integers(0, generator.integers(1, clips + 1, size))
    return p.astype(np.float32), embeddings, [f"{c}.mp4" for c in uneven]


shares = st.sampled_from(
    [(0.5, 0.25), (0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.3, 0.4), (0.7, 0.3), (0.0, 0.5)]
)


@given(offers(), st.integers(0, 50), shares)
@settings(max_examples=150, deadline=None)
def test_hybrid_fills_its_quota_with_distinct_faces_and_a_reason_for_each(
    offer: Offer, quota: int, mixture: tuple[float, float]
) -> None:
    p, embeddings, clips = offer
    picked = selection.hybrid(p, embeddings, clips, quota, hard=mixture[0], representative=mixture[1])
    positions = [position for position, _ in picked]
    assert len(positions) == len(set(positions)) == min(quota, len(clips))
    assert set(positions) <= set(range(len(clips)))
    assert {reason for _, reason in picked} <= {"hard", "representative", "diverse"}


@given(offers(), st.integers(1, 50))
@settings(max_examples=150, deadline=None)
def test_no_clip_gives_more_than_its_cap_unless_the_others_are_too_few(offer: Offer, quota: int) -> None:
    p, embeddings, clips = offer
    offered, held = Counter(clips), Counter(clips[i] for i, _ in selection.hybrid(p, embeddings, clips, quota))
    cap = max(2, -(-quota // len(offered)))
    if sum(min(n, cap) for n in offered.values()) >= quota:
        assert max(held.values()) <= cap
    else:  # then clips stay as even as they can: whoever holds less than the fullest has nothing left to give
        fullest = max(held.values())
        assert all(held[c] >= min(offered[c], fullest - 1) for c in offered)


def test_one_long_clip_among_short_ones_still_fills_the_quota() -> None:
    clips = ["long.mp4"] * 100 + ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]
    generator = np.random.default_rng(0)
    picked = selection.hybrid(generator.random(104), generator.normal(size=(104, 5)), clips, 20)
    assert len(picked) == 20
    assert {"a.mp4", "b.mp4", "c.mp4", "d.mp4"} <= {clips[i] for i, _ in picked}


def test_cutting_the_list_keeps_the_mixture() -> None:
    generator = np.random.default_rng(1)
    clips = [f"{i % 30}.mp4" for i in range(120)]
    picked = selection.hybrid(generator.random((2, 120)), generator.normal(size=(120, 8)), clips, 40)
    assert Counter(reason for _, reason in picked) == {"hard": 20, "representative": 10, "diverse": 10}
    for length in range(3, 31):
        counts = Counter(reason for _, reason in picked[:length])
        assert len(counts) == 3 and max(counts.values()) - min(counts.values()) <= 1, length


def test_each_reason_is_true_of_its_faces() -> None:
    generator = np.random.default_rng(2)
    p, embeddings = generator.random(60), generator.normal(size=(60, 4))
    picked = selection.hybrid(p, embeddings, [f"{i}.mp4" for i in range(60)], 12)
    hard = [i for i, reason in picked if reason == "hard"]
    assert hard == selection.hardest_first(p)[:6].tolist()
    typical = [i for i in selection.herding(selection.normalised(embeddings), 60) if i not in hard]
    assert [i for i, reason in picked if reason == "representative"] == typical[:3]
    seeds = [*hard, *typical[:3]]
    diverse = selection.k_centre(selection.normalised(embeddings), seeds, 3)
    assert [i for i, reason in picked if reason == "diverse"] == diverse.tolist()


@given(offers(), st.integers(0, 50), shares)
@settings(max_examples=60, deadline=None)
def test_a_share_of_nothing_leaves_its_criterion_out(offer: Offer, quota: int, mixture: tuple[float, float]) -> None:
    p, embeddings, clips = offer
    hard, representative = mixture
    reasons = {r for _, r in selection.hybrid(p, embeddings, clips, quota, hard=hard, representative=representative)}
    absent = {"hard": hard == 0, "representative": representative == 0, "diverse": hard + representative >= 1}
    assert not {reason for reason, left_out in absent.items() if left_out} & reasons


def test_each_part_can_be_had_alone() -> None:
    generator = np.random.default_rng(4)
    p, embeddings = generator.random((3, 50)), generator.normal(size=(50, 4))
    features = selection.normalised(embeddings)
    alone = {
        (1.0, 0.0): selection.hardest_first(p)[:9],
        (0.0, 1.0): selection.herding(features, 9),
        (0.0, 0.0): selection.k_centre(features, [], 9),
    }
    for (hard, representative), order in alone.items():
        picked = selection.hybrid(
            p, embeddings, [f"{i}" for i in range(50)], 9, hard=hard, representative=representative
        )
        assert [position for position, _ in picked] == order.tolist()


def test_a_fuller_cap_goes_on_with_the_same_mixture() -> None:
    generator = np.random.default_rng(5)
    sources = ["one"] * 80 + ["two"] * 2
    picked = selection.hybrid(generator.random((2, 82)), generator.normal(size=(82, 6)), sources, 40)
    assert Counter(reason for _, reason in picked) == {"hard": 20, "representative": 10, "diverse": 10}
    assert Counter(sources[i] for i, _ in picked) == {"one": 38, "two": 2}


def test_a_source_may_be_given_more_room() -> None:
    generator = np.random.default_rng(6)
    p, embeddings, sources = generator.random(60), generator.normal(size=(60, 4)), [f"{i % 20}" for i in range(60)]

    def most(per_source: int) -> int:
        picked = selection.hybrid(p, embeddings, sources, 20, hard=1.0, representative=0.0, per_source=per_source)
        return max(Counter(sources[i] for i, _ in picked).values())

    assert (most(1), most(60)) == (1, 3)


def test_typical_and_diverse_faces_are_sought_among_the_fair_ones_alone() -> None:
    generator = np.random.default_rng(7)
    p, embeddings, fair = generator.random(60), generator.normal(size=(60, 4)), np.arange(0, 60, 3)
    picked = selection.hybrid(p, embeddings, [f"{i}" for i in range(60)], 16, fair=fair)
    assert {i for i, reason in picked if reason != "hard"} <= set(fair.tolist())
    assert [i for i, reason in picked if reason == "hard"] == selection.hardest_first(p)[:8].tolist()
    dfil = selection.entropy_and_mean(p, embeddings, 16, fair=fair)
    assert {i for i, reason in dfil if reason != "hard"} <= set(fair.tolist())


@given(offers(), st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_half_of_dfils_exemplars_are_the_most_uncertain_and_half_the_nearest_to_the_mean(
    offer: Offer, quota: int
) -> None:
    p, embeddings, _ = offer
    picked = selection.entropy_and_mean(p, embeddings, quota)
    positions = [position for position, _ in picked]
    count = min(quota, len(embeddings))
    assert len(positions) == len(set(positions)) == count
    hard = [i for i, reason in picked if reason == "hard"]
    assert hard == np.argsort(-selection.entropy(p).mean(axis=0), kind="stable")[: -(-count // 2)].tolist()
    if count:
        nearest = selection.closest_to_centre(selection.normalised(embeddings.astype(np.float64)))
        assert [i for i, r in picked if r != "hard"] == [i for i in nearest if i not in hard][: count // 2]


@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_sparse_exemplars_are_the_most_stable_of_each_stretch_and_the_least_like_it(
    size: int, quota: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    embeddings, stability = generator.normal((2, 0, 0), size=(size, 3)), generator.random(size)
    picked = selection.sparse_uniform(embeddings, stability, quota)
    chosen = [position for position, _ in picked]
    assert len(chosen) == len(set(chosen)) == min(quota, size)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    inwards = unit @ unit.mean(0)
    ranks = {int(i): rank for rank, i in enumerate(np.argsort(-inwards))}
    count = -(-min(quota, size) // 2)
    ends = np.cumsum([size // count + (n < size % count) for n in range(count)])
    stretches: dict[int, list[int]] = {}
    for i, rank in ranks.items():
        stretches.setdefault(int(np.searchsorted(ends, rank, side="right")), []).append(i)
    expected = {}
    for members in stretches.values():
        first = max(members, key=lambda i: stability[i])
        expected[first] = min((i for i in members if i != first), key=lambda i: unit[i] @ unit[first], default=None)
    assert {position for position, why in picked if why == "stable"} == set(expected)
    for (first, _), (second, why) in pairwise(picked):
        assert why == "stable" or expected[first] == second


def test_a_shorter_sparse_memory_is_spread_as_evenly() -> None:
    angles = np.linspace(0, 1, 64)
    embeddings, stability = np.stack([np.cos(angles), np.sin(angles)], 1), np.ones(64)
    whole = [position for position, _ in selection.sparse_uniform(embeddings, stability, 32)]
    outwards = {int(i): rank for rank, i in enumerate(np.argsort(np.abs(angles - 0.5), kind="stable"))}
    for kept in (8, 16, 32):
        ranks = sorted(outwards[position] for position in whole[:kept])
        assert max(b - a for a, b in pairwise(ranks)) <= 2 * 64 / kept + 4


def test_sparse_exemplars_are_sought_among_the_fair_ones_alone() -> None:
    generator = np.random.default_rng(0)
    embeddings, stability, fair = generator.normal(size=(30, 4)), generator.random(30), np.arange(0, 30, 3)
    alone = selection.sparse_uniform(embeddings[fair], stability[fair], 6)
    assert selection.sparse_uniform(embeddings, stability, 6, fair=fair) == [(int(fair[i]), why) for i, why in alone]


def test_a_class_without_faces_gives_none() -> None:
    nothing, none = np.empty((2, 0)), np.empty((0, 4))
    assert selection.hybrid(nothing, none, [], 5) == selection.entropy_and_mean(nothing, none, 5) == []
    assert selection.sparse_uniform(none, np.empty(0), 5) == []


@given(st.integers(1, 25), st.integers(0, 3), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_k_centre_agrees_with_measuring_every_distance_at_every_step(size: int, seeds: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    features = generator.choice([0.0, 0.1, 0.3, 1.0], (size, 2)) if seed % 2 else generator.normal(size=(size, 3))
    chosen = list(range(min(seeds, size))) or selection.closest_to_centre(features)[:1].tolist()
    wanted = list[int]() if seeds else chosen.copy()
    while len(chosen) < size:
        gaps = np.linalg.norm(features[:, None] - features[chosen], axis=2).min(axis=1)
        gaps[chosen] = -1
        chosen.append(int(np.argmax(gaps)))
        wanted.append(chosen[-1])
    assert selection.k_centre(features, list(range(min(seeds, size))), size).tolist() == wanted


@given(st.integers(1, 8), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_herding_agrees_with_trying_every_face_at_every_step(size: int, seed: int) -> None:
    features = np.random.default_rng(seed).normal(size=(size, 3))
    centre, chosen = features.mean(axis=0), list[int]()
    while len(chosen) < size:
        free = [i for i in range(size) if i not in chosen]
        gaps = {i: float(np.linalg.norm(features[[*chosen, i]].mean(axis=0) - centre)) for i in free}
        if len(free) > 1 and abs(np.subtract(*sorted(gaps.values())[:2])) < 1e-9:
            return  # a tie that rounding may break either way
        chosen.append(min(gaps, key=lambda i: gaps[i]))
    assert selection.herding(features, size).tolist() == chosen


def test_ties_go_to_the_smaller_index() -> None:
    alike = np.ones((5, 3))
    assert selection.herding(alike, 5).tolist() == [0, 1, 2, 3, 4]
    assert selection.closest_to_centre(alike).tolist() == [0, 1, 2, 3, 4]
    assert selection.k_centre(alike, [2], 4).tolist() == [0, 1, 3, 4]
    assert selection.hardest_first(np.full(4, 0.25)).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("count", [0, 1, 3, 9])
def test_without_seeds_the_first_pick_is_the_most_typical(count: int) -> None:
    features = np.random.default_rng(3).normal(size=(6, 2))
    order = selection.k_centre(features, [], count).tolist()
    assert len(order) == len(set(order)) == min(count, 6)
    assert order[:1] == selection.closest_to_centre(features)[: min(count, 1)].tolist()


def test_a_zero_embedding_stays_zero() -> None:
    units = selection.normalised(np.array([[0.0, 0.0], [3.0, 4.0]]))
    np.testing.assert_allclose(units, [[0, 0], [0.6, 0.8]])


@given(st.integers(0, 30), st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_a_longer_reservoir_extends_a_shorter_one(size: int, seed: int) -> None:
    whole = selection.reservoir(size, size=size, seed=(seed, 1))
    assert sorted(whole.tolist()) == list(range(size))
    for shorter, longer in pairwise(
        selection.reservoir(n, size=size, seed=(seed, 1)).tolist() for n in range(size + 1)
    ):
        assert longer[: len(shorter)] == shorter


def test_every_subset_is_as_likely_as_any_other() -> None:
    draws = Counter(tuple(selection.reservoir(2, size=4, seed=(seed, 0)).tolist()) for seed in range(6000))
    orders = list(permutations(range(4), 2))
    expected = 6000 / len(orders)
    assert sum((draws[o] - expected) ** 2 / expected for o in orders) < chi2.ppf(0.999, len(orders) - 1)


@given(st.integers(0, 2000), st.integers(1, 60))
def test_quotas_spend_the_budget_and_differ_by_one_at_most(budget: int, groups: int) -> None:
    dealt = selection.quotas(budget, groups)
    assert sum(dealt) == budget and len(dealt) == groups
    assert max(dealt) - min(dealt) <= 1
    assert dealt == sorted(dealt, reverse=True)


@given(offers())
@settings(max_examples=50, deadline=None)
def test_uncertainty_is_symmetric_bounded_and_never_nan(offer: Offer) -> None:
    p = offer[0].astype(np.float64)
    assert ((selection.margin(p) >= 0) & (selection.margin(p) <= 1)).all()
    assert ((selection.entropy(p) >= 0) & (selection.entropy(p) <= np.log(2) + 1e-12)).all()
    np.testing.assert_allclose(selection.entropy(p), selection.entropy(1 - p), atol=1e-12)
    assert sorted(selection.hardest_first(p).tolist()) == list(range(p.shape[1]))
