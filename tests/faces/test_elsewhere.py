"""A face table in an object store gives the same faces, fetches each once, and leaves a few small files in the workspace."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pandas as pd
import pytest

from components.errors import BadArchive, BadParams
from components.faces import elsewhere
from components.faces import table as face_table
from components.faces.table import FaceTable, encode, encode_mask
from components.settings import settings

FACES = 24


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """An S3 server of our own, and the way there in the environment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)  # what is fetched is kept below
    made = boto3.resource("s3").Bucket(f"faces{time.monotonic_ns()}")
    made.create()
    return made


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FaceTable:
    """Faces in three shards, every third with a mask."""
    monkeypatch.setattr(face_table, "SHARD_ROWS", 8)
    monkeypatch.setattr(face_table, "BATCH_ROWS", 4)
    pictures = np.random.default_rng(0).integers(0, 256, (FACES, 16, 16, 3), np.uint8)
    rows = pd.DataFrame(
        {
            "archive": "a", "clip": [f"{i // 2}.mp4" for i in range(FACES)], "frame": range(FACES), "label": 1, "method": "m",
            "identity": "", "source": "s", "split": "train", "landmarks": [np.arange(10)] * FACES,
            "box": [np.arange(4)] * FACES, "score": 0.5,
        }
    )  # fmt: skip
    masks = [encode_mask(pictures[i, ::2, ::2, 0]) if i % 3 == 0 else None for i in range(FACES)]
    return FaceTable.write(tmp_path / "faces", rows, map(encode, pictures), {"size_px": 16}, masks=masks)


def fetched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The length of each piece that is fetched from now on, and its shard."""
    pieces: list[tuple[int, int]] = []
    fetch: Callable[..., bytes] = elsewhere.Elsewhere._download

    def noting(self: elsewhere.Elsewhere, shard: int, first: int, last: int) -> bytes:
        pieces.append((shard, last - first))
        return fetch(self, shard, first, last)

    monkeypatch.setattr(elsewhere.Elsewhere, "_download", noting)
    return pieces


def test_faces_masks_and_rows_are_those_of_the_table_that_was_put_there(bucket: Any, table: FaceTable) -> None:
    everything = [7, 0, 23, 8]
    images, encoded = table.images(everything), table.encoded(range(FACES))
    masks, rows, shards = table.encoded_masks(range(FACES)), table.rows, len(list(table.path.glob("data-*")))
    address = elsewhere.put(table.path, f"s3://{bucket.name}/tables/")
    assert address == f"s3://{bucket.name}/tables/{table.digest}"
    assert sorted(path.name for path in table.path.iterdir()) == ["elsewhere.json", "faces.json", "rows.parquet"]
    assert len(list(bucket.objects.filter(Prefix=f"tables/{table.digest}/"))) == shards == 3
    there = FaceTable.load(table.path)
    assert there.digest == table.digest
    pd.testing.assert_frame_equal(there.rows, rows)
    np.testing.assert_array_equal(there.images(everything), images)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(there)).images(everything), images)
    assert there.encoded(range(FACES)) == encoded
    assert there.encoded_masks(range(FACES)) == masks
    assert there.encoded_bytes([0, 5]) == len(encoded[0]) + len(encoded[5])
    assert (there.knows_masks([1, 3]), there.knows_masks([1, 2])) == (True, False)
    assert there.take([3, 1], table.path.with_name("part")).encoded([0, 1]) == [encoded[3], encoded[1]]


def test_neighbours_are_fetched_together_and_nothing_is_fetched_twice(
    bucket: Any, table: FaceTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsewhere, "GAP_BYTES", 0)
    sizes = [len(face) for face in table.encoded(range(FACES))]
    elsewhere.put(table.path, f"s3://{bucket.name}")
    pieces = fetched(monkeypatch)
    FaceTable.load(table.path).images([2, 0, 1, 9])
    assert sorted(pieces) == [(0, sum(sizes[:3])), (1, sizes[9])]
    again = FaceTable.load(table.path)
    again.images([9, 0, 1, 2])
    assert len(pieces) == 2, "another process of the workspace finds what was fetched"
    again.images([3])
    assert pieces[2:] == [(0, sizes[3])]


def test_without_room_faces_are_fetched_whenever_they_are_asked_for(
    bucket: Any, table: FaceTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = table.encoded([4])
    elsewhere.put(table.path, f"s3://{bucket.name}")
    monkeypatch.setenv("PERENNIAL_FETCHED_BYTES", "0")
    settings.cache_clear()
    try:
        there = FaceTable.load(table.path)
        assert there.encoded([4]) == there.encoded([4]) == encoded
        assert not elsewhere.FETCHED.exists()
    finally:
        monkeypatch.undo()
        settings.cache_clear()


def test_another_object_under_the_name_of_a_shard_is_refused(bucket: Any, table: FaceTable) -> None:
    elsewhere.put(table.path, f"s3://{bucket.name}")
    for stored in bucket.objects.all():
        bucket.put_object(Key=stored.key, Body=b"x" * stored.size)
    with pytest.raises(BadArchive, match=r"data-00000-of-00003\.arrow.*AWS_ENDPOINT_URL"):
        FaceTable.load(table.path).images([0])


def test_a_store_that_cannot_be_written_leaves_the_table_as_it_was(bucket: Any, table: FaceTable) -> None:
    before = {path.name: path.read_bytes() for path in table.path.iterdir()}
    with pytest.raises(BadParams, match="cannot be written"):
        elsewhere.put(table.path, f"s3://not-{bucket.name}")
    assert {path.name: path.read_bytes() for path in table.path.iterdir()} == before
