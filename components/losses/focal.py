"""Cross entropy that leaves the easy faces alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from components.losses.precision import wide


def focal(logits: Tensor, labels: Tensor, *, gamma: float) -> Tensor:
    """The focal loss of several classes (Lin et al. 2017, Eq. 4).

        L = 1/B sum_i (1 - p_i)^gamma (-log p_i),   p = softmax(logits), p_i that of i's label

    logits (B, C); labels (B,). Returns (). `gamma` 0 is the cross entropy.
    """
    entropy = F.cross_entropy(wide(logits), labels, reduction="none")
    # 1 - p from log p: near p = 1 the plain difference is rounding. Above 0: powers below 1 have no slope there.
    unsure = (-(-entropy).expm1()).clamp(min=torch.finfo(entropy.dtype).tiny)
    return (unsure**gamma * entropy).mean()
