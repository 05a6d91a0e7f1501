"""Which faces meet in a batch: both classes alike, every clip seen, old tasks alike, and nothing left to luck."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.tasks.sampling import Remembered, epoch_batches, paired_batches
from components.vocabulary import FORGED, REAL


def task(real: list[int], forged: list[int]) -> pd.DataFrame:
    """Face rows of clips with so many faces each; a real and a forged clip may share a path in different archives."""
    clips = [(REAL, f"{i}.mp4", n) for i, n in enumerate(real)] + [
        (FORGED, f"{i}.mp4", n) for i, n in enumerate(forged)
    ]
    rows = [{"archive": f"a{label}", "clip": clip, "label": label} for label, clip, n in clips for _ in range(n)]
    return pd.DataFrame(rows)


faces_per_clip = st.lists(st.integers(1, 6), min_size=1, max_size=9)


@given(faces_per_clip, faces_per_clip, st.integers(2, 17), st.integers(1, 4), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_every_batch_is_half_real_half_forged(
    real: list[int], forged: list[int], size: int, most: int, seed: int
) -> None:
    rows = task(real, forged)
    batches = epoch_batches(rows, size=size, faces_per_clip=most, seed=(seed, 0))
    assert batches
    for batch in batches:
        labels = rows["label"].to_numpy()[batch]
        assert abs(int((labels == REAL).sum()) - int((labels == FORGED).sum())) <= size % 2
    assert all(len(batch) == size for batch in batches) or len(batches) == 1
    assert len(batches[0]) <= size


@given(faces_per_clip, faces_per_clip, st.integers(2, 17), st.integers(1, 4), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_an_epoch_sees_every_clip_of_the_larger_class(
    real: list[int], forged: list[int], size: int, most: int, seed: int
) -> None:
    rows = task(real, forged)
    seen = rows.iloc[np.concatenate(epoch_batches(rows, size=size, faces_per_clip=most, seed=(seed, 0)))]
    shares = [sum(min(n, most) for n in counts) for counts in (real, forged)]
    for label, counts in enumerate((real, forged)):
        distinct = seen[seen["label"] == label].drop_duplicates().groupby("clip").size()
        different_faces = seen[seen["label"] == label].index.unique()
        assert all(n <= most for n in rows.loc[different_faces].groupby("clip").size())
        if shares[label] == max(shares):
            assert len(distinct) == len(counts)
            assert len(different_faces) == shares[label]


def test_the_smaller_class_repeats_evenly() -> None:
    rows = task(real=[1] * 3, forged=[1] * 12)
    seen = Counter(np.concatenate(epoch_batches(rows, size=8, faces_per_clip=1, seed=(0, 0))).tolist())
    assert [seen[i] for i in range(3)] == [4, 4, 4]
    assert all(seen[i] == 1 for i in range(3, 15))


def test_an_odd_batch_leans_to_one_class_by_one_face_and_to_the_other_in_turn() -> None:
    rows = task(real=[5] * 4, forged=[5] * 4)
    batches = epoch_batches(rows, size=5, faces_per_clip=5, seed=(0, 0))
    real = [int((rows["label"].to_numpy()[batch] == REAL).sum()) for batch in batches]
    assert real == [3, 2] * 4


def test_faces_that_do_not_fill_a_batch_make_one_smaller_batch() -> None:
    (batch,) = epoch_batches(task(real=[1, 1], forged=[1]), size=32, faces_per_clip=8, seed=(0, 0))
    assert len(batch) == 4


@pytest.mark.parametrize("label", [REAL, FORGED])
def test_one_class_alone_still_makes_batches(label: int) -> None:
    rows = task(real=[2] * 5, forged=[]) if label == REAL else task(real=[], forged=[2] * 5)
    batches = epoch_batches(rows, size=4, faces_per_clip=2, seed=(0, 0))
    assert sorted(np.unique(np.concatenate(batches)).tolist()) == list(range(10))


def test_an_epoch_is_a_function_of_its_seed_alone() -> None:
    rows = task(real=[4] * 5, forged=[4] * 7)

    def epoch(seed: int, number: int) -> list[list[int]]:
        return [b.tolist() for b in epoch_batches(rows, size=6, faces_per_clip=3, seed=(seed, number))]

    assert epoch(0, 1) == epoch(0, 1)
    assert len({str(epoch(seed, number)) for seed, number in product((0, 1), (0, 1, 2))}) == 6


def memory(sizes: dict[tuple[str, int], int]) -> pd.DataFrame:
    return pd.DataFrame([{"archive": name, "label": label} for (name, label), n in sizes.items() for _ in range(n)])


def test_a_draw_from_memory_is_equal_over_tasks_and_classes() -> None:
    rows = memory({("swap", 0): 30, ("swap", 1): 2, ("mesh", 0): 5, ("mesh", 1): 9})
    drawn = rows.iloc[Remembered(rows).draw(size=16, seed=(0, 1))]
    assert drawn.groupby(["archive", "label"]).size().tolist() == [4, 4, 4, 4]


def test_a_draw_that_knows_no_groups_meets_larger_tasks_more_often() -> None:
    rows = pd.DataFrame({"archive": ["a"] * 30 + ["b"] * 10, "label": [0, 1] * 20})
    memory = Remembered(rows, alike=False)
    drawn = np.concatenate([memory.draw(size=20, seed=(0, step)) for step in range(200)])
    assert np.bincount(drawn, minlength=40).min() > 50  # of 100 each
    assert 0.72 < (drawn < 30).mean() < 0.78


def test_a_draw_repeats_a_face_only_where_its_group_is_too_small() -> None:
    rows = memory({("swap", 0): 30, ("swap", 1): 2, ("mesh", 0): 5, ("mesh", 1): 9})
    drawn = Counter(Remembered(rows).draw(size=16, seed=(0, 1)).tolist())
    assert [drawn[30], drawn[31]] == [2, 2]
    assert all(times == 1 for position, times in drawn.items() if position not in (30, 31))


def test_groups_take_turns_where_a_draw_is_smaller_than_their_number() -> None:
    rows = memory({(f"task{t}", label): 4 for t in range(5) for label in (0, 1)})
    drawn = rows.iloc[np.concatenate([Remembered(rows).draw(size=4, seed=(seed,)) for seed in range(500)])]
    sizes = drawn.groupby(["archive", "label"]).size()
    assert len(sizes) == 10
    assert sizes.between(140, 260).all()  # 200 expected, deviation about 11


def test_every_face_of_a_group_is_equally_likely() -> None:
    rows = memory({("swap", 0): 10, ("swap", 1): 10})
    drawn = Counter(np.concatenate([Remembered(rows).draw(size=4, seed=(seed,)) for seed in range(500)]).tolist())
    assert all(60 <= drawn[i] <= 140 for i in range(20))  # 100 expected, deviation about 9


def test_a_draw_is_a_function_of_its_seed_alone() -> None:
    rows = memory({("swap", 0): 10, ("swap", 1): 10})
    assert Remembered(rows).draw(size=6, seed=(1, 2)).tolist() == Remembered(rows).draw(size=6, seed=(1, 2)).tolist()
    assert len({str(Remembered(rows).draw(size=6, seed=(1, step)).tolist()) for step in range(5)}) == 5


def shot(sources: dict[str, tuple[int, int]]) -> pd.DataFrame:
    """Face rows of an archive: of each source so many genuine and so many forged clips of one face."""
    rows = [
        {"archive": "a", "clip": f"{source}-{label}-{i}", "label": label, "source": source}
        for source, counts in sources.items()
        for label, n in zip((REAL, FORGED), counts, strict=True)
        for i in range(n)
    ]
    return pd.DataFrame(rows)


def test_every_forged_face_comes_after_a_genuine_one_of_its_source() -> None:
    rows = shot({"ann": (1, 4), "bea": (3, 2), "cid": (2, 2)})
    order = np.concatenate(paired_batches(rows, size=4, faces_per_clip=1, seed=(0, 0)))
    genuine, forged = rows.iloc[order[0::2]], rows.iloc[order[1::2]]
    assert set(genuine["label"]) == {REAL} and set(forged["label"]) == {FORGED}
    assert genuine["source"].tolist() == forged["source"].tolist()
    assert set(forged.index) == set(rows.index[rows["label"] == FORGED])


def test_genuine_faces_of_a_source_take_turns() -> None:
    rows = shot({"ann": (3, 6)})
    order = np.concatenate(paired_batches(rows, size=12, faces_per_clip=1, seed=(0, 0)))
    assert sorted(Counter(order[0::2].tolist()).values()) == [2, 2, 2]


def test_a_forged_face_without_a_genuine_one_meets_genuine_strangers_nobody_forged() -> None:
    rows = shot({"ann": (1, 1), "bea": (0, 3), "cid": (3, 0)})
    order = np.concatenate(paired_batches(rows, size=8, faces_per_clip=1, seed=(0, 0)))
    partners = dict(zip(order[1::2].tolist(), order[0::2].tolist(), strict=True))
    met = {rows["source"][partners[forged]] for forged in rows.index[(rows["source"] == "bea")]}
    assert met == {"cid"}


def test_pairs_fill_every_batch_and_follow_from_the_seed() -> None:
    rows = shot({f"p{i}": (2, 3) for i in range(5)})

    def epoch(number: int) -> list[list[int]]:
        return [b.tolist() for b in paired_batches(rows, size=8, faces_per_clip=1, seed=(0, number))]

    assert [len(batch) for batch in epoch(0)] == [8, 8, 8, 8]  # 15 pairs, one of them twice
    assert epoch(0) == epoch(0) != epoch(1)


def test_one_class_alone_needs_no_partner() -> None:
    rows = shot({"ann": (3, 0)})
    (batch,) = paired_batches(rows, size=8, faces_per_clip=1, seed=(0, 0))
    assert sorted(batch.tolist()) == [0, 1, 2]
