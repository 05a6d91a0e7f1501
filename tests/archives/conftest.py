"""Small archives of every layout, with true stills and true videos, and an S3 server to land them from."""

from __future__ import annotations

import csv
import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import boto3
import numpy as np
import pandas as pd
import pytest
from PIL import Image

CROP_COLUMNS = ("file", "label", "method", "source", "split")
LAB_COLUMNS = ("file", "label", "method", "identity", "source", "split", "frames")


def still(path: Path, seed: int, *, side_px: int = 64) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, quality=90)


def video(path: Path, seed: int, *, frames: int = 8, side_px: int = 64, options: dict[str, str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = side_px
        stream.pix_fmt = "yuv420p"
        for _ in range(frames):
            pixels = generator.integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def write_list(path: Path, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def crops(root: Path, *, per_class: int = 2, seed: int = 0) -> list[dict[str, Any]]:
    """`per_class` real and forged crops in train and in test; returns the rows of labels.csv."""
    rows = []
    for split in ("train", "test"):
        for n in range(per_class):
            for label, folder, method in ((0, "real", "real"), (1, "fake", "swap, of faces")):
                seed += 1
                file = f"{folder}/{split}_{n}.jpg"
                still(root / file, seed)
                row = {"file": file, "label": label, "method": method, "source": f"{split}_{n}", "split": split}
                rows.append(row)
    write_list(root / "labels.csv", CROP_COLUMNS, rows)
    return rows


@pytest.fixture
def crops_at() -> Callable[..., list[dict[str, Any]]]:
    return crops


@pytest.fixture
def make_video() -> Callable[..., None]:
    return video


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A sound archive of layout crops."""
    root = tmp_path / "swaps"
    crops(root)
    return root


@pytest.fixture
def relist(archive: Path) -> Callable[..., None]:
    """Rewrite labels.csv of `archive` with one row changed: relist(3, label="2")."""

    def change(number: int, **values: str) -> None:
        with (archive / "labels.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        rows[number] |= values
        write_list(archive / "labels.csv", CROP_COLUMNS, rows)

    return change


@pytest.fixture
def mask_column(archive: Path) -> Callable[..., None]:
    """Give labels.csv of `archive` a column of masks: mask_column({"fake/train_0.jpg": "masks/a.png"})."""

    def add(masks: dict[str, str], *, draw: bool = True, side_px: int = 64) -> None:
        with (archive / "labels.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        write_list(
            archive / "labels.csv",
            (*CROP_COLUMNS, "mask"),
            [row | {"mask": masks.get(row["file"], "")} for row in rows],
        )
        for mask in masks.values() if draw else ():
            still(archive / mask, 7, side_px=side_px)

    return add


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A sound archive of layout lab: two clips and two stills in each split."""
    root = tmp_path / "lab"
    rows, annotated = [], []
    for n, split in enumerate(("train", "train", "test", "test")):
        for label in (0, 1):
            file, frames = (f"clips/{n}_{label}.mp4", 8) if n % 2 else (f"clips/{n}_{label}.png", 1)
            (video if frames > 1 else still)(root / file, 10 * n + label)
            method = "warp" if label else "genuine"
            who = {"identity": f"p{n}", "source": f"p{n}", "split": split}
            rows.append({"file": file, "label": label, "method": method, **who, "frames": frames})
            annotated += [{"file": file, "frame": f, "landmarks": np.linspace(10, 50, 10)} for f in range(frames)]
    write_list(root / "clips.csv", LAB_COLUMNS, rows)
    pd.DataFrame(annotated).to_parquet(root / "landmarks.parquet")
    (root / "lab.json").write_text(json.dumps({"format": 1}))
    return root


@pytest.fixture
def faceforensics(tmp_path: Path) -> Path:
    """A slice of the official tree: both originals and both forgeries of a pair of each split, by two methods."""
    root = tmp_path / "FaceForensics++"
    for seed, (a, b) in enumerate((("071", "054"), ("720", "672"), ("953", "974"))):
        for n, one in enumerate((a, b)):
            video(root / f"original_sequences/youtube/c23/videos/{one}.mp4", 100 * seed + n)
        for m, method in enumerate(("Deepfakes", "NeuralTextures")):
            for n, pair in enumerate((f"{a}_{b}", f"{b}_{a}")):
                path = root / f"manipulated_sequences/{method}/c23/videos/{pair}.mp4"
                video(path, 100 * seed + 10 + 2 * m + n)
    return root


@pytest.fixture(scope="session")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One true video of eight frames and one true picture, by suffix."""
    path = tmp_path_factory.mktemp("seed") / "seed.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for n in range(8):
            picture = np.full((64, 64, 3), 30 * n, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    stills = {}
    for suffix in (".png", ".jpg"):
        buffer = io.BytesIO()
        Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(buffer, "PNG" if suffix == ".png" else "JPEG")
        stills[suffix] = buffer.getvalue()
    return {".mp4": path.read_bytes(), **stills}


@pytest.fixture
def plant(tmp_path: Path, seeds: dict[str, bytes]) -> Callable[..., Path]:
    """Grow a tree: files by name, with the seed of their suffix, and lists with the text given."""

    def grow(names: Iterable[str], lists: dict[str, str] | None = None, at: str = "archive") -> Path:
        root = tmp_path / at
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(seeds[path.suffix])
        for name, text in (lists or {}).items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return root

    return grow


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3 server of our own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (tmp_path_factory.mktemp("s3") / "log").open("wb")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            _wait_for(port, server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """A fresh bucket; boto3 finds it through the environment alone."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    made = boto3.resource("s3").Bucket(f"b{abs(hash(request.node.nodeid))}")
    made.create()
    return made


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert server.poll() is None, "the S3 server ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("the S3 server did not answer")
