"""Fewer faces than there are: the training clips and frames of a task that a protocol lets a generation learn from.

Which clips these are follows from their names alone, so every strategy, seed and stage has the same few, more clips hold
the fewer ones, and a clip that is withdrawn makes room for one other.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pandas as pd

from components.params import TrainingOptions
from components.tasks.dataset import Faces


def learned(faces: Faces, options: TrainingOptions, *, founder: bool) -> Faces:
    """Those training faces of a task that a generation, a line's founder or a later one, learns from and may remember."""
    clips = options.founder_clips_per_class if founder else options.clips_per_class
    rows, kept = faces.rows, np.ones(len(faces), dtype=bool)
    if clips is not None:
        kept &= of_few_clips(rows, clips)
    if options.frames_per_clip is not None:
        kept &= evenly_of_each_clip(rows, options.frames_per_clip)
    return replace(faces, indices=faces.indices[kept])


def of_few_clips(rows: pd.DataFrame, count: int) -> np.ndarray:
    """(N,) bool: faces of the first `count` clips of each label, in the order of the digests of their names."""
    clips = rows[["archive", "clip", "label"]].drop_duplicates()
    digests = [hashlib.sha256(f"{archive}\n{clip}".encode()).hexdigest() for archive, clip in _names(clips)]
    first = clips.assign(digest=digests).sort_values("digest").groupby("label").head(count)
    return pd.MultiIndex.from_frame(rows[["archive", "clip"]]).isin(list(_names(first)))


def evenly_of_each_clip(rows: pd.DataFrame, count: int) -> np.ndarray:
    """(N,) bool: at most `count` faces of every clip, its first and its last among them."""
    kept, frames = np.zeros(len(rows), dtype=bool), rows["frame"].to_numpy()
    for members in rows.groupby(["archive", "clip"], sort=False).indices.values():
        positions = np.asarray(members)
        in_order = positions[np.argsort(frames[positions], kind="stable")]
        chosen = np.linspace(0, len(in_order) - 1, min(count, len(in_order))).round().astype(np.intp)
        kept[in_order[chosen]] = True
    return kept


def _names(rows: pd.DataFrame) -> zip[tuple[str, str]]:
    return zip(rows["archive"], rows["clip"], strict=True)
