"""Continual metrics as pure functions of one square of scores R.

R (T, T): R[i, j] = score on task j after stage i of the line (0-based, tasks in the order they were learned);
NaN where nobody measured. Whatever needs a cell that is NaN, or a second task where there is one, is undefined.

Source   Lopez-Paz & Ranzato 2017 (average, BWT, FWT); Diaz-Rodriguez et al. 2018 (BWT over all pairs, lower triangle);
         Chaudhry et al. 2018, RWalk, arXiv 1801.10112, sec. 3.2 (forgetting `rwalk`: f_j^k = max over l in 1 .. k-1 of
         a_{l,j}, minus a_{k,j}, as awslabs/Renate@1a689160 has it too); `avalanche`, `pycil`, `mammoth` after those projects
Differs  undefined is null with a reason (peers return 0.0); the matrix given is never changed (mammoth's is); the
         forgetting named in tables is `since_learned`, RWalk's without the stages before a task was learned: a good guess
         at a task nobody has learned is no knowledge that can be forgotten. Both are written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from components.evaluation.estimate import Estimate

Square = NDArray[np.float64]
Variant = Literal["avalanche", "since_learned", "rwalk", "pycil", "mammoth"]

VARIANTS: tuple[Variant, ...] = get_args(Variant)
CHANCE = 0.5  # AUC of a detector that knows nothing
ONE_TASK = "only one task has been learned"


def stage_averages(R: Square) -> Square:
    """A_i = mean over j <= i of R[i, j], shape (T,)."""
    return np.array([R[i, : i + 1].mean() for i in range(len(R))])


def average(R: Square) -> Estimate:
    """A_T: mean over every task learned, after the last stage."""
    return _mean(R[-1])


def average_incremental(R: Square) -> Estimate:
    """Mean of A_i over all stages."""
    return _mean(stage_averages(R))


def stage2_mean(R: Square) -> Estimate:
    """Mean of A_i from the second stage on."""
    return _mean(stage_averages(R)[1:], ONE_TASK)


def lower_triangle_mean(R: Square) -> Estimate:
    """Mean of every R[i, j] with j <= i (Diaz-Rodriguez A)."""
    return _mean(R[np.tril_indices(len(R))])


def plasticity(R: Square) -> Estimate:
    """Mean of R[i, i]: how well each task was learned when it was new."""
    return _mean(R.diagonal())


def anti_forgettings(R: Square) -> Square:
    """AF_i = mean over old tasks j < i of R[i, j], for i = 1 .. T-1, shape (T-1,)."""
    return np.array([R[i, :i].mean() for i in range(1, len(R))])


def anti_forgetting(R: Square) -> Estimate:
    """AF_T: mean over the old tasks, after the last stage."""
    return _mean(R[-1, :-1], ONE_TASK)


def anti_forgetting_mean(R: Square) -> Estimate:
    """Mean of AF_i over all stages that have old tasks."""
    return _mean(anti_forgettings(R), ONE_TASK)


def bwt(R: Square) -> Estimate:
    """Backward transfer: mean over j < T-1 of R[T-1, j] - R[j, j]."""
    return _mean((R[-1] - R.diagonal())[:-1], ONE_TASK)


def bwt_all(R: Square) -> Estimate:
    """Backward transfer over every pair i > j: mean of R[i, j] - R[j, j]."""
    return _mean((R - R.diagonal())[np.tril_indices(len(R), -1)], ONE_TASK)


def fwt(R: Square, untrained: ArrayLike = CHANCE) -> Estimate:
    """Forward transfer: mean over j >= 1 of R[j-1, j] - b_j; b = `untrained`, a number or (T,)."""
    b = np.broadcast_to(np.asarray(untrained, dtype=np.float64), len(R))
    return _mean(R.diagonal(1) - b[1:], ONE_TASK)


def forgetting_per_task(R: Square, variant: Variant = "since_learned") -> Square:
    """Best score a task had minus its last, for each old task, shape (T-1,); the variants differ in `best`:

    avalanche R[j, j] · since_learned max over j <= i < T-1 · rwalk max over i < T-1 · pycil max over i >= j ·
    mammoth max over all i.
    """
    T = len(R)
    best: dict[Variant, Callable[[int], float]] = {
        "avalanche": lambda j: R[j, j],
        "since_learned": lambda j: R[j : T - 1, j].max(),
        "rwalk": lambda j: R[: T - 1, j].max(),
        "pycil": lambda j: R[j:, j].max(),
        "mammoth": lambda j: R[:, j].max(),
    }
    return np.array([best[variant](j) - R[-1, j] for j in range(T - 1)])


def forgetting(R: Square, variant: Variant = "since_learned") -> Estimate:
    """Mean over the old tasks of `forgetting_per_task`; negative when old tasks improved (avalanche to rwalk)."""
    return _mean(forgetting_per_task(R, variant), ONE_TASK)


def _mean(values: Square, empty: str = "no task has been learned") -> Estimate:
    if not len(values):
        return Estimate.undefined(empty)
    unknown = int(np.isnan(values).sum())
    if unknown:
        return Estimate.undefined(f"{unknown} of the {len(values)} scores in this mean were not measured")
    return Estimate(float(values.mean()))
