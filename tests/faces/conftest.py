"""Clips with known contents: every frame a flat grey that tells its index, with five coloured landmarks on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from components.settings import settings

COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [255, 0, 255]], np.uint8)
Film = Callable[..., Path]


@pytest.fixture
def film() -> Film:
    """`film(path, frames)` writes (H,W,3) frames as H.264, or without loss where the path ends in .mkv."""

    def write(path: Path, frames: Iterable[np.ndarray], **options: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        lossless = path.suffix == ".mkv"
        with av.open(str(path), "w", options=options) as container:
            stream = None
            for pixels in frames:
                if stream is None:
                    stream = container.add_stream("ffv1" if lossless else "libx264", rate=25)
                    stream.height, stream.width = pixels.shape[:2]
                    stream.pix_fmt = "bgr0" if lossless else "yuv420p"
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            assert stream is not None
            container.mux(stream.encode(None))
        return path

    return write


@pytest.fixture
def grey() -> Callable[..., np.ndarray]:
    """`grey(level)`: a flat frame; with landmarks, five coloured discs on it."""

    def paint(level: int, landmarks: np.ndarray | None = None, size: tuple[int, int] = (160, 160)) -> np.ndarray:
        frame = np.full((*size, 3), level, np.uint8)
        ys, xs = np.mgrid[: size[0], : size[1]]
        for point, colour in zip(() if landmarks is None else landmarks, COLOURS, strict=False):
            frame[np.hypot(xs - point[0], ys - point[1]) <= 4] = colour
        return frame

    return paint


@pytest.fixture
def yunet(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """YuNet's weights are where the settings say."""
    monkeypatch.setenv("PERENNIAL_YUNET_WEIGHTS", str(real_data / "weights" / "face_detection_yunet.onnx"))
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No variable names a weight file, and torch's cache is empty."""
    monkeypatch.delenv("PERENNIAL_YUNET_WEIGHTS", raising=False)
    monkeypatch.delenv("PERENNIAL_RETINAFACE_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    settings.cache_clear()
    yield
    settings.cache_clear()
