"""SUR-LID's two movements: features of old tasks refill the room between them, heads of all tasks turn to one another.

Source   arXiv 2411.11396; read at beautyremain/SUR-LID @ 9a7d228e43a9, detectors/CL_LID_effnb4.py
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def towards_centre(features: Tensor, groups: Tensor, keep: Tensor) -> Tensor:
    """Features drawn to the mean of their group.

        f'_i = a_i f_i + (1 - a_i) mean of f over the group of i

    features (B, D); groups (B,) any integers; keep (a) (B,): 1 leaves a feature where it is, 0 puts the mean in its place.
    Returns (B, D).
    """
    alike = (groups[:, None] == groups).to(features.dtype)
    with torch.autocast(features.device.type, enabled=False):
        means = alike @ features / alike.sum(dim=1, keepdim=True)
    return keep[:, None] * features + (1 - keep[:, None]) * means


def midpoints(features: Tensor, groups: Tensor) -> Tensor:
    """Each feature half-way to the next one of its group, the last one to the first: (B, D), (B,) -> (B, D)."""
    alike = groups[:, None] == groups
    steps = (
        torch.arange(len(groups), device=groups.device) - torch.arange(len(groups), device=groups.device)[:, None] - 1
    )
    following = (steps % len(groups)).masked_fill(~alike, len(groups)).argmin(dim=1)
    return (features + features[following]) / 2


def turned(heads: Tensor, share: Tensor) -> Tensor:
    """Decisions aligned: every head turns a little to the one it is least like, and stays as long as it was.

        w_t <- |w_t| unit( (1 - s_t) u_t + s_t u_j ),   u = unit(w) by class,   j = argmin_{j != t} sum_c <u_tc, u_jc>

    heads (T, C, D): T linear heads of C classes; share (s) (T,). Returns (T, C, D); a single head as it is.
    """
    if len(heads) < 2:
        return heads
    u = F.normalize(heads, dim=2)
    alike = torch.einsum("tcd,jcd->tj", u, u).fill_diagonal_(torch.inf)
    s = share[:, None, None]
    return heads.norm(dim=2, keepdim=True) * F.normalize((1 - s) * u + s * u[alike.argmin(dim=1)], dim=2)
