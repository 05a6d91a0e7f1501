"""How unlike some faces are others: what is measured of a face, and a distance between two groups of faces.

A face is measured by single numbers, its quality, and by two embeddings that need no weights: its spectrum and its framing.
Genuine and forged faces are compared apart, so that another share of forgeries is no drift. What a generation makes of new
faces is measured elsewhere, by their AUC.

The distance is the energy coefficient (Székely & Rizzo 2013, "Energy statistics: a class of statistics based on distances"):

    H = (2 E|X - Y| - E|X - X'| - E|Y - Y'|) / (2 E|X - Y|)

0 for the same distribution, never above 1, without a unit, and the same for numbers and vectors. By how much it exceeds what
chance would bring is told by exchanging whole sources between the two groups, because faces of one source are alike.

    Differs: X and X' are never of one source. With few sources H would otherwise be large where nothing drifted.

Of 400 face crops a side (2026-11), sharpness, light and saturation: 0.02 at most between halves of the sources of an archive,
up to 0.8 between four archives of different origin.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from components.faces.table import FaceTable, Images
from components.vocabulary import FORGED, REAL, TRAIN

FACES: Final = 400  # of a class and a group: one of a clip
EXCHANGES: Final = 499
CHANCE: Final = 0.01
"""The share of exchanges that may lie as far apart before a distance counts as one that chance explains."""
LOOKED_AT_PX: Final = 128
BANDS, TILES = 24, 8

Numbers = NDArray[np.float64]
Pictures = NDArray[np.float32]
_CLASSES: Final = {REAL: "genuine", FORGED: "forged"}


@dataclass(frozen=True)
class Sample:
    """N faces of one class."""

    measures: dict[str, Numbers]
    """(N,) or (N, D) by name; NaN where a face has none."""
    sources: tuple[str, ...]
    """(N,) of what each face is."""


def samples(tables: Iterable[FaceTable]) -> dict[int, Sample]:
    """Training faces of these tables by label: the middle face of each of `FACES` clips, chosen by a hash of their names."""
    found: dict[int, list[tuple[str, FaceTable, int]]] = {label: [] for label in _CLASSES}
    for table in tables:
        for label in found:
            clips = _clips(table, label)
            found[label] = sorted([*found[label], *clips], key=lambda clip: clip[0])[:FACES]
    return {label: _sample(chosen) for label, chosen in found.items() if chosen}


def compare(before: dict[int, Sample], now: dict[int, Sample], *, seed: int = 0) -> pd.DataFrame:
    """How far `now` lies from `before`, one row a measure and class of which both have faces of two sources or more:

    measure         in words
    distance        the energy coefficient H
    chance          the share of exchanges of sources that lie as far apart
    drift           the distance; 0 where chance explains it
    before, now     medians; NaN of an embedding
    """
    rows = []
    for label in before.keys() & now.keys():
        for name in before[label].measures:
            pair = [_known(sample, name) for sample in (before[label], now[label])]
            if all(len(set(sources)) > 1 for _, sources in pair):
                distance, chance = energy_coefficient(*pair, generator=np.random.default_rng(seed))
                medians = [float(np.median(values)) if values.ndim == 1 else np.nan for values, _ in pair]
                drift = distance if chance <= CHANCE else 0.0
                rows.append((f"{name} of {_CLASSES[label]} faces", distance, chance, drift, *medians))
    return pd.DataFrame(rows, columns=["measure", "distance", "chance", "drift", "before", "now"])


def energy_coefficient(
    before: tuple[Numbers, tuple[str, ...]],
    now: tuple[Numbers, tuple[str, ...]],
    *,
    generator: np.random.Generator,
) -> tuple[float, float]:
    """(H, share of the exchanges of sources whose H is as large) of two groups: values (N,) or (N, D), sources (N,)."""
    groups = np.repeat([0, 1], [len(before[1]), len(now[1])])
    pairs = list(zip(groups.tolist(), (*before[1], *now[1]), strict=True))
    names = {pair: place for place, pair in enumerate(dict.fromkeys(pairs))}
    belongs = np.eye(len(names))[[names[pair] for pair in pairs]]  # (N, S)
    values = np.concatenate([before[0], now[0]]).reshape(len(pairs), -1)
    is_new = np.array([group for group, _ in names], dtype=float)
    asked = np.stack([is_new, *(generator.permutation(is_new) for _ in range(EXCHANGES))])  # (1 + exchanges, S)
    apart = _sums(belongs.T @ cdist(values, values) @ belongs, asked)
    count = _sums(np.outer(belongs.sum(0), belongs.sum(0)), asked)
    across, new, old = np.divide(apart, count, out=np.zeros_like(apart), where=count > 0)
    found = np.divide(2 * across - new - old, 2 * across, out=np.zeros_like(across), where=across > 0)
    return max(float(found[0]), 0.0), float((found >= found[0] - 1e-12).mean())


def _sums(of_sources: Numbers, is_new: Numbers) -> Numbers:
    """Sums over pairs of other sources, (S, S), with the new sources of each exchange, (E, S): across the two groups, among
    the new, among the old, (3, E)."""
    np.fill_diagonal(of_sources, 0)
    of_new = is_new @ of_sources
    of_old = of_sources.sum(0) - of_new
    return np.stack([(of_new * (1 - is_new)).sum(1), (of_new * is_new).sum(1), (of_old * (1 - is_new)).sum(1)])


def _clips(table: FaceTable, label: int) -> Iterator[tuple[str, FaceTable, int]]:
    """A hash of its name, its table, and the row of its middle face, of every training clip of that class."""
    rows = table.rows
    mine = rows[(rows["split"] == TRAIN) & (rows["label"] == label)]
    of_clip = mine.groupby("clip", sort=False)["frame"]
    middle = mine[of_clip.cumcount() == of_clip.transform("size") // 2]
    for row, archive, clip in zip(middle.index, middle["archive"], middle["clip"], strict=True):
        yield hashlib.sha256(f"{archive}\0{clip}".encode()).hexdigest(), table, int(row)


def _sample(chosen: Iterable[tuple[str, FaceTable, int]]) -> Sample:
    each: list[dict[str, Any]] = []
    sources = []
    for _, table, row in chosen:
        about = table.rows.iloc[row]
        each.append(measured(table.image(row), about))
        sources.append(str(about["source"]))
    return Sample({name: np.array([face[name] for face in each], dtype=np.float64) for name in each[0]}, tuple(sources))


def measured(face: Images, about: pd.Series[Any]) -> dict[str, Any]:
    """What is measured of one face (H, W, 3) RGB; `about` is its row of the table."""
    seen = cv2.resize(face, (LOOKED_AT_PX, LOOKED_AT_PX), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY).astype(np.float32)
    left, top, right, bottom = about["box"]
    return {
        "size in px": np.sqrt(max(right - left, 0) * max(bottom - top, 0)) or np.nan,
        "detector score": about["score"],
        **{name: look(grey) for name, look in _LOOKS.items()},
        "saturation": cv2.cvtColor(seen, cv2.COLOR_RGB2HSV)[..., 1].mean(),
    }


def _sharpness(grey: Pictures) -> float:
    """Logarithm of the variance of the Laplacian."""
    return float(np.log1p(cv2.Laplacian(grey, cv2.CV_32F).var()))


def _spectrum(grey: Pictures) -> Pictures:
    """Logarithm of the power in rings of equal width, from the second to the highest frequency: what up-sampling and
    compression leave (Durall et al., CVPR 2020). (bands,)"""
    window = np.hanning(len(grey))
    power = np.abs(np.fft.rfft2((grey - grey.mean()) * np.outer(window, window))) ** 2
    rows, columns = np.fft.fftfreq(len(grey)), np.fft.rfftfreq(len(grey))
    ring = (np.hypot(rows[:, None], columns[None]) * 2 * BANDS).astype(int).clip(max=BANDS)  # beyond 1/2: the corners
    power_of = np.bincount(ring.ravel(), power.ravel(), BANDS + 1) / np.bincount(ring.ravel(), minlength=BANDS + 1)
    return np.log1p(power_of[1:BANDS]).astype(np.float32)


def _framing(grey: Pictures) -> Pictures:
    """What lies where, whatever the light: tiles of the face, of mean 0 and deviation 1. (tiles * tiles,)"""
    tiles = cv2.resize(grey, (TILES, TILES), interpolation=cv2.INTER_AREA).ravel()
    return np.asarray((tiles - tiles.mean()) / max(float(tiles.std()), 1e-6), dtype=np.float32)


_LOOKS: Final[dict[str, Callable[[Pictures], Any]]] = {
    "sharpness": _sharpness,
    "brightness": lambda grey: grey.mean(),
    "contrast": lambda grey: grey.std(),
    "spectrum": _spectrum,
    "framing": _framing,
}


def _known(sample: Sample, name: str) -> tuple[Numbers, tuple[str, ...]]:
    """The values of a measure and their sources, of the faces that have it."""
    values = sample.measures[name]
    there = np.flatnonzero(np.isfinite(values.reshape(len(values), -1)).all(1))
    return values[there], tuple(sample.sources[face] for face in there)
