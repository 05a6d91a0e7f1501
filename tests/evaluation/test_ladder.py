"""Test faces made worse, rung by rung: which ones, how, and how much is left."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pandas as pd
import pytest

from components.evaluation import ladder
from components.params import Rung


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    """Two smooth faces of an odd side."""
    y, x = np.mgrid[:65, :65] / 65
    waves = [np.sin(6.28 * (k * x + y * c)) for k in (2, 5) for c in (1, 2, 3)]
    return np.stack([127 + 100 * w for w in waves]).reshape(2, 3, 65, 65).transpose(0, 2, 3, 1).astype(np.uint8)


def test_the_rungs_a_rule_may_name_are_those_there_are() -> None:
    assert get_args(Rung) == tuple(ladder.RUNGS)


@pytest.mark.parametrize("rung", ladder.RUNGS)
def test_a_rung_changes_every_face_a_little_and_always_in_the_same_way(rung: Rung, faces: np.ndarray) -> None:
    worse = ladder.RUNGS[rung](faces)
    assert (worse.shape, worse.dtype) == (faces.shape, np.uint8)
    assert (worse == ladder.RUNGS[rung](faces)).all()
    change = np.abs(worse.astype(int) - faces).mean((1, 2, 3))
    assert ((change > 0.2) & (change < 40)).all()


@pytest.mark.parametrize("family", ["jpeg", "h264", "resize", "blur", "noise"])
def test_every_family_gets_worse_from_rung_to_rung(family: str, faces: np.ndarray) -> None:
    rungs = [rung for rung in ladder.RUNGS if rung.startswith(family)]
    errors = [np.abs(ladder.RUNGS[rung](faces).astype(int) - faces).mean() for rung in rungs]
    assert errors == sorted(errors) and len(errors) > 1


def rows(genuine: int, forged: int, frames: int) -> pd.DataFrame:
    clips = [(f"{label}-{n}", label) for label, count in ((0, genuine), (1, forged)) for n in range(count)]
    faces = [
        {"archive": "a", "clip": clip, "label": label, "split": "test"} for clip, label in clips for _ in range(frames)
    ]
    return pd.DataFrame([{**faces[0], "split": "train"}, *faces])


def test_one_face_of_a_clip_climbs_and_both_classes_alike() -> None:
    table = rows(400, 400, 3)
    places = ladder.chosen(table)
    climbing = table.iloc[places]
    assert len(places) == 2400 // ladder.SHARE
    assert climbing["clip"].is_unique and (climbing["split"] == "test").all()
    assert climbing["label"].mean() == 0.5


def test_the_ladder_takes_no_longer_than_the_examination_and_has_an_end() -> None:
    assert len(ladder.chosen(rows(2000, 2000, 2))) == ladder.MOST
    assert len(ladder.chosen(rows(10, 90, 1))) == ladder.LEAST, "the scarce class has all its clips, the other the rest"
    assert (rows(10, 90, 1).iloc[ladder.chosen(rows(10, 90, 1))]["label"] == 0).sum() == 10
    assert len(ladder.chosen(rows(3, 0, 2))) == 3
    assert len(ladder.chosen(rows(1, 1, 1).iloc[:1])) == 0
