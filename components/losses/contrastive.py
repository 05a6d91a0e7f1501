"""Supervised contrastive terms within a branch and across two branches, and their hierarchical mean.

Source   Khosla et al. 2020 (SupCon) for the form; CFFD names the terms SFICL (within a domain), SFCL (across the spatial
         and the frequency domain) and HSCL (their mean over levels).
Numerics A temperature of 0.01 gives similarities of +-100: everything is computed in float32 at least, with
         log-sum-exp over the candidates that count, never with exponentials of a row whose maximum is the anchor itself.
Shapes   Features may carry leading dimensions (levels, say), which the results keep: (..., B, D) -> (...).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from components.losses.precision import wide


def within(features: Tensor, labels: Tensor, *, temperature: float = 0.01) -> Tensor:
    """SFICL: samples of one label draw together, in one branch.

        L = -1/|I| sum_{i in I} 1/|P_i| sum_{j in P_i} log [ e^{N(i,j)/T} / sum_{k != i} e^{N(i,k)/T} ]

    N: cosine; P_i: the others of i's label; I: anchors having such others (without any, L = 0).
    features (..., B, D), raw; labels (B,). Returns (...).
    """
    itself = torch.eye(labels.numel(), dtype=torch.bool, device=labels.device)
    similarity = _similarity(features, features, temperature)
    similarity = similarity.masked_fill(itself, torch.finfo(similarity.dtype).min)  # finite: 0 x -inf would be NaN
    return _pull(similarity, _same(labels) & ~itself)


def across(anchors: Tensor, candidates: Tensor, labels: Tensor, *, temperature: float = 0.01) -> Tensor:
    """SFCL: an anchor of one branch finds its label, itself included, among all samples of the other.

        L = -1/B sum_i 1/|P_i| sum_{j in P_i} log [ e^{N(i,j)/T} / sum_k e^{N(i,k)/T} ],   i in P_i

    anchors, candidates (..., B, D), raw; labels (B,). Returns (...).
    """
    return _pull(_similarity(anchors, candidates, temperature), _same(labels))


def hscl(spatial: Tensor, frequency: Tensor, labels: Tensor, *, temperature: float = 0.01) -> Tensor:
    """HSCL: the mean over levels of the four terms within and across the two branches.

        L = 1/(4 L) sum_l [ within(s_l) + within(f_l) + across(s_l, f_l) + across(f_l, s_l) ]

    spatial, frequency (L, B, D): one vector per level and sample, raw; labels (B,). Returns ().
    """
    return terms(spatial, frequency, labels, temperature=temperature).mean()


def terms(spatial: Tensor, frequency: Tensor, labels: Tensor, *, temperature: float = 0.01) -> Tensor:
    """The four terms of every level, (..., 4): within s, within f, s to f, f to s."""
    own = within(torch.stack([spatial, frequency]), labels, temperature=temperature)
    other = across(
        torch.stack([spatial, frequency]), torch.stack([frequency, spatial]), labels, temperature=temperature
    )
    return torch.cat([own, other]).movedim(0, -1)


def _similarity(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Cosines over the temperature, (..., B, B), in float32 or better."""
    with torch.autocast(a.device.type, enabled=False):
        return F.normalize(wide(a), dim=-1) @ F.normalize(wide(b), dim=-1).mT / temperature


def _pull(similarity: Tensor, positive: Tensor) -> Tensor:
    """Minus the mean log-softmax over each row's positives, averaged over the rows that have any."""
    log_share = similarity - similarity.logsumexp(dim=-1, keepdim=True)
    count = positive.sum(dim=-1)
    per_anchor = torch.where(positive, log_share, 0).sum(dim=-1) / count.clamp(min=1)
    return -per_anchor.sum(dim=-1) / (count > 0).sum().clamp(min=1)


def _same(labels: Tensor) -> Tensor:
    return labels[:, None] == labels[None, :]
