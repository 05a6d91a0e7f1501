"""Few clips and few frames: which training faces a generation learns from follows from names alone."""

from __future__ import annotations

import numpy as np
import pandas as pd

from components.tasks.few import evenly_of_each_clip, of_few_clips


def rows(clips: int, frames: int, archive: str = "swap") -> pd.DataFrame:
    """Faces of so many genuine and as many forged clips."""
    names = [(f"{kind}/{n}.mp4", label) for label, kind in enumerate(("real", "fake")) for n in range(clips)]
    faces = [(archive, clip, 10 * frame, label) for clip, label in names for frame in range(frames)]
    return pd.DataFrame(faces, columns=["archive", "clip", "frame", "label"])


def clips_of(table: pd.DataFrame, kept: np.ndarray) -> set[str]:
    return set(table["clip"][kept])


def test_so_many_clips_of_each_class_are_kept_with_all_their_faces() -> None:
    table = rows(clips=12, frames=3)
    kept = of_few_clips(table, 5)
    chosen = table[kept]
    assert chosen.groupby("label")["clip"].nunique().tolist() == [5, 5]
    assert (chosen.groupby("clip").size() == 3).all()


def test_more_clips_hold_the_fewer_ones_and_all_are_kept_where_there_are_no_more() -> None:
    table = rows(clips=12, frames=1)
    assert clips_of(table, of_few_clips(table, 3)) < clips_of(table, of_few_clips(table, 7))
    assert of_few_clips(table, 50).all()


def test_the_order_of_the_rows_does_not_matter_and_names_do() -> None:
    table = rows(clips=30, frames=2)
    mixed = table.sample(frac=1, random_state=0).reset_index(drop=True)
    assert clips_of(mixed, of_few_clips(mixed, 4)) == clips_of(table, of_few_clips(table, 4))
    other = rows(clips=30, frames=2, archive="mesh")
    assert clips_of(other, of_few_clips(other, 4)) != clips_of(table, of_few_clips(table, 4))


def test_a_clip_that_is_gone_makes_room_for_one_other() -> None:
    table = rows(clips=12, frames=1)
    before = clips_of(table, of_few_clips(table, 4))
    left = table[table["clip"] != min(before)].reset_index(drop=True)
    after = clips_of(left, of_few_clips(left, 4))
    assert len(before - after) == 1 and len(after - before) == 1


def test_frames_are_spread_over_the_clip_from_its_first_to_its_last() -> None:
    table = rows(clips=1, frames=32).sample(frac=1, random_state=0).reset_index(drop=True)
    kept = table[evenly_of_each_clip(table, 8)]
    frames = kept.groupby("clip")["frame"].apply(sorted)
    assert all(len(of_clip) == 8 and of_clip[0] == 0 and of_clip[-1] == 310 for of_clip in frames)
    assert all(max(np.diff(of_clip)) <= 50 for of_clip in frames)
    assert evenly_of_each_clip(table, 40).all()
