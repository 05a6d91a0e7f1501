"""Is this the kind of picture a generation was taught about? How far a face lies from those it learned from.

    traits by view (N, D)  ->  distance in each view / what validation faces keep within  ->  the larger (N,)

A clip lies as far as its faces do on average, and is unfamiliar beyond `limit`, which few validation clips exceed.
In a view the distance is Mahalanobis's, or that to the nearest taught faces: whichever tells untaught archives apart better.

Source   Lee et al. 2018 (Mahalanobis); Sun et al. 2022 (nearest neighbours); Ledoit and Wolf 2004 (the covariance)
Differs  one Gaussian instead of one a class: with several, untaught photographs came out nearer (LOG.md)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from components.evaluation.estimate import Estimate

Array = NDArray[np.float32]
Floats = NDArray[np.float64]
Kind = Literal["mahalanobis", "neighbours"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NEAREST = 5
MOST_NEIGHBOURS = 1000  # taught faces kept of all
WITHIN = 0.95  # of the validation faces: the distance they keep within is 1


@dataclass(frozen=True)
class View:
    """What taught faces are like in one view, each trait in deviations from its mean."""

    kind: Kind
    mean: Array
    """(D,)."""
    deviation: Array
    """(D,)."""
    shape: Array
    """(D, D), the inverse covariance, or (K, D), taught faces."""
    unit: float = 1.0
    """The distance that is 1."""

    @classmethod
    def of(cls, kind: Kind, traits: Array) -> View:
        """Of taught faces (N, D)."""
        mean, deviation = traits.mean(0), traits.std(0) + 1e-6
        z = (traits - mean) / deviation
        if kind == "neighbours":
            return cls(kind, mean, deviation, z[spread(len(z), MOST_NEIGHBOURS)])
        from sklearn.covariance import LedoitWolf

        return cls(kind, mean, deviation, LedoitWolf(assume_centered=True).fit(z).precision_.astype(np.float32))

    def measured_by(self, traits: Array) -> View:
        """With the unit that WITHIN of these faces keep within."""
        own = np.quantile(View(self.kind, self.mean, self.deviation, self.shape).distance(traits), WITHIN)
        return View(self.kind, self.mean, self.deviation, self.shape, float(max(own, 1e-6)))

    def distance(self, traits: Array) -> Floats:
        """(N,) of faces (N, D), in units."""
        z = ((traits - self.mean) / self.deviation).astype(np.float64)
        shape = self.shape.astype(np.float64)
        if self.kind == "mahalanobis":
            return np.asarray(np.sqrt(np.maximum(((z @ shape) * z).sum(1), 0)) / self.unit, np.float64)
        squares = (z**2).sum(1)[:, None] + (shape**2).sum(1)[None] - 2 * z @ shape.T  # (N, K)
        nearest = np.sort(np.maximum(squares, 0), axis=1)[:, :NEAREST]
        return np.asarray(np.sqrt(nearest).mean(1) / self.unit, np.float64)


@dataclass(frozen=True)
class Familiarity:
    """Views by name, the distance that a clip of a taught kind rarely exceeds, and how well that tells kinds apart."""

    views: Mapping[str, View]
    limit: float
    """A clip whose faces lie farther on average is unfamiliar."""
    found: Mapping[str, Any]
    """What was measured on the way: AUC by view and kind, and between what."""

    def distance(self, traits: Mapping[str, Array]) -> Floats:
        """(N,) of faces, traits (N, D) by view: the larger of the views'."""
        return np.max([view.distance(traits[name]) for name, view in self.views.items()], axis=0)

    def as_json(self) -> dict[str, Any]:
        views = {name: {"kind": view.kind, "unit": view.unit} for name, view in self.views.items()}
        return {"views": views, "limit": self.limit, **self.found}

    @property
    def arrays(self) -> dict[str, Array]:
        return {
            f"{name}.{part}": getattr(view, part)
            for name, view in self.views.items()
            for part in ("mean", "deviation", "shape")
        }

    @classmethod
    def of(cls, raw: Mapping[str, Any], arrays: Mapping[str, Array]) -> Familiarity:
        """What `as_json` and `arrays` said."""
        views = {}
        for name, said in raw["views"].items():
            mean, deviation, shape = (arrays[f"{name}.{part}"] for part in ("mean", "deviation", "shape"))
            views[name] = View(said["kind"], mean, deviation, shape, said["unit"])
        return cls(views, raw["limit"], {key: raw[key] for key in raw.keys() - {"views", "limit"}})


