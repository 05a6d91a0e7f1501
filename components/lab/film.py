"""Clips on disk: H.264 in MP4, one thread, the same frames giving the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

from components.lab.picture import Picture

# x264's macroblock tree reads memory it never wrote, and its assembler rounds as the processor pleases: without both
# switches the same frames gave 17 different files in 40 runs (x264 core 165, 2026-11-21).
_SAME_BYTES = "cpu-independent=1:mbtree=0"
_OPTIONS = {"crf": "17", "preset": "veryfast", "threads": "1", "x264-params": _SAME_BYTES}


def write_clip(path: Path, frames: Sequence[Picture], *, fps: int = 12) -> None:
    """Encode `frames`, (H, W, 3) uint8 with even H and W, to `path`."""
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=fps, options=_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode())
