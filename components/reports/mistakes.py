"""The faces a generation got most wrong, and where it looked: genuine ones it called forged, forged ones it let pass.

The generation is loaded, and torch with it, once a mistake is to be shown.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import colormaps
from PIL import Image

from components.faces.table import FaceTable
from components.vocabulary import FORGED, REAL

Look = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
"""Face (H, W, 3) -> heat (H, W) in [0, 1]: where the detector looked."""
THUMBNAIL_PX = 160


@dataclass(frozen=True)
class Mistake:
    """One face and what was said of it."""

    benchmark: str
    clip: str
    frame: int
    method: str
    label: int
    p_forged: float
    face: bytes
    """JPEG."""
    heat: bytes
    """PNG, to be laid over the face: see-through where the detector did not look."""

    @property
    def is_forged(self) -> bool:
        return self.label == FORGED


def most_wrong(
    generation: Path, scores: Path, faces: Path, benchmarks: Iterable[str], *, each: int
) -> tuple[list[Mistake], list[Mistake]]:
    """(genuine faces called forged, forged faces called genuine), the worst of all benchmarks first, one of a clip.

    generation, scores, faces   its folder, its score folder, and the folder of face tables by archive
    """
    rows = pd.concat([_rows(scores / f"{name}.parquet", name) for name in benchmarks], ignore_index=True)
    worst: dict[int, list[Any]] = {}
    for label, ascending in ((REAL, False), (FORGED, True)):
        wrong = rows[(rows.label == label) & ((rows.p_fake > 0.5) != (label == FORGED))]
        order = ["p_fake", "benchmark", "archive", "clip", "frame"]  # ties must not be left to chance
        wrong = wrong.sort_values(order, ascending=[ascending, True, True, True, True])
        worst[label] = wrong.drop_duplicates(["archive", "clip"]).head(each).to_dict("records")
    if not any(worst.values()):
        return [], []
    tables, look = _Tables(faces), _looker(generation)
    real, forged = ([_mistake(row, tables, look) for row in worst[label]] for label in (REAL, FORGED))
    return real, forged


def _rows(path: Path, benchmark: str) -> pd.DataFrame:
    return pd.read_parquet(path).assign(benchmark=benchmark)


class _Tables(dict[str, FaceTable]):
    """Face tables by archive, read when they are asked for."""

    def __init__(self, faces: Path) -> None:
        self._faces = faces

    def __missing__(self, name: str) -> FaceTable:
        self[name] = FaceTable.load(self._faces / name)
        return self[name]


def _looker(generation: Path) -> Look:
    import torch

    from components.evaluation import explain
    from components.generations.generation import load_classifier
    from components.tasks.dataset import as_faces

    torch.set_num_threads(1)  # the order of additions would show in the heat maps
    detector = load_classifier(generation)

    def look(face: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return np.asarray(explain.heat_maps(detector, as_faces(face[None]))[0].detach().cpu(), dtype=np.float32)

    return look


def _mistake(row: Any, tables: _Tables, look: Look) -> Mistake:
    name = row["benchmark"]
    known = tables[name].rows
    here = known.index[
        (known["archive"] == row["archive"]) & (known["clip"] == row["clip"]) & (known["frame"] == row["frame"])
    ]
    image = tables[name].images([int(here[0])])[0]
    return Mistake(
        benchmark=name,
        clip=str(row["clip"]),
        frame=int(row["frame"]),
        method=str(row["method"]),
        label=int(row["label"]),
        p_forged=float(row["p_fake"]),
        face=_jpeg(image),
        heat=_veil(look(image)),
    )


def _jpeg(image: npt.NDArray[np.uint8]) -> bytes:
    sink = io.BytesIO()
    small = Image.fromarray(image).resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
    small.save(sink, "JPEG", quality=85)
    return sink.getvalue()


def _veil(heat: npt.NDArray[np.float32]) -> bytes:
    """A heat map (H, W) in [0, 1] as a coloured PNG whose alpha is the heat."""
    side = THUMBNAIL_PX // 2
    smooth = np.asarray(Image.fromarray(heat).resize((side, side), Image.Resampling.BICUBIC)).clip(0, 1)
    levels = np.round(smooth * 31) / 31  # few levels: the last digits differ between machines, and files stay small
    colours = colormaps["inferno"](0.25 + 0.75 * levels)
    colours[:, :, 3] = 0.72 * levels
    sink = io.BytesIO()
    Image.fromarray((colours * 255).astype(np.uint8), "RGBA").save(sink, "PNG", optimize=True)
    return sink.getvalue()
