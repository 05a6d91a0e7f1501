"""What a face shows of the kind of picture it comes from, as numbers: two views of it.

picture     of its pixels alone: how much there is, and how spiky it is, in four octaves of its luma and chroma, its tone,
            and how the differences of neighbouring pixels follow one another. Rendering, lenses, codecs and scaling leave
            their mark there, whatever the face.
embedding   what the detector reads its answer from. A detector that was taught to ignore what is no evidence ignores
            most of what makes a picture another kind, so that this view alone sees little of it (measured in LOG.md).

Source   Pevny, Bas and Fridrich 2010 (SPAM): how truncated differences follow one another; here pairs of first and second
         differences, over both directions and both signs
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from components.detectors import Detector
from components.faces.table import FaceTable
from components.progress import shown
from components.tasks.loading import Look, looks

Traits = dict[str, NDArray[np.float32]]
"""By view, (N, D)."""
PICTURE, EMBEDDING = "picture", "embedding"
OCTAVES = 4
FLOOR = 0.05  # grey levels of deviation: what 8 bits cannot tell from nothing
LEVELS = 2  # differences beyond it, in steps, count as it
STEPS = {1: 1.0, 2: 2.0}  # grey levels of a step, of first and of second differences
SHARE = 1e-4  # of the pairs: what a face of this size cannot tell from none


def seen(
    detector: Detector,
    table: FaceTable,
    rows: Sequence[int] | NDArray[np.intp],
    batch: int,
    device: str | torch.device = "cpu",
    title: str = "looking",
) -> Traits:
    """Both views of these rows of a table, in their order."""
    detector.eval()
    indices = np.asarray(rows, dtype=np.intp)
    parts = [indices[start : start + batch] for start in range(0, len(indices), batch)]
    faces = looks(table, [Look(part) for part in parts], device)
    pictures, embeddings = [], []
    with torch.inference_mode():
        for part, (face,) in zip(shown(parts, title), faces, strict=True):
            embeddings.append(detector(face).embedding.flatten(1).float().cpu().numpy())
            pictures.append(np.stack([picture(table.image(int(index))) for index in part]))
    return {PICTURE: np.concatenate(pictures), EMBEDDING: np.concatenate(embeddings)}


def picture(face: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The view `picture` of one face (H, W, 3) RGB, of each of three colours: mean, log deviation, log deviation and log
    kurtosis of four octaves, and the log shares of 9 kinds of pairs of first and of second differences; (84,).

    An octave is what a Gaussian of one pixel takes away; what it leaves, at half the size, holds the next.
    """
    left = cv2.cvtColor(face, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    found = [left.mean((0, 1)), np.log(left.std((0, 1)) + FLOOR)]
    found += [_pairs(left[..., colour], order) for colour in range(3) for order in STEPS]
    for _ in range(OCTAVES):
        soft = cv2.GaussianBlur(left, (0, 0), 1)
        band, left = left - soft, soft[::2, ::2]
        deviation = band.std((0, 1)) + FLOOR
        found += [np.log(deviation), np.log(((band / deviation) ** 4).mean((0, 1)) + FLOOR)]
    return np.concatenate(found).astype(np.float32)


def _kinds_of_pairs() -> NDArray[np.intp]:
    """(5, 5): a number for each pair of levels, the same one read backwards or with the other sign."""
    levels = range(-LEVELS, LEVELS + 1)
    alike = {(a, b): max((a, b), (b, a), (-a, -b), (-b, -a)) for a in levels for b in levels}
    numbers = {kind: number for number, kind in enumerate(sorted(set(alike.values())))}
    return np.array([[numbers[alike[a, b]] for b in levels] for a in levels], dtype=np.intp)


KINDS_OF_PAIRS = _kinds_of_pairs()


def _pairs(plane: NDArray[np.float32], order: int) -> NDArray[np.float64]:
    """Log shares (9,) of the kinds of pairs of neighbouring differences of a plane (H, W), along rows and columns."""
    counts = np.zeros(KINDS_OF_PAIRS.max() + 1)
    for lines in (plane, plane.T):
        steps = np.diff(lines, order, axis=1) / STEPS[order]
        level = np.clip(np.round(steps), -LEVELS, LEVELS).astype(np.intp) + LEVELS
        counts += np.bincount(KINDS_OF_PAIRS[level[:, :-1], level[:, 1:]].ravel(), minlength=len(counts))
    return np.log(counts / counts.sum() + SHARE)
