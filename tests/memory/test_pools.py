"""A task too large to be held: what stays in sight is bounded, and enough."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.memory import selection
from components.memory.pools import Pool, Sight


def seen(size: int, views: int, seed: int) -> Sight:
    """What a detector might see of so many faces; with one view and on a grid, so that many are alike."""
    generator = np.random.default_rng(seed)
    p = generator.choice([0.0, 0.25, 0.5, 0.9], (views, size)) if seed % 2 else generator.random((views, size))
    embeddings = generator.normal(size=(size, 3)).astype(np.float32)
    return Sight(np.arange(size), p.astype(np.float32), embeddings, generator.random(size))


def shown(whole: Sight, *, limit: int, batch: int, seed: int = 0) -> tuple[Pool, int]:
    """A pool to which all faces were shown, and the most it ever held."""
    pool, most = Pool(whole.positions, limit=limit, seed=(seed, 0)), 0
    for start in range(0, len(whole), batch):
        pool.show(whole.where(np.arange(start, min(start + batch, len(whole)))))
        most = max(most, len(pool))
    return pool, most


@given(st.integers(1, 60), st.integers(1, 3), st.integers(1, 20), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_a_class_within_the_limit_is_held_whole(size: int, views: int, batch: int, seed: int) -> None:
    whole = seen(size, views, seed)
    pool, _ = shown(whole, limit=size, batch=batch)
    held = pool.sight()
    np.testing.assert_array_equal(held.positions, whole.positions)
    np.testing.assert_array_equal(held.p_forged, whole.p_forged)
    np.testing.assert_array_equal(held.embeddings, whole.embeddings)
    np.testing.assert_array_equal(pool.fair, whole.positions)


@given(st.integers(1, 400), st.integers(1, 3), st.integers(1, 30), st.integers(1, 20), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_never_more_than_four_limits_and_a_batch_are_held(
    size: int, views: int, limit: int, batch: int, seed: int
) -> None:
    pool, most = shown(seen(size, views, seed), limit=limit, batch=batch)
    assert most <= 4 * limit + batch
    assert len(pool.sight()) <= 3 * limit


@given(st.integers(1, 400), st.integers(1, 3), st.integers(1, 30), st.integers(1, 20), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_the_most_uncertain_of_all_are_in_sight_however_the_batches_fell(
    size: int, views: int, limit: int, batch: int, seed: int
) -> None:
    whole = seen(size, views, seed)
    pool, _ = shown(whole, limit=limit, batch=batch)
    held = set(pool.sight().positions.tolist())
    for ranks in selection.uncertainty_ranks(whole.p_forged):
        assert set(np.flatnonzero(ranks <= limit).tolist()) <= held
    assert held >= set(pool.fair.tolist())
    if views == 1:  # then the first of the exact order are the first of what is in sight
        inside = pool.sight()
        order = inside.positions[selection.hardest_first(inside.p_forged)]
        assert order[:limit].tolist() == selection.hardest_first(whole.p_forged)[:limit].tolist()


def test_the_fair_ones_are_drawn_by_the_seed_before_anything_is_seen() -> None:
    offered = np.arange(0, 300, 3)

    def fair(limit: int, seed: int) -> list[int]:
        return Pool(offered, limit=limit, seed=(seed, 0)).fair.tolist()

    assert fair(10, 1) == fair(10, 1) != fair(10, 2)
    assert fair(10, 1) == sorted(set(fair(10, 1)) & set(offered.tolist()))
    assert set(fair(10, 1)) < set(fair(20, 1))


@pytest.mark.parametrize("views", [1, 2])
def test_memory_stays_flat_over_a_long_stream(views: int) -> None:
    generator = np.random.default_rng(0)
    pool = Pool(np.arange(200_000), limit=100, seed=(0, 0))
    most = 0
    for start in range(0, 200_000, 2_000):
        p = generator.random((views, 2_000))
        pool.show(Sight(np.arange(start, start + 2_000), p, generator.normal(size=(2_000, 2)), np.full(2_000, np.nan)))
        most = max(most, len(pool))
    assert most <= 4 * 100 + 2_000
    assert len(pool.fair) == 100
