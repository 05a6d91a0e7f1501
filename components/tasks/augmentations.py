"""What may be done to a training face without touching its evidence; each draws from the generator it is given.

Faces come as (B, 3, H, W) float32 in [0, 1] and leave so. Those done by OpenCV pass through 8 bits. Masks of what was
manipulated go where their faces go, by the same draws; what does not move a face leaves its mask alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from components.errors import UnknownName
from components.tasks.dataset import Batch

Augmentation = Callable[[Tensor, torch.Generator], Tensor]
Image = NDArray[np.uint8]


def augmented(batch: Batch, chances: Mapping[str, float], generator: torch.Generator) -> Batch:
    """The batch after the named augmentations in order, each done to a face with its chance; raises UnknownName.

    Its faces are what they would be without masks.
    """
    faces, masks = _augmented(batch.faces, batch.masks, chances, generator)
    return replace(batch, faces=faces, masks=masks)


def augment(faces: Tensor, chances: Mapping[str, float], generator: torch.Generator) -> Tensor:
    """`augmented`, of faces (B, 3, H, W) alone."""
    return _augmented(faces, None, chances, generator)[0]


def _augmented(
    faces: Tensor, masks: Tensor | None, chances: Mapping[str, float], generator: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    for name, chance in chances.items():
        if name not in KNOWN:
            raise UnknownName("augmentation", name, KNOWN)
        chosen = torch.rand(len(faces), generator=generator) < chance
        if chosen.any():
            if masks is not None and name in MOVING:
                masks = _moved_alike(masks, chosen, KNOWN[name], generator.clone_state())
            faces = faces.clone()
            faces[chosen] = KNOWN[name](faces[chosen], generator)
    return faces, masks


def _moved_alike(masks: Tensor, chosen: Tensor, move: Augmentation, generator: torch.Generator) -> Tensor:
    """An unknown mask stays unknown: NaN would not survive 8 bits."""
    unknown = masks.isnan()
    moved = masks.masked_fill(unknown, 0)
    moved[chosen] = move(moved[chosen], generator)
    return moved.masked_fill(unknown, torch.nan)


def flip(faces: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG001 the chance is the only draw
    """Mirror."""
    return faces.flip(-1)


def brightness_contrast(faces: Tensor, generator: torch.Generator) -> Tensor:
    """Brightness and contrast each within ±10 %, as in the recipes of DeepfakeBench and GenD."""
    shift, gain = _uniform(len(faces), -0.1, 0.1, generator), _uniform(len(faces), 0.9, 1.1, generator)
    mean = faces.mean(dim=(1, 2, 3), keepdim=True)
    return ((faces - mean) * gain[:, None, None, None] + mean + shift[:, None, None, None]).clamp(0, 1)


def rotate(faces: Tensor, generator: torch.Generator) -> Tensor:
    """Within ±10 degrees (M2TR, Effort)."""
    angles = _uniform(len(faces), -10, 10, generator).tolist()
    return _each(faces, lambda image, i: _moved(image, angles[i], 1.0, (0.0, 0.0)))


def affine(faces: Tensor, generator: torch.Generator) -> Tensor:
    """Within ±10 degrees, a tenth of the side, and a tenth of the size (GenD)."""
    angles = _uniform(len(faces), -10, 10, generator).tolist()
    scales = _uniform(len(faces), 0.9, 1.1, generator).tolist()
    x, y = (_uniform(len(faces), -0.1, 0.1, generator).tolist() for _ in range(2))
    return _each(faces, lambda image, i: _moved(image, angles[i], scales[i], (x[i], y[i])))


def crop(faces: Tensor, generator: torch.Generator) -> Tensor:
    """Seven eighths of the side from a random place, at the old size (M2TR)."""
    x, y = (_uniform(len(faces), 0, 1, generator).tolist() for _ in range(2))

    def cut(image: Image, i: int) -> Image:
        height, width = image.shape[:2]
        top, left = round(y[i] * height / 8), round(x[i] * width / 8)
        part = image[top : top + round(height * 7 / 8), left : left + round(width * 7 / 8)]
        return _resized(part, (width, height), cv2.INTER_LINEAR)

    return _each(faces, cut)


def blur(faces: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian, 3 to 7 pixels wide (Effort; GenD uses 7)."""
    widths = (2 * torch.randint(1, 4, (len(faces),), generator=generator) + 1).tolist()
    return _each(faces, lambda image, i: np.asarray(cv2.GaussianBlur(image, (widths[i], widths[i]), 0), np.uint8))


def sharpen(faces: Tensor, generator: torch.Generator) -> Tensor:
    """Unsharp masking by 20 to 50 % (LSDA; the strength is ours)."""
    amounts = _uniform(len(faces), 0.2, 0.5, generator).tolist()

    def sharper(image: Image, i: int) -> Image:
        soft = cv2.GaussianBlur(image, (0, 0), 1)
        return np.asarray(cv2.addWeighted(image, 1 + amounts[i], soft, -amounts[i], 0), np.uint8)

    return _each(faces, sharper)


def downscale(faces: Tensor, generator: torch.Generator) -> Tensor:
    """To a half, a third or a quarter of the side, and back (LSDA)."""
    factors = torch.randint(2, 5, (len(faces),), generator=generator).tolist()

    def coarser(image: Image, i: int) -> Image:
        height, width = image.shape[:2]
        small = _resized(image, (max(1, width // factors[i]), max(1, height // factors[i])), cv2.INTER_AREA)
        return _resized(small, (width, height), cv2.INTER_LINEAR)

    return _each(faces, coarser)


def jpeg(faces: Tensor, generator: torch.Generator) -> Tensor:
    """Quality 40 to 100 (LSDA, GenD)."""
    qualities = torch.randint(40, 101, (len(faces),), generator=generator).tolist()

    def compressed(image: Image, i: int) -> Image:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, qualities[i]])
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)

    return _each(faces, compressed)


KNOWN: dict[str, Augmentation] = {
    f.__name__: f for f in (flip, brightness_contrast, rotate, affine, crop, blur, sharpen, downscale, jpeg)
}
MOVING = frozenset(f.__name__ for f in (flip, rotate, affine, crop))
"""Those that put what a face shows elsewhere."""


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


def _each(faces: Tensor, change: Callable[[Image, int], Image]) -> Tensor:
    """`change(image, number)` of every face as an 8-bit image (H, W, C)."""
    images = (faces * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    changed = np.stack([change(image, i).reshape(image.shape) for i, image in enumerate(images)])  # OpenCV drops C = 1
    return torch.from_numpy(changed).permute(0, 3, 1, 2).contiguous().to(faces.dtype).div_(255)


def _moved(image: Image, angle_deg: float, scale: float, shift: tuple[float, float]) -> Image:
    """Turned and scaled about the middle, then shifted by shares of the side; mirrored beyond the border."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle_deg, scale)
    matrix[:, 2] += shift[0] * width, shift[1] * height
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def _resized(image: Image, size: tuple[int, int], how: int) -> Image:
    return np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)