@dataclass(frozen=True)
class Kin:
    """Faces of one archive: traits by view (N, D), and which clip each belongs to (N,)."""

    archive: str
    traits: Mapping[str, Array]
    clips: NDArray[Any]


def fitted(learned: Sequence[Kin], apart: Sequence[Kin], untaught: Sequence[Kin], unfamiliar: float) -> Familiarity:
    """From training faces and validation faces of the same taught archives, and validation faces of untaught ones.

    unfamiliar   share of validation clips that may lie beyond the limit

    Which distance a view takes, and whether the first view does better alone, is measured between the validation clips of
    taught and of untaught archives; where there are none of the latter, each taught archive is left out in turn and stands
    for one. With one archive alone nothing can be measured: the first view is taken alone, by Mahalanobis's distance, and the
    AUC is undefined.
    """
    tested = _tests(learned, apart, untaught)
    names = tuple(learned[0].traits)
    auc = {name: {kind: _told_apart(tested, {name: kind}) for kind in KINDS} for name in names}
    best: dict[str, Kind] = {name: _better(auc[name]) for name in names}
    alone = {name: kind for name, kind in best.items() if name == names[0]}
    together, first = _told_apart(tested, best), _told_apart(tested, alone)
    kinds = best if together is not None and first is not None and together >= first else alone
    views = _views(learned, apart, kinds)
    distances = np.sort(np.concatenate([_of_clips(views, kin) for kin in apart]))
    limit = float(distances[len(distances) - 1 - math.floor(len(distances) * unfamiliar)])
    between = "untaught archives" if untaught else "each taught archive and the others" if tested else None
    found = {
        "between": between,
        "auc": Estimate(*_value(first if kinds is alone else together)).as_json(),
        "auc_by_view": auc,
        "beyond": {kin.archive: float((_of_clips(views, kin) > limit).mean()) for kin in untaught},
    }
    return Familiarity(views, limit, found)


Test = tuple[Sequence[Kin], Sequence[Kin], Sequence[Kin]]
"""Training and validation faces of the taught, validation faces of the others."""


def _tests(learned: Sequence[Kin], apart: Sequence[Kin], untaught: Sequence[Kin]) -> list[Test]:
    if untaught:
        return [(learned, apart, untaught)]
    names = [kin.archive for kin in apart] if len(apart) > 1 else []
    return [
        (
            [kin for kin in learned if kin.archive != name],
            [kin for kin in apart if kin.archive != name],
            [kin for kin in apart if kin.archive == name],
        )
        for name in names
    ]


def _told_apart(tests: Sequence[Test], kinds: Mapping[str, Kind]) -> float | None:
    """Mean AUC over the tests, of clips; None where there is no test."""
    from components.evaluation.metrics import auc

    found = []
    for learned, apart, others in tests:
        views = _views(learned, apart, kinds)
        near, far = (np.concatenate([_of_clips(views, kin) for kin in kins]) for kins in (apart, others))
        found.append(auc(np.repeat([0, 1], [len(near), len(far)]), np.concatenate([near, far])))
    return float(np.mean(found)) if found else None


def _views(learned: Sequence[Kin], apart: Sequence[Kin], kinds: Mapping[str, Kind]) -> dict[str, View]:
    return {
        name: View.of(kind, _joined(learned, name)).measured_by(_joined(apart, name)) for name, kind in kinds.items()
    }


def _of_clips(views: Mapping[str, View], kin: Kin) -> Floats:
    """Mean distance of the faces of each clip."""
    distances = Familiarity(views, 0.0, {}).distance(kin.traits)
    index = np.unique(kin.clips, return_inverse=True)[1]
    return np.bincount(index, distances) / np.bincount(index)


def _joined(kins: Sequence[Kin], name: str) -> Array:
    return np.concatenate([kin.traits[name] for kin in kins])


def _better(auc: Mapping[Kind, float | None]) -> Kind:
    return "neighbours" if (auc["neighbours"] or 0) > (auc["mahalanobis"] or 0) else "mahalanobis"


def _value(auc: float | None) -> tuple[float | None, None, None, str | None]:
    return (auc, None, None, None if auc is not None else "one archive was taught, and no other is at hand")


def spread(count: int, most: int) -> NDArray[np.intp]:
    """`most` of so many places at most, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))
