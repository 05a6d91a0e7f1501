"""Decoded faces that stages keep for one another."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from components.faces import decoded
from components.faces.decoded import FOLDER, OnDisk, forget, kept_for
from components.faces.table import FaceTable
from tests.faces.test_face_table import pictures, written

SHAPE = (5, 4, 4, 3)
SIZE = 5 * 4 * 4 * 3


@pytest.fixture(autouse=True)
def _workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def face(value: int) -> np.ndarray:
    return np.full(SHAPE[1:], value, np.uint8)


def _fill(digest: str) -> None:
    kept = kept_for(digest, SHAPE, 10**6)
    assert kept is not None
    for index in range(5):
        kept.get(index, lambda index=index: face(index + 1))


def test_what_one_process_decoded_another_finds() -> None:
    process = multiprocessing.get_context("spawn").Process(target=_fill, args=("digest",))
    process.start()
    process.join()
    assert process.exitcode == 0
    kept = kept_for("digest", SHAPE, 10**6)
    assert kept is not None and len(kept) == 5
    for index in range(5):
        found = kept.get(index, lambda: pytest.fail("it is there"))
        np.testing.assert_array_equal(found, face(index + 1))


def test_a_face_is_decoded_when_it_is_first_asked_for() -> None:
    kept = kept_for("digest", SHAPE, 10**6)
    assert kept is not None and len(kept) == 0
    kept.get(3, lambda: face(7))
    assert len(kept) == 1


def test_marks_of_before_the_machine_was_started_anew_are_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    _fill("digest")
    monkeypatch.setattr(decoded.psutil, "boot_time", lambda: 1e9)
    kept = kept_for("digest", SHAPE, 10**6)
    assert kept is not None and len(kept) == 0


def test_tables_that_do_not_fit_are_not_kept() -> None:
    assert kept_for("digest", SHAPE, SIZE - 1) is None
    assert not FOLDER.exists()


def test_the_longest_unused_table_gives_way() -> None:
    limit = 2 * (SIZE + 5)
    for age, digest in enumerate(["old", "older"]):
        kept_for(digest, SHAPE, limit)
        os.utime(next(FOLDER.glob(f"{digest}-*")), (10**9 - age, 10**9 - age))
    reader = OnDisk(next(FOLDER.glob("older-*")), SHAPE)
    reader.get(0, lambda: face(9))
    kept_for("new", SHAPE, limit)
    assert sorted(folder.name.split("-")[0] for folder in FOLDER.iterdir()) == ["new", "old"]
    np.testing.assert_array_equal(reader.get(0, lambda: face(0)), face(9))  # who reads it goes on


def test_a_disk_without_room_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type(decoded.shutil.disk_usage("."))(10**9, 10**9 - SIZE, SIZE)
    monkeypatch.setattr(decoded.shutil, "disk_usage", lambda _: usage)
    assert kept_for("digest", SHAPE, 10**6) is None


def test_a_table_shows_the_same_faces_with_shared_files_and_without(tmp_path: Path) -> None:
    written(tmp_path / "faces")
    for _ in range(2):
        table = FaceTable.load(tmp_path / "faces", shared_bytes=10**6)
        np.testing.assert_array_equal(table.images(range(5)), pictures(5))
    assert isinstance(table._decoded, OnDisk) and len(table._decoded) == 5


def test_a_caller_who_paints_on_the_images_does_not_change_what_is_kept(tmp_path: Path) -> None:
    written(tmp_path / "faces")
    table = FaceTable.load(tmp_path / "faces", shared_bytes=10**6)
    table.images([0])[:] = 0
    np.testing.assert_array_equal(table.images([0]), pictures(5)[:1])


def test_what_is_withdrawn_leaves_no_decoded_faces(tmp_path: Path) -> None:
    _fill("digest")
    of_a_study = tmp_path / ".perennial" / "studies" / "three" / FOLDER
    of_a_study.mkdir(parents=True)
    forget(tmp_path)
    assert not FOLDER.exists() and not of_a_study.exists()
