"""The faces a generation got most wrong, and where it looked: genuine ones it called forged, forged ones it let pass."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from matplotlib import colormaps
from PIL import Image

from components.evaluation import explain
from components.faces.table import FaceTable
from components.vocabulary import FORGED, REAL

if TYPE_CHECKING:
    from components.detectors import Detector

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
    detector: Detector, scores: Path, faces: Path, benchmarks: Iterable[str], *, each: int
) -> tuple[list[Mistake], list[Mistake]]:
    """(genuine faces called forged, forged faces called genuine), the worst of all benchmarks first, one of a clip.

    scores, faces   the generation's score folder, and the folder of face tables by archive
    """
    rows = pd.concat([_rows(scores / f"{name}.parquet", name) for name in benchmarks], ignore_index=True)
    tables: dict[str, FaceTable] = {}
    found: list[list[Mistake]] = []
    for label, ascending in ((REAL, False), (FORGED, True)):
        wrong = rows[(rows.label == label) & ((rows.p_fake > 0.5) != (label == FORGED))]
        order = ["p_fake", "benchmark", "archive", "clip", "frame"]  # ties must not be left to chance
        wrong = wrong.sort_values(order, ascending=[ascending, True, True, True, True])
        worst = wrong.drop_duplicates(["archive", "clip"]).head(each).to_dict("records")
        found.append([_mistake(row, detector, tables, faces) for row in worst])
    return found[0], found[1]


def _rows(path: Path, benchmark: str) -> pd.DataFrame:
    return pd.read_parquet(path).assign(benchmark=benchmark)


def _mistake(row: Any, detector: Detector, tables: dict[str, FaceTable], faces: Path) -> Mistake:
    name = row["benchmark"]
    if name not in tables:
        tables[name] = FaceTable.load(faces / name)
    known = tables[name].rows
    here = known.index[
        (known["archive"] == row["archive"]) & (known["clip"] == row["clip"]) & (known["frame"] == row["frame"])
    ]
    image = tables[name].images([int(here[0])])[0]
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    heat = np.asarray(explain.heat_maps(detector, pixels)[0].detach().cpu(), dtype=np.float32)
    return Mistake(
        benchmark=name,
        clip=str(row["clip"]),
        frame=int(row["frame"]),
        method=str(row["method"]),
        label=int(row["label"]),
        p_forged=float(row["p_fake"]),
        face=_jpeg(image),
        heat=_veil(heat),
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
