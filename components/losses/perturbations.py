"""One perturbation for every image: what, added to genuine faces, makes a detector call them forged.

Source   HDP (IJCV 2025), read at skJack/HDP @ abe7fcf83c96, train.py, Reserve; universal perturbations after
         Moosavi-Dezfooli et al. 2017.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from components.vocabulary import FORGED

Answer = Callable[[Tensor], Tensor]
"""Images (B, C, H, W) in [-1, 1] -> logits (B, 2)."""


def perturbed(images: Tensor, perturbation: Tensor) -> Tensor:
    """clip(x + delta, -1, 1); images (B, C, H, W) in [-1, 1], perturbation (C, H, W)."""
    return (images + perturbation).clamp(-1, 1)


def sign_step(answer: Answer, images: Tensor, perturbation: Tensor, *, step: float, bound: float) -> Tensor:
    """One step towards *forged*.

        delta <- clip(delta - step sign(d/d delta CE(answer(clip(x + delta, -1, 1)), forged)), -bound, bound)

    images (B, C, H, W), perturbation (C, H, W). Returns the next perturbation.
    """
    moving = perturbation.detach().requires_grad_()
    logits = answer(perturbed(images, moving))
    loss = F.cross_entropy(logits, torch.full((len(images),), FORGED, device=images.device))
    (slope,) = torch.autograd.grad(loss, moving)
    return (perturbation - step * slope.sign()).clamp(-bound, bound)


def universal(
    answer: Answer, images: Tensor, start: Tensor, *, share: float, step: float, bound: float, most_steps: int
) -> Tensor:
    """`start` after as many sign steps as it takes until `share` of the images are called forged, `most_steps` at most.

    Differs: the published loop has no limit, and never ends where the bound is too tight.
    """
    perturbation = start
    for _ in range(most_steps):
        if called_forged(answer, perturbed(images, perturbation)) >= share:
            break
        perturbation = sign_step(answer, images, perturbation, step=step, bound=bound)
    return perturbation


@torch.no_grad()
def called_forged(answer: Answer, images: Tensor) -> float:
    """Share of the images to which p(forged) >= 1/2."""
    logits = answer(images)
    return (logits[:, FORGED] >= logits[:, 1 - FORGED]).float().mean().item()
