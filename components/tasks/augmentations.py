"""What may be done to a training face without touching its evidence; each draws from the generator it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from components.errors import UnknownName

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def flip(faces: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each face (B, 3, H, W) with probability 1/2."""
    mirrored = torch.rand(len(faces), generator=generator) < 0.5
    return torch.where(mirrored[:, None, None, None].to(faces.device), faces.flip(-1), faces)


def brightness_contrast(faces: Tensor, generator: torch.Generator) -> Tensor:
    """Brightness and contrast each within ±10 %, as in the recipes of DeepfakeBench and GenD."""
    shift, gain = (torch.rand(2, len(faces), 1, 1, 1, generator=generator) * 0.2 - 0.1).to(faces.device)
    mean = faces.mean(dim=(1, 2, 3), keepdim=True)
    return ((faces - mean) * (1 + gain) + mean + shift).clamp(0, 1)


KNOWN: dict[str, Augmentation] = {f.__name__: f for f in (flip, brightness_contrast)}


def augment(faces: Tensor, names: Sequence[str], generator: torch.Generator) -> Tensor:
    """Apply the named augmentations in order; raises UnknownName."""
    for name in names:
        if name not in KNOWN:
            raise UnknownName("augmentation", name, KNOWN)
        faces = KNOWN[name](faces, generator)
    return faces
