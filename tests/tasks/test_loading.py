"""The batches of a lesson: the same ones whoever makes them, in whole or in shares, here or on the device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from components.faces.table import FaceTable, encode, encode_mask
from components.settings import settings
from components.tasks import loading
from components.tasks.augmentations import KNOWN
from components.tasks.dataset import Batch, Faces
from components.tasks.loading import Draw, Held, Loader, Look, batches, looks, part_of, share_of

CPU = torch.device("cpu")
EVERYTHING = dict.fromkeys(KNOWN, 0.5)
ON_A_DEVICE = {"flip": 0.5, "brightness_contrast": 0.5}
SIDE_PX = 24


def face_rows(name: str, count: int) -> pd.DataFrame:
    """One face a clip, real and forged in turn."""
    return pd.DataFrame(
        {
            "archive": name, "clip": [f"{i}.mp4" for i in range(count)], "frame": 0,
            "label": [i % 2 for i in range(count)], "method": "swap", "identity": "",
            "source": [str(i) for i in range(count)], "split": "train",
            "landmarks": [np.zeros(10, np.float32)] * count, "box": [np.zeros(4, np.float32)] * count, "score": 1.0,
        }
    )  # fmt: skip


def faces(folder: Path, name: str, count: int, seed: int, *, masked: bool) -> Faces:
    generator = np.random.default_rng(seed)
    rows = face_rows(name, count)
    images = generator.integers(0, 255, (count, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    masks = [encode_mask(np.full((6, 6), 40 * i % 256, np.uint8)) if i % 2 else None for i in range(count)]
    profile = {"detector": "none", "size_px": SIDE_PX}
    table = FaceTable.write(folder / name, rows, map(encode, images), profile, masks=masks if masked else None)
    return Faces.whole(name, table)


@pytest.fixture
def task(tmp_path: Path) -> Faces:
    return faces(tmp_path, "new", 20, 1, masked=True)


@pytest.fixture
def memory(tmp_path: Path) -> Faces:
    born = np.random.default_rng(3).normal(size=(9, 2)).astype(np.float32)
    return replace(faces(tmp_path, "old", 9, 2, masked=False), born=born)


@pytest.fixture
def draws() -> list[Draw]:
    generator = np.random.default_rng(0)
    return [Draw(generator.permutation(20)[:7], generator.permutation(9)[:4], seed) for seed in range(6)]


def equal(one: Tensor | None, other: Tensor | None) -> bool:
    return (one is None and other is None) or torch.equal(torch.nan_to_num(one, 9), torch.nan_to_num(other, 9))


def same(one: Batch, other: Batch) -> bool:
    return all(equal(values, getattr(other, name)) for name, values in vars(one).items())


def test_processes_make_the_batches_that_a_thread_makes(
    task: Faces, memory: Faces, draws: list[Draw], monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = Loader(task, memory, EVERYTHING)
    here = list(batches(loader, draws, CPU))
    monkeypatch.setattr(loading, "processes", lambda device: 2)
    there = list(batches(loader, draws, CPU))
    assert len(here) == len(there) == 6
    assert all(same(one, other) for one, other in zip(here, there, strict=True))
    assert here[0].faces.dtype == torch.float32 and here[0].faces.shape == (11, 3, SIDE_PX, SIDE_PX)
    assert here[0].replayed.tolist() == [False] * 7 + [True] * 4


@pytest.mark.parametrize("count", [1, 2, 3, 4, 16])
def test_shares_put_together_are_the_whole_batch_and_none_overlaps(
    task: Faces, memory: Faces, draws: list[Draw], count: int
) -> None:
    (whole,) = batches(Loader(task, memory, EVERYTHING), draws[:1], CPU)
    shares = [
        next(iter(batches(Loader(task, memory, EVERYTHING, share=(rank, count)), draws[:1], CPU)))
        for rank in range(count)
    ]
    assert torch.equal(torch.cat([share.faces for share in shares]), whole.faces)
    assert all(same(replace(share, faces=whole.faces), whole) for share in shares)


@given(count=st.integers(0, 300), parts=st.integers(1, 40))
def test_every_face_is_in_one_share(count: int, parts: int) -> None:
    dealt = [np.arange(count)[part_of(count, which, parts)] for which in range(parts)]
    assert np.concatenate(dealt).tolist() == list(range(count))
    assert max(map(len, dealt)) == -(-count // parts)


@given(count=st.integers(0, 300), parts=st.integers(1, 40))
def test_shares_made_equally_long_and_put_together_begin_with_the_batch(count: int, parts: int) -> None:
    each = share_of(count, parts)
    filled = np.full((parts, each), -1)
    for which, row in enumerate(filled):
        mine = np.arange(count)[part_of(count, which, parts)]
        row[: len(mine)] = mine
    assert filled.reshape(-1)[:count].tolist() == list(range(count))


@pytest.mark.parametrize("chances", [ON_A_DEVICE, {"jpeg": 1.0, **ON_A_DEVICE}, {"flip": 0.5, "jpeg": 0.5}])
def test_what_is_left_to_the_device_is_what_would_have_been_done_before(
    task: Faces, memory: Faces, draws: list[Draw], chances: dict[str, float]
) -> None:
    loader = Loader(task, memory, chances)
    for draw in draws:
        before, left = loader(draw), replace(loader, on_device=True)(draw)
        assert left.left or list(chances)[-1] == "jpeg"
        torch.testing.assert_close(left.on(CPU).faces, before.on(CPU).faces)
        assert same(replace(left.on(CPU), faces=before.batch.faces), before.on(CPU))


def test_bytes_reach_the_device_where_nothing_made_fractions_of_them(task: Faces, draws: list[Draw]) -> None:
    loaded = Loader(task, None, {"flip": 0.5, "jpeg": 1.0}, on_device=True)(replace(draws[0], old=None))
    assert loaded.batch.faces.dtype == torch.uint8


def test_faces_that_the_device_holds_are_those_that_would_have_been_decoded(
    task: Faces, memory: Faces, draws: list[Draw], monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = Loader(task, memory, ON_A_DEVICE, share=(1, 2))
    decoded = list(batches(loader, draws, CPU))
    held = Held.on(CPU, task, memory)
    monkeypatch.setattr(Held, "where_they_fit", lambda *_: held)
    monkeypatch.setattr(FaceTable, "image", lambda *_: pytest.fail("nothing is decoded"))
    kept = list(batches(loader, draws, CPU))
    assert all(same(one, other) for one, other in zip(decoded, kept, strict=True))


def test_looks_show_every_view_of_the_rows_in_order(task: Faces) -> None:
    rows = [np.array([3, 1]), np.array([7])]
    seen = [views for (views,) in looks(task.table, [Look(some) for some in rows], CPU)]
    for some, view in zip(rows, seen, strict=True):
        assert torch.equal(view, task.batch(some).faces)


def test_the_cpu_has_no_loading_processes_unless_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(settings.cache_clear)
    monkeypatch.setattr("os.cpu_count", lambda: 64)

    def asked(**said: str) -> int:
        for name, value in said.items():
            monkeypatch.setenv(f"PERENNIAL_{name}", value)
        settings.cache_clear()
        return loading.processes(torch.device(said.get("DEVICE", "cpu")))

    assert asked(DEVICE="cpu") == 0
    assert asked(DEVICE="cuda") == 16
    assert asked(DEVICE="cuda", DEVICES="8") == 7
    assert asked(DEVICE="cpu", LOADERS="3") == 3
