"""The learning rate as a pure function of the position, so that a run that was killed needs no scheduler to be restored."""

from __future__ import annotations

import math

from components.params import TrainingOptions


def learning_rate(params: TrainingOptions, epochs: float) -> float:
    """The learning rate after so many epochs, which need not be whole.

    steps          lr gamma^floor(e / step_epochs)
    constant       lr
    cosine_cycles  with c = e mod cycle, w = warmup, f = floor_learning_rate:
                   f + (lr - f) c / w                                          where c < w
                   f + (lr - f) (1 + cos(pi (c - w) / (cycle - w))) / 2        after it
    """
    high, low = params.learning_rate, params.floor_learning_rate
    if params.schedule == "constant":
        return high
    if params.schedule == "steps":
        return high * params.gamma ** (int(epochs) // params.step_epochs)
    at, rise = epochs % params.cycle_epochs, params.warmup_epochs
    if at < rise:
        return low + (high - low) * at / rise
    return low + (high - low) * (1 + math.cos(math.pi * (at - rise) / (params.cycle_epochs - rise))) / 2
