"""Clips on disk: H.264 in MP4, one thread, the same frames giving the same bytes; and the masks of what was forged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from components.lab.picture import Mask, Picture

# x264's macroblock tree reads memory it never wrote, and its assembler rounds as the processor pleases: without both
# switches the same frames gave 17 different files in 40 runs (x264 core 165, 2026-11-21).
_SAME_BYTES = "cpu-independent=1:mbtree=0"
_H264 = {"crf": "17", "preset": "veryfast", "threads": "1", "x264-params": _SAME_BYTES}

# 210 bytes and 0.25 ms a frame of 160 px, against 350 bytes and 0.5 ms of lossless H.264; level 3, the default, adds a
# checksum to each of several slices: 295 bytes (libavcodec 62, 2026-11-21).
_FFV1 = {"level": "1", "threads": "1"}


def write_clip(path: Path, frames: Sequence[Picture], *, fps: int = 12) -> None:
    """Encode `frames`, (H, W, 3) uint8 with even H and W, to `path`."""
    _write(path, frames, "mp4", "libx264", _H264, pixels="rgb24", stored="yuv420p", fps=fps)


def write_masks(path: Path, masks: Sequence[Mask], *, fps: int = 12) -> None:
    """Encode `masks`, (H, W) bool, to `path` without loss: FFV1 in Matroska, 255 where True and 0 elsewhere."""
    greys = [mask * np.uint8(255) for mask in masks]
    _write(path, greys, "matroska", "ffv1", _FFV1, pixels="gray", stored="gray", fps=fps)


def _write(
    path: Path,
    frames: Sequence[Any],
    container_format: str,
    codec: str,
    options: Mapping[str, str],
    *,
    pixels: str,
    stored: str,
    fps: int,
) -> None:
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", format=container_format, options={"fflags": "+bitexact"}) as container:
        stream: Any = container.add_stream(codec, rate=fps, options=dict(options))
        stream.width, stream.height, stream.pix_fmt = width, height, stored
        stream.codec_context.thread_count = 1
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=pixels)))
        container.mux(stream.encode())
