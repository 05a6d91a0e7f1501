"""Is a generation asked what it was made for? The files that people ask about, beside the clips it was calibrated on.

    reference: validation clips --\\
                                   >--> drift, stability of every number, share with a face, share that is not told,
    asked: files of late --------/      expected accuracy, agreement with the challenger

A file is one point: its score, its traits in both views (`components.evaluation.traits`), the quality of its faces. Nobody
knows the truth of what is asked, so everything is told without labels.

drift       the energy coefficient over score and traits together (`components.faces.drift`), and by how many exchanges of
            whole sources it is reached: MMD with a distance for a kernel, and its permutation test (Sejdinovic et al. 2013).
            As many of the asked as there are, FILES at most; one test in place of one a number, so `alpha` is what it says
stability   of each number the population stability index, sum (q - p) ln(q / p) over tenths of the reference
expected    accuracy and share of forged files by what the calibrated probabilities promise (CBPE), after the odds of what is
            asked are learned from them (Saerens, Latinne & Decaestecker 2002, Eq. 2.2-2.4). It holds as long as nothing drifts
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.evaluation.calibration import log_odds
from components.evaluation.point_files import POPULATION_FILE
from components.faces.drift import energy_coefficient

Floats = NDArray[np.float64]
Array = NDArray[np.float32]

FILES: Final = 400
FEWEST: Final = 20
"""Files with a face, and clips of the reference, from which on anything is said of drift."""
TENTHS: Final = 10
ROUNDS: Final = 1000
CLOSE: Final = 1e-9
FACELESS: Final = ("no face", "unreadable")
_VIEW = "view "


@dataclass(frozen=True)
class Population:
    """N clips or files, each with a face."""

    sources: tuple[str, ...]
    """(N,) of what each is: what is of one source is alike, and counts together."""
    scores: Floats
    """(N,) as the generation gave them, uncalibrated."""
    traits: Mapping[str, Array]
    """By view (N, D), means over faces."""
    quality: Mapping[str, Floats] = field(default_factory=dict)
    """By column (N,), means over faces; NaN where it is not known."""

    def __len__(self) -> int:
        return len(self.sources)

    def take(self, places: Sequence[int] | NDArray[np.intp]) -> Population:
        """Those at these places, in that order."""
        at = np.asarray(places, np.intp)
        return Population(
            tuple(self.sources[place] for place in at),
            self.scores[at],
            {view: values[at] for view, values in self.traits.items()},
            {column: values[at] for column, values in self.quality.items()},
        )

    def write(self, folder: Path) -> None:
        """``population.parquet`` in `folder`."""
        columns: dict[str, Any] = {"source": pa.array(self.sources, pa.string()), "score": pa.array(self.scores)}
        columns |= {column: pa.array(values) for column, values in sorted(self.quality.items())}
        for view, values in sorted(self.traits.items()):
            flat = pa.array(np.ascontiguousarray(values, np.float32).ravel())
            columns[_VIEW + view] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        pq.write_table(
            pa.table(columns), folder / POPULATION_FILE, compression="zstd", version="2.6", store_schema=False
        )

    @classmethod
    def read(cls, folder: Path) -> Population | None:
        """What `write` wrote; None where there is none."""
        path = folder / POPULATION_FILE
        if not path.is_file():
            return None
        table = pq.read_table(path)
        views = [name for name in table.column_names if name.startswith(_VIEW)]
        numbers = [name for name in table.column_names if name not in {"source", "score", *views}]
        return cls(
            tuple(table["source"].to_pylist()),
            table["score"].to_numpy(),
            {name.removeprefix(_VIEW): np.stack(table[name].to_pylist()).astype(np.float32) for name in views}
            if len(table)
            else {},
            {name: table[name].to_numpy() for name in numbers},
        )


@dataclass(frozen=True)
class Drift:
    """How far what is asked lies from the reference."""

    distance: float
    """The energy coefficient, 0 to 1."""
    chance: float
    """The share of exchanges that lie as far apart."""
    stability: Mapping[str, float]
    """By number, its population stability index: below .1 it is taken for the same, above .25 for another."""

    def alarms(self, alpha: float) -> bool:
        """Whether so rare a distance is told; of populations that are alike a share of `alpha` are."""
        return self.chance <= alpha


def drift(reference: Population, asked: Population, *, seed: int = 0) -> Drift | None:
    """None where either is smaller than FEWEST, or of one source; of more than FILES, as many are drawn."""
    groups = [_drawn(group, seed) for group in (reference, asked)]
    if any(len(group) < FEWEST or len(set(group.sources)) < 2 for group in groups):
        return None
    points, of_old = _points(*groups), len(groups[0])
    distance, chance = energy_coefficient(
        (points[:of_old], groups[0].sources),
        (points[of_old:], groups[1].sources),
        generator=np.random.default_rng(seed),
    )
    numbers = {"score": (reference.scores, asked.scores)}
    numbers |= {
        name: (reference.quality[name], asked.quality[name]) for name in reference.quality.keys() & asked.quality
    }
    found = {name: stability(*pair) for name, pair in sorted(numbers.items())}
    return Drift(distance, chance, {name: index for name, index in found.items() if index is not None})


def stability(reference: Floats, asked: Floats) -> float | None:
    """The population stability index of a number; None where either has no known value.

    A tenth that nobody is in counts as half a file.
    """
    before, now = (values[np.isfinite(values)] for values in (reference, asked))
    if not len(before) or not len(now):
        return None
    edges = np.unique(np.quantile(before, np.linspace(0, 1, TENTHS + 1)[1:-1]))
    p, q = (_shares(np.searchsorted(edges, values), len(edges) + 1) for values in (before, now))
    return float(((q - p) * np.log(q / p)).sum())


@dataclass(frozen=True)
class Expected:
    """What calibrated probabilities promise of files whose truth nobody knows."""

    forged: float
    """Share of forged files among those asked about."""
    accuracy: float | None
    """Of the answers that were given; None where none was."""


def expected(probabilities: Floats, called: Sequence[bool | None]) -> Expected | None:
    """From probabilities (N,) at even odds and what each was called: forged, genuine, or None. None of nothing."""
    p = np.clip(np.asarray(probabilities, np.float64), CLOSE, 1 - CLOSE)
    if not len(p):
        return None
    share = _share_of_forged(p)
    truly = p * share / (p * share + (1 - p) * (1 - share))  # at the odds of what is asked
    right = [
        chance if forged else 1 - chance for chance, forged in zip(truly, called, strict=True) if forged is not None
    ]
    return Expected(share, float(np.mean(right)) if right else None)


def summary(rows: pd.DataFrame) -> dict[str, Any]:
    """Shares of files (rows with verdict, reason, shadow): with a face, not told and why, and where the challenger agrees.

    verdict   `genuine`, `forged`, `cannot tell`
    reason    of what was not told; "" of others
    shadow    what the challenger said; "" where it was not asked
    """
    if not len(rows):
        return {"files": 0}
    untold = rows["verdict"] == "cannot tell"
    both = rows[rows["shadow"] != ""]
    return {
        "files": len(rows),
        "with_a_face": float((~rows["reason"].isin(FACELESS)).mean()),
        "cannot_tell": float(untold.mean()),
        "reasons": rows.loc[untold, "reason"].value_counts(normalize=False).sort_index().to_dict(),
        "agreement": float((both["verdict"] == both["shadow"]).mean()) if len(both) else None,
    }


def _drawn(group: Population, seed: int) -> Population:
    if len(group) <= FILES:
        return group
    return group.take(np.sort(np.random.default_rng(seed).choice(len(group), FILES, replace=False)))


def _points(before: Population, now: Population) -> Floats:
    """(N + M, D), the score and every view of one weight, in deviations over both together, lest an exchange be unequal."""
    parts = [log_odds(np.concatenate([before.scores, now.scores]))[:, None]]
    parts += [np.concatenate([before.traits[view], now.traits[view]]) for view in sorted(before.traits)]
    return np.concatenate([_deviations(part) / np.sqrt(part.shape[1]) for part in parts], axis=1)


def _deviations(values: NDArray[Any]) -> Floats:
    return np.asarray(
        (values - values.mean(0, dtype=np.float64)) / (values.std(0, dtype=np.float64) + 1e-6), np.float64
    )


def _shares(bins: NDArray[np.intp], count: int) -> Floats:
    counts = np.maximum(np.bincount(bins, minlength=count), 0.5)
    return np.asarray(counts / counts.sum(), np.float64)


def _share_of_forged(p: Floats) -> float:
    """Expectation maximisation from even odds; it climbs, so it ends."""
    share = 0.5
    for _ in range(ROUNDS):
        before, share = share, float((p * share / (p * share + (1 - p) * (1 - share))).mean())
        if abs(share - before) < CLOSE:
            break
    return share
