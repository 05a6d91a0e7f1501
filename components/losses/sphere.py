"""Features on the unit sphere: points between two of them, more of them, and how they should lie.

Source   Shoemake 1985 (slerp); Wang and Isola 2020 (alignment, uniformity); the label-aware forms of LNCLIP-DF as published:
         yermandy/deepfake-detection@0b872f7903e7 (slerp within a class), yermandy/GenD@e03532d53b37 (both losses).
Numerics Everything is computed in float32 at least. Pairwise distances come from one matrix product; on the sphere they
         are at most 2, so that nothing is lost to cancellation beyond the last digits.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from components.losses.precision import wide

COSINE_LIMIT = 1 - 1e-7  # acos has no slope at 1
NOBODY = -1  # partner of a row that is alone in its class


def unit(x: Tensor) -> Tensor:
    """z = x / max(|x|, 1e-12), (..., D); a zero row stays zero."""
    return F.normalize(wide(x), dim=-1)


def slerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """The point at share t of the great circle from a to b, both brought to the sphere first.

        out = [ sin((1 - t) theta) u + sin(t theta) v ] / sin theta,   u = a/|a|, v = b/|b|, cos theta = <u, v>

    a, b (..., D), raw; t (..., 1) or a number, in [0, 1]. Returns unit vectors (..., D).
    Differs: the result is brought to unit length again, because for opposite points, between which there is no one great
    circle, the formula with its clamped cosine leaves the sphere (lengths 0.39 to 0.99).
    """
    u, v = unit(a), unit(b)
    theta = (u * v).sum(dim=-1, keepdim=True).clamp(-COSINE_LIMIT, COSINE_LIMIT).acos()
    return unit((torch.sin((1 - t) * theta) * u + torch.sin(t * theta) * v) / theta.sin())


def swapped(features: Tensor, partner: Tensor, t: Tensor) -> Tensor:
    """Row i becomes slerp(row i, row partner_i, t_i); a row whose partner is NOBODY stays as it is.

    features (B, D); partner (B,) long; t (B,). Returns (B, D): the batch does not grow.
    """
    moved = slerp(features, features[partner.clamp(min=0)], t[:, None])
    return torch.where((partner != NOBODY)[:, None], moved, wide(features))


def shuffled_partners(labels: Tensor) -> Tensor:
    """For every row a row of its class, by one random permutation of each class; NOBODY in classes of one. (B,) long."""
    partner = torch.full_like(labels, NOBODY)
    for members in _classes(labels):
        if len(members) > 1:
            partner[members] = members[torch.randperm(len(members), device=labels.device)]
    return partner


def expanded(features: Tensor, labels: Tensor, *, factor: int) -> tuple[Tensor, Tensor]:
    """The rows, and `factor` - 1 points between each of them and random others of its class.

        z_i, slerp(z_i, z_j, t),   j != i of the same label, t ~ U(0, 1)

    features (B, D); labels (B,). Returns unit rows (B', D), the originals first, and their labels (B',); B' is factor B
    unless a class has a single member, which stays alone. Draws from torch's global generator.
    """
    first, second = _pairs(labels, factor - 1)
    t = torch.rand(len(first), 1, device=features.device)
    between = slerp(features[first], features[second], t)
    return torch.cat([unit(features), between]), torch.cat([labels, labels[first]])


def alignment(z: Tensor, labels: Tensor) -> Tensor:
    """Rows of one label draw together: the mean over all pairs of equal labels, whichever label it is.

        L = mean over i < j, y_i = y_j of |z_i - z_j|^2

    z (B, D); labels (B,). Returns (), 0 where no two labels are equal.
    """
    together = (labels[:, None] == labels[None, :]).triu(diagonal=1)
    return torch.where(together, _square_distances(z), 0).sum() / together.sum().clamp(min=1)


def uniformity(z: Tensor, *, t: float = 2.0) -> Tensor:
    """All rows spread over the sphere.

        L = log max( mean over i < j of exp(-t |z_i - z_j|^2), 1e-6 )

    z (B, D). Returns (), 0 for a single row. On the sphere the smallest term is exp(-8): the floor is for rows off it.
    """
    pairs = len(z) * (len(z) - 1) / 2
    if not pairs:
        return wide(z).sum() * 0
    apart = torch.exp(-t * _square_distances(z)).triu(diagonal=1)
    return torch.log((apart.sum() / pairs).clamp(min=1e-6))


def _square_distances(z: Tensor) -> Tensor:
    """|z_i - z_j|^2, (B, B)."""
    z = wide(z)
    squares = z.square().sum(dim=1)
    with torch.autocast(z.device.type, enabled=False):
        return squares[:, None] + squares[None, :] - 2 * z @ z.T


def _pairs(labels: Tensor, each: int) -> tuple[Tensor, Tensor]:
    """For every row of a class of several, `each` others of its class drawn at random: two (P,) long."""
    first, second = [labels.new_zeros(0)], [labels.new_zeros(0)]
    for members in _classes(labels):
        n = len(members)
        if n > 1:
            place = torch.arange(n, device=labels.device).repeat(each)
            step = torch.randint(1, n, (n * each,), device=labels.device)  # never 0: nobody is their own partner
            first.append(members[place])
            second.append(members[(place + step) % n])
    return torch.cat(first), torch.cat(second)


def _classes(labels: Tensor) -> list[Tensor]:
    """Positions of each label's rows, (n,) long, smallest label first. Waits for the device once, to know how many."""
    told = labels.tolist()
    return list(torch.split(labels.argsort(stable=True), [told.count(label) for label in sorted(set(told))]))
