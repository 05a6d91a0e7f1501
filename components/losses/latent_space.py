"""Forgeries that nobody made: feature maps of forged faces pushed about in latent space, and LSDA's identity term.

Source   Yan et al., CVPR 2024, arXiv 2311.11278 (LSDA); SCLBD/DeepfakeBench@8a4a7bf, training/detectors/lsda_detector.py.
Shapes   z (N, …) is N samples, whole maps (N, C, H, W) or anything else with a distance; domains (N,) long says which of
         K forgery domains each belongs to; coefficients (N,) hold one number for each sample.
Differs  nothing is drawn here: coefficients, partners, noise and angles are arguments.
         The public code concatenates along channels before it averages, so that one H x W map is its sample, and the
         farthest "example" a single channel: hand these functions z.flatten(0, 1) and every map becomes a sample here too.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from components.losses.precision import wide

EPSILON = 1e-8


def members(domains: Tensor, count: int) -> Tensor:
    """Which of `count` domains each sample belongs to, (N, K) bool."""
    return domains[:, None] == torch.arange(count, device=domains.device)


def centroids(z: Tensor, domains: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """mu_d, the mean of a domain's samples: (K, …), zeros for a domain without any; and how many each has, (K,)."""
    z = wide(z)
    belongs = members(domains, count).to(z.dtype)
    seen = belongs.sum(dim=0)
    with torch.autocast(z.device.type, enabled=False):
        means = belongs.T @ z.flatten(1) / seen.clamp(min=1)[:, None]
    return means.reshape(count, *z.shape[1:]), seen.long()


def moved(centroid: Tensor, mean: Tensor, *, momentum: float) -> Tensor:
    """The centroid after a batch: momentum * mu + (1 - momentum) * mean."""
    return momentum * centroid + (1 - momentum) * mean


def hardest(z: Tensor, domains: Tensor, centroid: Tensor) -> Tensor:
    """h_d, as the index of the domain's sample farthest from mu_d in Euclidean distance; (K,), 0 for a domain without any.

    centroid (K, …).
    """
    far = (z - centroid[domains]).flatten(1).norm(dim=1)
    mine = members(domains, len(centroid)).T  # (K, N)
    return torch.where(mine, far, -1).argmax(dim=1)


def centrifugal_direct(z: Tensor, centre: Tensor, beta: Tensor) -> Tensor:
    """Away from the centre: z + beta (z - mu). centre: mu of each sample's domain, shaped as z."""
    return z + _each(beta, z) * (z - centre)


def centrifugal_indirect(z: Tensor, hard: Tensor, beta: Tensor) -> Tensor:
    """Towards the hardest of its kind: z + beta (h - z). hard: h of each sample's domain, shaped as z."""
    return z + _each(beta, z) * (hard - z)


def additive(z: Tensor, noise: Tensor, sigma: Tensor, beta: Tensor) -> Tensor:
    """Noise: z + beta sigma epsilon. noise: epsilon ~ N(0, I), shaped as z; a sigma drawn from two is a mixture."""
    return z + _each(beta * sigma, z) * noise


def difference(z: Tensor, z_j: Tensor, z_k: Tensor, beta: Tensor) -> Tensor:
    """Along the way from one sample to another: z + beta (z_j - z_k), all shaped alike. Only the public code has it."""
    return z + _each(beta, z) * (z_j - z_k)


def rotate(maps: Tensor, degrees: Tensor) -> Tensor:
    """Maps (N, C, H, W) turned in their plane by degrees (N,): bilinear, zeros from outside.

    What stands at (x, y) stood at (x cos a - y sin a, x sin a + y cos a), in coordinates that run from -1 to 1 between the
    outer edges of the border pixels; on maps that are not square this is no rigid rotation.
    Differs: the public code writes a grid of three dimensions, and does not call it.
    """
    cos, sin, none = torch.cos(degrees.deg2rad()), torch.sin(degrees.deg2rad()), torch.zeros_like(degrees)
    theta = torch.stack([cos, -sin, none, sin, cos, none], dim=1).reshape(-1, 2, 3).to(maps.dtype)
    grid = F.affine_grid(theta, list(maps.shape), align_corners=False)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def mixup(z: Tensor, partner: Tensor, lam: Tensor) -> Tensor:
    """Between two domains: lam z + (1 - lam) z[partner]. partner (N,) long: the index of another domain's sample."""
    return _each(lam, z) * z + _each(1 - lam, z) * z[partner]


def cosine(x: Tensor, y: Tensor) -> Tensor:
    """How far two maps (N, C, H, W) point apart at every position: (N, H, W) in [0, 2].

    c = 1 - <x, y> / ((|x| + e) (|y| + e)) over channels, e = 1e-8; a vector of zeros gives 1
    """
    x, y = wide(x), wide(y)
    return 1 - (_direction(x) * _direction(y)).sum(dim=1)


def identity(real: Tensor, forged: Tensor, domains: Tensor, signs: Tensor) -> Tensor:
    """L_real: who is seen stays who it is in reenactments, and becomes another in swaps.

        L = sum_d sign_d * mean over d's pairs and positions of c(real, forged)

    real, forged (N, C, H, W): features of pairs of one source; domains (N,) of the forged one; signs (K,): 1 for
    reenactments, -1 for swaps, 0 for what is neither. Returns (), 0 without pairs.
    Differs: the public code sums over groups and positions, which makes it 64 times as heavy per group at 8 x 8.
    """
    far, _ = centroids(cosine(real, forged).mean(dim=(1, 2))[:, None], domains, len(signs))
    return (signs.to(far.dtype) * far[:, 0]).sum()


def _each(coefficients: Tensor, z: Tensor) -> Tensor:
    """(N,) -> (N, 1, …), to multiply samples."""
    return coefficients.reshape(-1, *[1] * (z.dim() - 1))


def _direction(x: Tensor) -> Tensor:
    return x / (x.norm(dim=1, keepdim=True) + EPSILON)
