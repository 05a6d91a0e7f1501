"""What a student pays for moving the weights its teacher cared about.

Source   Kirkpatrick et al. 2017 (EWC), Eq. 3; Schwarz et al. 2018 for the online sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


def fisher_penalty(
    theta: Mapping[str, Tensor], anchor: Mapping[str, Tensor], fisher: Mapping[str, Tensor], *, lam: float
) -> Tensor:
    """EWC's pull towards the teacher's weights.

        L = lam/2 * sum_i F_i (theta_i - theta*_i)^2

    theta, anchor (theta*), fisher (F): tensors by parameter name; every name of `fisher` is in the others. Returns ().
    """
    names = sorted(fisher)
    # All at once: a network has hundreds of parameters, most of them small.
    every, start, springs = (torch.cat([values[n].flatten() for n in names]) for values in (theta, anchor, fisher))
    return lam / 2 * (springs * (every - start).square()).sum()


def fisher_diagonal(losses: Iterable[Tensor], parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """How much each weight matters: the mean squared gradient of single samples' losses.

        F = 1/n sum_i ( d CE(x_i, y_i) / d theta )^2

    losses: one scalar per sample, made lazily (a generator), in evaluation mode and with true labels; parameters: tensors
    by name. Returns tensors of the same names and shapes, 0 where a loss does not reach.
    Differs from common code, which squares gradients of batches: a smaller, different quantity.
    """
    total = {name: torch.zeros_like(value) for name, value in parameters.items()}
    n = 0
    for loss in losses:
        slopes = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        for name, slope in zip(total, slopes, strict=True):
            if slope is not None:
                total[name] += slope.square()
        n += 1
    return {name: value / max(n, 1) for name, value in total.items()}


def accumulated(before: Mapping[str, Tensor], new: Mapping[str, Tensor], *, gamma: float) -> dict[str, Tensor]:
    """Online EWC, one Fisher for all tasks: F <- gamma F + F_new, tensors by parameter name."""
    return {name: gamma * before[name] + new[name] for name in new}
