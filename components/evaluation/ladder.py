"""The ladder: the same test faces made worse, rung by rung, and what a generation still knows of them.

    jpeg_75 jpeg_50 jpeg_30     JPEG of that quality
    h264_28 h264_38             H.264 at that constant rate factor, every face a key frame
    resize_2 resize_4           to a half or a quarter of the side, and back
    blur_1 blur_2               Gaussian of so many pixels
    noise_5 noise_15            Gaussian of so many grey levels, the same at every asking

One face a clip, its middle one, as many genuine clips as forged ones where there are so many. All rungs together have about
as many faces as the benchmark's test split, so that the ladder takes about as long as the examination: MOST faces at most,
and LEAST where the benchmark has them, which takes longer on benchmarks of fewer than 400 test faces.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import av
import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from components.detectors import Detector
from components.evaluation.familiarity import spread
from components.evaluation.metrics import point
from components.faces.table import FaceTable, decode, encode
from components.params import Rung
from components.progress import shown
from components.tasks.dataset import as_fractions
from components.vocabulary import FORGED, LABELS, TEST

Images = NDArray[np.uint8]
MOST = 500
LEAST = 32
SHARE = 15  # of the test faces: eleven rungs, the ground, and about three more for making faces worse (a small network)
SEED = 0x1ADDE4  # of the noise
GROUND = "clean"
"""What every rung is compared with."""


def climb(
    detector: Detector, table: FaceTable, batch: int, device: str | torch.device = "cpu", title: str = "ladder"
) -> dict[str, Any]:
    """AUC on the ground and on every rung, over faces of the test split: {"faces", "clean", "rungs": {rung: AUC}}.

    AUC is None where a class is missing.
    """
    detector.eval()
    rows = chosen(table.rows)
    labels = table.rows["label"].to_numpy(np.int64)[rows]
    images = table.images(rows)
    steps: list[tuple[str, Callable[[Images], Images]]] = [(GROUND, np.asarray), *RUNGS.items()]
    if not len(rows):
        return {"faces": 0, GROUND: None, "rungs": {}}
    auc = {}
    for name, change in shown(steps, title):
        auc[name] = point("auc", labels, _asked(detector, change(images), batch, device)).value
    return {"faces": len(rows), GROUND: auc.pop(GROUND), "rungs": auc}


def chosen(rows: pd.DataFrame) -> NDArray[np.intp]:
    """Positions of the faces of a table that climb, in order."""
    test = rows[rows["split"] == TEST]
    most = min(MOST, max(LEAST, len(test) // SHARE))
    clips = test.reset_index(names="at").groupby(["archive", "clip"], sort=True)
    middle = clips["at"].agg(lambda places: places.iloc[len(places) // 2]).to_numpy(np.intp)
    labels = rows["label"].to_numpy()[middle]
    real, forged = (middle[labels == label] for label in LABELS)
    sides = (real, most - min(most // 2, len(forged))), (forged, most - min(most // 2, len(real)))
    return np.sort(np.concatenate([side[spread(len(side), room)] for side, room in sides]))


def _asked(detector: Detector, images: Images, batch: int, device: str | torch.device) -> NDArray[np.float64]:
    """p_fake (N,) of images (N, H, W, 3)."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            faces = torch.from_numpy(np.ascontiguousarray(images[start : start + batch])).permute(0, 3, 1, 2)
            logits = detector(as_fractions(faces.to(device))).logits
            found.append(logits.double().softmax(-1)[:, FORGED].cpu().numpy())
    return np.concatenate(found)


# -- the rungs: images (N, H, W, 3) uint8 RGB to the same, made worse ----------------------------------------------------


def jpeg(images: Images, *, quality: int) -> Images:
    return np.stack([decode(encode(image, "jpeg", quality)) for image in images])


def h264(images: Images, *, factor: int) -> Images:
    """All of them as one film of key frames; an odd side is made even by its last row or column once more, and cut again."""
    height, width = images.shape[1:3]
    film = io.BytesIO()
    with av.open(film, "w", format="matroska") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        stream.options = {"crf": str(factor), "g": "1", "preset": "medium", "threads": "1"}
        for image in np.pad(images, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge"):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        out.mux(stream.encode())
    film.seek(0)
    with av.open(film) as back:
        frames = [frame.to_ndarray(format="rgb24")[:height, :width] for frame in back.decode(video=0)]
    return np.stack(frames)


def resize(images: Images, *, factor: int) -> Images:
    height, width = images.shape[1:3]
    small = (max(1, width // factor), max(1, height // factor))
    return np.stack(
        [
            cv2.resize(cv2.resize(image, small, interpolation=cv2.INTER_AREA), (width, height)).astype(np.uint8)
            for image in images
        ]
    )


def blur(images: Images, *, pixels: int) -> Images:
    return np.stack([cv2.GaussianBlur(image, (0, 0), pixels) for image in images])


def noise(images: Images, *, levels: int) -> Images:
    grain = np.random.default_rng(SEED).normal(0, levels, images.shape).astype(np.float32)
    return np.clip(images + grain, 0, 255).round().astype(np.uint8)


RUNGS: dict[Rung, Callable[[Images], Images]] = {
    "jpeg_75": partial(jpeg, quality=75),
    "jpeg_50": partial(jpeg, quality=50),
    "jpeg_30": partial(jpeg, quality=30),
    "h264_28": partial(h264, factor=28),
    "h264_38": partial(h264, factor=38),
    "resize_2": partial(resize, factor=2),
    "resize_4": partial(resize, factor=4),
    "blur_1": partial(blur, pixels=1),
    "blur_2": partial(blur, pixels=2),
    "noise_5": partial(noise, levels=5),
    "noise_15": partial(noise, levels=15),
}
