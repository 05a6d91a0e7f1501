"""What may be done to a training face without touching its evidence.

What is done is drawn first (`drawn`), whole, and then done to the faces at hand (`done`), which may be some of those it
was drawn for. Faces are (B, 3, H, W): bytes as they were decoded, or float32 in [0, 1]. What OpenCV does, it does to
bytes, so faces stay bytes until somebody needs fractions; either way they show the same. Masks of what was manipulated
go where their faces go, by the same draws; what does not move a face leaves its mask alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from components.errors import UnknownName
from components.tasks.dataset import Batch, as_fractions

Image = NDArray[np.uint8]
Draws = dict[str, Tensor]
"""Numbers by name, each (n,): one for every face."""


class Augmentation:
    """One thing that may be done to faces."""

    moves: ClassVar[bool] = False
    """Whether it puts what a face shows elsewhere."""
    by_opencv: ClassVar[bool] = False
    """Whether it is done by OpenCV, to bytes, on the CPU."""

    def draw(self, count: int, generator: torch.Generator) -> Draws:  # noqa: ARG002 some leave nothing to chance
        """How it is done to each of `count` faces."""
        return {}

    def done(self, faces: Tensor, draws: Draws) -> Tensor:
        """These faces after it; those given may be overwritten."""
        raise NotImplementedError


@dataclass(frozen=True)
class Change:
    """An augmentation of one batch: whom it befalls, and how."""

    name: str
    chosen: Tensor
    """(B,) bool."""
    draws: Draws
    """Of the chosen, in their order."""

    def of(self, part: slice) -> Change:
        """For some faces of the batch."""
        before, here = int(self.chosen[: part.start].sum()), int(self.chosen[part].sum())
        kept = slice(before, before + here)
        return Change(self.name, self.chosen[part], {name: values[kept] for name, values in self.draws.items()})


def drawn(count: int, chances: Mapping[str, float], generator: torch.Generator) -> list[Change]:
    """What befalls a batch of `count` faces: the named augmentations in order, each face with its chance.

    Raises UnknownName.
    """
    changes = []
    for name, chance in chances.items():
        if name not in KNOWN:
            raise UnknownName("augmentation", name, KNOWN)
        chosen = torch.rand(count, generator=generator) < chance
        if chosen.any():
            changes.append(Change(name, chosen, KNOWN[name].draw(int(chosen.sum()), generator)))
    return changes


def of_all(name: str, count: int, generator: torch.Generator) -> Change:
    """A known augmentation of every one of `count` faces."""
    return Change(name, torch.ones(count, dtype=torch.bool), KNOWN[name].draw(count, generator))


def done(faces: Tensor, changes: Sequence[Change]) -> Tensor:
    """The faces (B, 3, H, W) after these changes, in order; those given stay as they are."""
    given = faces
    for change in changes:
        augmentation, chosen = KNOWN[change.name], change.chosen.to(faces.device)
        draws = {name: values.to(faces.device) for name, values in change.draws.items()}
        if isinstance(augmentation, BrightnessContrast):
            faces = as_fractions(faces)
        if chosen.all():
            faces = augmentation.done(faces.clone() if faces is given else faces, draws)
        elif chosen.any():
            after = augmentation.done(faces[chosen], draws)
            faces = faces.clone() if faces is given else faces
            faces[chosen] = after if after.dtype == faces.dtype else as_fractions(after)
    return faces


def moved(masks: Tensor, changes: Sequence[Change]) -> Tensor:
    """Masks (B, 1, H, W) after what moved their faces; an unknown one stays unknown: NaN would not survive 8 bits."""
    unknown = masks.isnan()
    moving = [change for change in changes if KNOWN[change.name].moves]
    return as_fractions(done(masks.masked_fill(unknown, 0), moving)).masked_fill(unknown, torch.nan)


def augmented(batch: Batch, chances: Mapping[str, float], generator: torch.Generator) -> Batch:
    """The batch after what `drawn` says. Its faces are what they would be without masks."""
    changes = drawn(len(batch.faces), chances, generator)
    masks = None if batch.masks is None else moved(batch.masks, changes)
    return replace(batch, faces=as_fractions(done(batch.faces, changes)), masks=masks)


def augment(faces: Tensor, chances: Mapping[str, float], generator: torch.Generator) -> Tensor:
    """`augmented`, of faces (B, 3, H, W) alone; returns fractions."""
    return as_fractions(done(faces, drawn(len(faces), chances, generator)))


class Flip(Augmentation):
    """Mirror."""

    moves = True

    def done(self, faces: Tensor, draws: Draws) -> Tensor:  # noqa: ARG002 the chance is the only draw
        return faces.flip(-1)


class BrightnessContrast(Augmentation):
    """Brightness and contrast each within ±10 %, as in the recipes of DeepfakeBench and GenD; of fractions, float32."""

    def draw(self, count: int, generator: torch.Generator) -> Draws:
        return {"shift": _uniform(count, -0.1, 0.1, generator), "gain": _uniform(count, 0.9, 1.1, generator)}

    def done(self, faces: Tensor, draws: Draws) -> Tensor:
        shift, gain = (draws[name][:, None, None, None] for name in ("shift", "gain"))
        mean = faces.mean(dim=(1, 2, 3), keepdim=True)
        return faces.sub_(mean).mul_(gain).add_(mean).add_(shift).clamp_(0, 1)


class ByOpenCV(Augmentation):
    """Done to one image at a time."""

    by_opencv = True

    def one(self, image: Image, drawn: Mapping[str, float]) -> Image:
        """An image (H, W, C) after it."""
        raise NotImplementedError

    def done(self, faces: Tensor, draws: Draws) -> Tensor:
        images = as_bytes(faces).permute(0, 2, 3, 1).contiguous().numpy()
        each = zip(*(values.tolist() for values in draws.values()), strict=True) if draws else [()] * len(images)
        changed = np.empty_like(images)
        for i, values in enumerate(each):
            # OpenCV drops C = 1
            changed[i] = self.one(images[i], dict(zip(draws, values, strict=True))).reshape(images.shape[1:])
        return torch.from_numpy(changed).permute(0, 3, 1, 2)


class Rotate(ByOpenCV):
    """Within ±10 degrees (M2TR, Effort)."""

    moves = True

    def draw(self, count: int, generator: torch.Generator) -> Draws:
        return {"angle": _uniform(count, -10, 10, generator)}

    def one(self, image: Image, drawn: Mapping[str, float]) -> Image:
        return _moved(image, drawn["angle"], 1.0, (0.0, 0.0))


class Affine(ByOpenCV):
    """Within ±10 degrees, a tenth of the side, and a tenth of the size (GenD)."""

    moves = True

    def draw(self, count: int, generator: torch.Generator) -> Draws:
        ranges = {"angle": (-10, 10), "scale": (0.9, 1.1), "x": (-0.1, 0.1), "y": (-0.1, 0.1)}
        return {name: _uniform(count, low, high, generator) for name, (low, high) in ranges.items()}

    def one(self, image: Image, drawn: Mapping[str, float]) -> Image:
        return _moved(image, drawn["angle"], drawn["scale"], (drawn["x"], drawn["y"]))


class Crop(ByOpenCV):
    """Seven eighths of the side from a random place, at the old size (M2TR)."""

    moves = True

    def draw(self, count: int, generator: torch.Generator) -> Draws:
        return {name: _uniform(count, 0, 1, generator) for name in ("x", "y")}

    def one(self, image: Image, drawn: Mapping[str, float]) -> Image:
        height, width = image.shape[:2]
        top, left = round(drawn["y"] * height / 8), round(drawn["x"] * width / 8)
        part = image[top : top + round(height * 7 / 8), left : left + round(width * 7 / 8)]
        return _resized(part, (width, height), cv2.INTER_LINEAR)


class Blur(ByOpenCV):
    """Gaussian, 3 to 7 pixels wide (Effort; GenD uses 7)."""

    def draw(self, count: int, generator: torch.Generator) -> Draws:
        return {"width": 2 * torch.randint(1, 4, (count,), generator=generator) + 1}

    def one(self, image: Image, drawn: Mapping[str, float]) -> Image:
        width = int(drawn["width"])
        return np.asarray(cv2.GaussianBlur(image, (width, width), 0), np.uint8)


class Sharpen(ByOpenCV):
    """Unsharp masking by 20 to 50 % (LSDA; the strength is ours)."""

    def draw(self, count: int, generator: torch.Generator) -> Draws:
        return {"amount": _uniform(count, 0.2, 0.5, generator)}

    def one(self, image: Image, drawn: Mapping[str, float]) -> Image:
        soft = cv2.GaussianBlur(image, (0, 0), 1)
        return np.asarray(cv2.addWeighted(image, 1 + drawn["amount"], soft, -drawn["amount"], 0), np.uint8)


class Downscale(ByOpenCV):
    """To a half, a third or a quarter of the side, and back (LSDA)."""

    def draw(self, count: int, generator: torch.Generator) -> Draws:
        return {"factor": torch.randint(2, 5, (count,), generator=generator)}

    def one(self, image: Image, drawn: Mapping[str, float]) -> Image:
        height, width = image.shape[:2]
        factor = int(drawn["factor"])
        small = _resized(image, (max(1, width // factor), max(1, height // factor)), cv2.INTER_AREA)
        return _resized(small, (width, height), cv2.INTER_LINEAR)


class Jpeg(ByOpenCV):
    """Quality 40 to 100 (LSDA, GenD)."""

    def draw(self, count: int, generator: torch.Generator) -> Draws:
        return {"quality": torch.randint(40, 101, (count,), generator=generator)}

    def one(self, image: Image, drawn: Mapping[str, float]) -> Image:
        ordered = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)  # red counts for more than blue
        _, data = cv2.imencode(".jpg", ordered, [cv2.IMWRITE_JPEG_QUALITY, int(drawn["quality"])])
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)


KNOWN: dict[str, Augmentation] = {
    "flip": Flip(),
    "brightness_contrast": BrightnessContrast(),
    "rotate": Rotate(),
    "affine": Affine(),
    "crop": Crop(),
    "blur": Blur(),
    "sharpen": Sharpen(),
    "downscale": Downscale(),
    "jpeg": Jpeg(),
}


def as_bytes(faces: Tensor) -> Tensor:
    """Fractions in [0, 1] as bytes; bytes stay what they are."""
    return faces if faces.dtype == torch.uint8 else (faces * 255).round().to(torch.uint8)


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


def _moved(image: Image, angle_deg: float, scale: float, shift: tuple[float, float]) -> Image:
    """Turned and scaled about the middle, then shifted by shares of the side; mirrored beyond the border."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle_deg, scale)
    matrix[:, 2] += shift[0] * width, shift[1] * height
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def _resized(image: Image, size: tuple[int, int], how: int) -> Image:
    return np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)
