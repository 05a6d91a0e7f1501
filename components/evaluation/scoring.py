"""How forged does a detector find each face? The same table, weights and batch always give the same answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from components.detectors import Detector
from components.errors import StageFailed
from components.faces.table import FaceTable
from components.progress import shown
from components.tasks.loading import Look, looks
from components.vocabulary import FORGED


def score(
    detector: Detector,
    table: FaceTable,
    rows: Sequence[int] | NDArray[np.intp],
    batch: int,
    device: str | torch.device = "cpu",
    title: str = "scoring",
) -> NDArray[np.float64]:
    """p_fake (N,): softmax probability of *forged* of these rows of `table`, in their order.

    Raises StageFailed when an answer is not a number.
    """
    detector.eval()
    indices = np.asarray(rows, dtype=np.intp)
    p_fake = np.empty(len(indices))
    starts = range(0, len(indices), batch)
    faces = looks(table, [Look(indices[start : start + batch]) for start in starts], device)
    with torch.inference_mode():
        for start, (seen,) in zip(shown(starts, title), faces, strict=True):
            logits = detector(seen).logits  # (B, 2)
            p_fake[start : start + batch] = logits.double().softmax(-1)[:, FORGED].cpu().numpy()
    if not np.isfinite(p_fake).all():
        clip = table.rows["clip"].iloc[int(indices[~np.isfinite(p_fake)][0])]
        raise StageFailed(
            f"expected a probability for every face, found NaN for one of clip '{clip}'. "
            "The training diverged: look at curve.csv, lower training.learning_rate and raise the generation again."
        )
    return p_fake
