"""Faces of a kind that was taught are familiar, faces of another kind are not, and what tells them apart is measured."""

from __future__ import annotations

import numpy as np
import pytest

from components.evaluation.familiarity import Familiarity, Kin, fitted, spread

UNFAMILIAR = 0.02


def kin(archive: str, picture: np.ndarray, seed: int = 0) -> Kin:
    """Two faces a clip; an embedding that says nothing."""
    noise = np.random.default_rng(seed).normal(size=(len(picture), 3))
    traits = {"picture": picture.astype(np.float32), "embedding": noise.astype(np.float32)}
    return Kin(archive, traits, np.arange(len(picture)) // 2)


def cloud(seed: int, faces: int = 200, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (faces, 4))


def ring(seed: int, faces: int = 200) -> np.ndarray:
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi, faces)
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def test_clips_of_another_kind_lie_beyond_the_limit_and_taught_ones_do_not() -> None:
    found = fitted([kin("a", cloud(0))], [kin("a", cloud(1))], [kin("b", cloud(2, shift=4), 9)], UNFAMILIAR)
    assert found.found["auc"]["value"] > 0.99
    assert found.found["between"] == "untaught archives"
    assert found.found["beyond"]["b"] > 0.9
    held_out = kin("a", cloud(3))
    clips = found.distance(held_out.traits).reshape(-1, 2).mean(1)
    assert (clips > found.limit).mean() <= 0.06


def test_the_distance_that_tells_them_apart_better_is_taken() -> None:
    """What lies in the middle of a ring is near its mean and far from all its faces."""
    middle = 0.05 * np.random.default_rng(5).normal(size=(60, 2))
    found = fitted([kin("a", ring(0))], [kin("a", ring(1))], [kin("b", middle, 9)], UNFAMILIAR)
    auc = found.found["auc_by_view"]["picture"]
    assert auc["neighbours"] > 0.95 > auc["mahalanobis"]
    assert found.views["picture"].kind == "neighbours"


def test_a_view_that_only_blurs_what_the_first_one_sees_is_left_out() -> None:
    found = fitted([kin("a", cloud(0))], [kin("a", cloud(1))], [kin("b", cloud(2, shift=1), 9)], UNFAMILIAR)
    assert list(found.views) == ["picture"]


def test_where_nothing_is_untaught_each_archive_is_left_out_in_turn() -> None:
    learned, apart = (
        [kin(name, cloud(seed, shift=far)) for name, seed, far in (("a", s, 0), ("b", s + 1, 6))] for s in (0, 2)
    )
    found = fitted(learned, apart, [], UNFAMILIAR)
    assert found.found["between"] == "each taught archive and the others"
    assert found.found["auc"]["value"] > 0.99


def test_with_one_archive_alone_nothing_is_measured_and_that_is_said() -> None:
    found = fitted([kin("a", cloud(0))], [kin("a", cloud(1))], [], UNFAMILIAR)
    assert found.found["auc"]["value"] is None and found.found["between"] is None
    assert "no other is at hand" in found.found["auc"]["reason"]
    assert {name: view.kind for name, view in found.views.items()} == {"picture": "mahalanobis"}


def test_familiarity_is_read_as_it_was_written() -> None:
    found = fitted([kin("a", cloud(0))], [kin("a", cloud(1))], [kin("b", cloud(2, shift=4), 9)], UNFAMILIAR)
    again = Familiarity.of(found.as_json(), found.arrays)
    other = kin("c", cloud(7)).traits
    assert (again.distance(other) == found.distance(other)).all()
    assert again.as_json() == found.as_json()


@pytest.mark.parametrize(("count", "most"), [(0, 3), (2, 3), (3, 3), (10, 3), (1000, 999)])
def test_places_are_spread_evenly_and_never_too_many(count: int, most: int) -> None:
    places = spread(count, most)
    assert len(places) == min(count, most)
    assert len(places) == 0 or (places[0], places[-1]) == (0, count - 1)
