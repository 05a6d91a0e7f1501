"""Altered copies of a face are found across splits and archives; other faces, and other frames of one split, are not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from components.faces import hashes, likeness, near_duplicates
from components.faces.near_duplicates import RADIUS, Index, compare
from components.faces.table import FaceTable, encode

Image = np.ndarray


def face(seed: int) -> Image:
    """A smooth picture, of its own for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    return cv2.resize(coarse, (96, 96), interpolation=cv2.INTER_CUBIC)


def jpeg(image: Image) -> Image:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)


def smaller(image: Image) -> Image:
    return cv2.resize(cv2.resize(image, (48, 48), interpolation=cv2.INTER_AREA), (96, 96))


def darker(image: Image) -> Image:
    return (image * 0.7).astype(np.uint8)


def table(folder: Path, faces: dict[str, tuple[str, Image]]) -> Path:
    """Clip -> its split and its one face."""
    rows = pd.DataFrame(
        {"archive": folder.name, "clip": list(faces), "frame": 0, "label": 0, "method": "genuine", "identity": "",
         "source": list(faces), "split": [split for split, _ in faces.values()], "score": 1.0,
         "landmarks": [np.full(10, np.nan)] * len(faces), "box": [np.zeros(4)] * len(faces)}
    )  # fmt: skip
    FaceTable.write(folder, rows, [encode(np.ascontiguousarray(image)) for _, image in faces.values()], {"size_px": 96})
    return folder


@pytest.mark.parametrize("alter", [jpeg, smaller, darker])
def test_an_altered_copy_of_a_learned_face_is_found_where_another_archive_examines_it(
    tmp_path: Path, alter: Callable[[Image], Image]
) -> None:
    first = table(tmp_path / "first", {f"a{n}": ("train", face(n)) for n in range(6)})
    copied = {"b0": ("test", alter(face(0))), "b1": ("train", alter(face(1))), "b2": ("test", face(99))}
    found = compare("second", {"second": table(tmp_path / "second", copied), "first": first})
    (pair,) = found.pairs.to_dict("records")
    assert (pair["clip"], pair["split"], pair["archive"], pair["other_clip"], pair["other_split"]) == (
        "b0", "test", "first", "a0", "train")  # fmt: skip
    assert 0 <= pair["bits"] <= RADIUS
    assert (found.clips, found.count("face"), found.count("frame")) == (3, 1, 0)


def test_both_sides_of_a_pair_within_an_archive_are_named_and_the_nearest_only(tmp_path: Path) -> None:
    faces = {
        "a": ("train", face(0)),
        "b": ("test", jpeg(darker(face(0)))),
        "c": ("test", face(0)),
        "d": ("train", face(1)),
    }
    found = compare("one", {"one": table(tmp_path / "one", faces)})
    assert set(zip(found.pairs["clip"], found.pairs["other_clip"], strict=True)) == {("a", "c"), ("b", "a"), ("c", "a")}


def test_what_is_found_is_written_once_and_refused_above_the_share(tmp_path: Path) -> None:
    tables = {"one": table(tmp_path / "one", {"a": ("train", face(0)), "b": ("test", face(0)), "c": ("test", face(1))})}
    near_duplicates.bring_up_to_date("one", tables, tmp_path / "r", 0.7)
    before = (tmp_path / "r/report.json").stat().st_mtime_ns
    near_duplicates.bring_up_to_date("one", tables, tmp_path / "r", 0.7)
    assert (tmp_path / "r/report.json").stat().st_mtime_ns == before
    assert json.loads((tmp_path / "r/report.json").read_text())["passed"] is True
    near_duplicates.bring_up_to_date("one", tables, tmp_path / "r", 0.6)
    assert likeness.read_report(tmp_path / "r")["passed"] is False
    assert len(pd.read_csv(tmp_path / "r/pairs.csv")) == 2


@pytest.mark.parametrize("count", [200, 20_001])
def test_the_index_finds_every_hash_within_its_radius(count: int) -> None:
    generator = np.random.default_rng(0)
    known = generator.integers(0, 256, (count, 32), np.uint8)
    bits = np.unpackbits(known[:60], axis=1)
    for n, row in enumerate(bits):
        row[generator.choice(256, n, replace=False)] ^= 1  # n bits away
    found = {
        (int(q), int(k)): int(d)
        for part in Index(known).near(np.packbits(bits, axis=1))
        for q, k, d in zip(*part, strict=True)
    }
    assert found == {(n, n): n for n in range(RADIUS + 1)}


def test_frames_that_are_hashed_are_few_and_spread_over_the_clip() -> None:
    for frames, hashed in ((32, [0, 8, 16, 24]), (4, [0, 1, 2, 3]), (1, [0]), (10, [0, 3, 6, 9])):
        assert [n for n in range(frames) if hashes.is_hashed(n, frames)] == hashed
