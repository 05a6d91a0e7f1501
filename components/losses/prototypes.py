"""Classes as points on the unit sphere, and answers by the nearest of them.

Source   iCaRL (Rebuffi et al. 2017), Alg. 1 and Sec. 4; read beside avalanche @ eb075be393e1, training/supervised/icarl.py
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from components.losses.precision import wide
from components.vocabulary import LABELS


def prototype(features: Tensor, mirrored: Tensor) -> Tensor:
    """The mean direction of faces and of their mirror images.

        mu = unit( mean_i unit(f_i) + mean_i unit(m_i) ),   unit(x) = x / |x|

    features, mirrored (N, D). Returns (D,).
    """
    return _unit(_unit(features).mean(dim=0) + _unit(mirrored).mean(dim=0))


def nearest_mean(features: Tensor, prototypes: Tensor, classes: Tensor) -> Tensor:
    """Logits by the nearest prototype: their softmax is iCaRL's score, and the greatest is its prediction.

        z_c = - min_{p of class c} | unit(f) - mu_p |^2

    features (B, D), prototypes (P, D) of unit length, classes (P,), each of LABELS present. Returns (B, C).
    """
    with torch.autocast(features.device.type, enabled=False):
        squared = (_unit(features)[:, None] - prototypes).square().sum(dim=2)  # (B, P)
    apart = classes != torch.arange(len(LABELS), device=classes.device)[:, None]  # (C, P)
    return -squared[:, None].masked_fill(apart, torch.inf).amin(dim=2)


def _unit(features: Tensor) -> Tensor:
    return F.normalize(wide(features), dim=-1)
