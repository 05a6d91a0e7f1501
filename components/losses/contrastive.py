"""Supervised contrastive terms within a branch and across two branches, their hierarchical mean, and the pull towards
the centre of genuine faces.

Source   Khosla et al. 2020 (SupCon) for the form; CFFD names the terms SFICL (within a domain), SFCL (across the spatial
         and the frequency domain) and HSCL (their mean over levels). M2TR for the centre.
Numerics A temperature of 0.01 gives similarities of +-100: everything is computed in float32 at least, with
         log-sum-exp over the candidates that count, never with exponentials of a row whose maximum is the anchor itself.
Shapes   Features may carry leading dimensions (levels, say), which the results keep: (..., B, D) -> (...).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from components.losses.precision import wide
from components.vocabulary import REAL


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


def centre(features: Tensor, labels: Tensor, *, around: Tensor | None = None) -> Tensor:
    """Genuine faces draw close to their centre, forged ones leave it (M2TR).

        L = 1/|R| sum_{i in R} d(f_i, C) - 1/|F| sum_{i in F} d(f_i, C),   d = 1 - cosine,   C = 1/|R| sum_{i in R} f_i

    R, F: genuine and forged. features (B, D), raw; labels (B,); `around` (D,): another C, such as one that moves slowly.
    Returns (), in [-2, 2]; 0 with fewer than two genuine faces or no forged one. The centre takes its part of the gradient.
    Differs: the published function is minus this one, and takes the forged faces for the ones to gather.
    """
    genuine, forged = labels == REAL, labels != REAL
    with torch.autocast(features.device.type, enabled=False):
        f = wide(features)
        C = mean_where(f, genuine) if around is None else around
        d = 1 - F.cosine_similarity(f, C[None], dim=1)
        loss = mean_where(d, genuine) - mean_where(d, forged)
    return torch.where((genuine.sum() > 1) & forged.any(), loss, 0)


def mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean of the chosen rows of values (B, …), 0 where none is; chosen (B,) bool."""
    weights = chosen.to(values.dtype) / chosen.sum().clamp(min=1)
    return (values.movedim(0, -1) * weights).sum(dim=-1)  # no matrix product: autocast would halve its precision


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
