"""How far one strategy leads another on streams of tasks, and whether other people and other seeds would say so too.

    gap     mean over streams of (mean over a's runs - mean over b's runs) of the average AUC over the tasks
    error   root of: what other sources would change + what other seeds would change a's mean + the same of b's

Archives of one stream share people and genuine faces: a source is what carries one name in one study, in however many
archives, and pulls the averages of all tasks at once (`comparison.pulls`). Where a layout gives equal names to sources
that have nothing in common, their pulls are independent and the variance is right all the same. Runs of one strategy
vary by their seeds (and orders), which is a level of its own: no number of clips makes up for one seed.

Source   Obuchowski 1997 for the sources; Welch 1947 and Satterthwaite 1946 for the sum of variances
Differs  seeds are not paired: what two strategies share by a seed (the weights they begin with) could only make the
         test more careful than it says, and labels with unequal numbers of runs are compared by all of them
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from components.evaluation.comparison import ZERO, freedom, pulls, smallest_gap

MIN_RUNS = 2  # one run says nothing of other seeds


@dataclass(frozen=True)
class Answers:
    """One run: its average AUC over the tasks, and how far each source pulls it (`pulled`)."""

    average: float
    pull: pd.Series


@dataclass(frozen=True)
class Gap:
    """A difference of averages with its standard error and the degrees of freedom of that."""

    value: float
    error: float
    freedom: float

    @property
    def p_ahead(self) -> float:
        """One-sided: H0 is a gap of at most 0."""
        return 1 - self._below(0)

    @property
    def p_apart(self) -> float:
        """Two-sided: H0 is no gap."""
        below = self._below(0)
        return min(1.0, 2 * min(below, 1 - below))

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Of two sides; the lower end of 0.9 is the bound of the one-sided interval of 0.95."""
        reach = float(stdtrit(self.freedom, (1 + confidence) / 2)) * self.error
        return self.value - reach, self.value + reach

    def smallest(self, alpha: float) -> float:
        """The gap that a one-sided test at `alpha` would have seen four times in five."""
        return smallest_gap(self.error, self.freedom, alpha)

    def _below(self, bound: float) -> float:
        """Chance, were the gap `bound`, of one as large as this or smaller."""
        away = self.value - bound
        if self.error <= ZERO:
            return 0.5 if abs(away) <= ZERO else float(away > 0)
        return float(stdtr(self.freedom, away / self.error))


def pulled(tasks: Sequence[pd.DataFrame]) -> pd.Series:
    """How far each source, by name, pulls one run's average AUC over its tasks, each a table of clips (`clip_scores`).

    Raises ValueError where a task has fewer than two sources of a class.
    """
    names = np.unique(pd.concat([clips["source"].astype(str) for clips in tasks]))
    found = [
        pulls(
            clips["label"].to_numpy(np.int64),
            clips["p_fake"].to_numpy(np.float64),
            np.searchsorted(names, clips["source"].astype(str)),
            len(names),
        )[1]
        for clips in tasks
    ]
    return pd.Series(np.mean(found, axis=0), index=names)


def gap(streams: Sequence[tuple[Sequence[Answers], Sequence[Answers]]]) -> Gap:
    """The gap between two strategies, of each stream the runs of the one and of the other; streams count alike.

    Raises ValueError where a strategy has a single run on a stream.
    """
    fewest = min(len(runs) for stream in streams for runs in stream)
    if fewest < MIN_RUNS:
        raise ValueError("one run says nothing of other seeds")
    signed = [(side / len(streams), runs) for stream in streams for side, runs in zip((1, -1), stream, strict=True)]
    value = sum(side * float(np.mean([run.average for run in runs])) for side, runs in signed)
    by_source = [side * run.pull / len(runs) for side, runs in signed for run in runs]
    of_sources = pd.concat(by_source).groupby(level=0).sum().to_numpy()
    parts = [(float((of_sources**2).sum()), freedom(of_sources))]
    for side, runs in signed:
        of_seeds = float(np.var([run.average for run in runs], ddof=1)) / len(runs)
        parts.append((side**2 * of_seeds, len(runs) - 1.0))
    variance, spread = sum(v for v, _ in parts), sum(v**2 / free for v, free in parts)
    return Gap(value, float(np.sqrt(variance)), variance**2 / spread if spread > 0 else parts[0][1])
