"""LNCLIP-DF: CLIP's vision tower with nothing learned but its layer norms, on the sphere (later published as GenD).

Flow     faces (B,3,224,224) -> ViT-L/14 of CLIP, frozen but for 50 layer norms -> class token (B,1024), not projected
         -> z = x/|x| -> head -> logits (B,2)
         training only: within each class, points between the z of a batch (slerp), 128 -> 1024
         -> cross entropy + 0.1 alignment + 0.5 uniformity over all of them
Source   arXiv 2508.06248; yermandy/GenD@e03532d53b37 (head, losses, augmentations) and, for slerp, the older
         yermandy/deepfake-detection@0b872f7903e7.
Differs  slerp adds to the batch, as the paper's first version says, where the older code replaces (`slerp: replace`) and
         the later one has none (`slerp: off`); alignment is the mean squared distance and uniformity has t = 2, as
         published, not the halves a reading of the formulas may suggest. What an affine move uncovers is mirrored, and
         black in GenD; the blur is 3, 5 or 7 pixels wide, with a deviation of about 0.7, 1 or 1.4 that follows from that,
         where GenD's is always 7 wide and draws the deviation from 0.1 to 2; brightness is shifted, and scaled in GenD.
         At `tiny` the tower is the lab's and logits are `scale` times steeper, because a head on the sphere whose weights
         start near 0 cannot become sure of itself within tens of steps.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from components.detectors import Detection, Detector, Sized
from components.detectors.parts import clip
from components.losses import sphere
from components.params import Section
from components.tasks.dataset import Batch

SIZES: dict[str, dict[str, Any]] = {
    "paper": {"tower": "ViT-L-14-quickgelu", "pretrained": "openai", "scale": 1.0},
    "tiny": {"tower": "small", "pretrained": "lab", "scale": 8.0},
}


class LNCLIPOptions(Sized):
    """The paper's values; `size: tiny` is the same method on the lab's own tower, for machines without an accelerator."""

    sizes = SIZES
    tower: str
    """`small`, or any plain vision transformer of open_clip. By size."""
    pretrained: str
    """Weights of the tower: a file, one of open_clip's tags, `lab` for the small one, "" for none. By size."""
    pretrained_sha256: str = ""
    input_px: int | None = Field(None, ge=32)
    """What is not said is the tower's own side: 224, and 96 of `small`."""
    checkpointing: bool = False
    """Recompute blocks in the backward pass: a third slower, and activations of one block at a time."""
    scale: float = Field(gt=0)
    """Of the logits. By size."""
    slerp: Literal["expand", "replace", "off"] = "expand"
    factor: int = Field(8, ge=1)
    """Of `expand`: rows after it over rows before it."""
    alignment_weight: float = Field(0.1, ge=0)
    uniformity_weight: float = Field(0.5, ge=0)


class LNCLIP(Detector):
    """A frozen tower, its norms free to move."""

    Options: ClassVar[type[Section]] = LNCLIPOptions

    def __init__(self, options: LNCLIPOptions) -> None:
        super().__init__()
        self.options = options
        self.tower = clip.tower(
            options.tower,
            pretrained=options.pretrained,
            sha256=options.pretrained_sha256,
            input_px=options.input_px,
            checkpointing=options.checkpointing,
        )
        self.input_px = self.tower.input_px
        self.tower.requires_grad_(False)
        for norm in self.tower.modules():
            if isinstance(norm, nn.LayerNorm):
                norm.requires_grad_(True)
        self.head = NormalisedHead(self.tower.width, 2)

    @staticmethod
    def paper_training(options: Any) -> dict[str, Any]:
        """Sec. 4 of the paper; augmentations of its code, whose image-wide blur has chance 0.1 and whose others have 0.5."""
        return RECIPES[options.size]

    def forward(self, faces: Tensor) -> Detection:
        cls, levels = self.tower(self.tower.normalised(faces))
        logits, z = self.head(cls)
        return Detection(self.options.scale * logits, z, levels)

    def losses(self, detection: Detection, batch: Batch) -> dict[str, Tensor]:
        logits, z, labels = self._enriched(detection, batch.labels)
        return {
            "cross_entropy": F.cross_entropy(logits.float(), labels),
            "alignment": self.options.alignment_weight * sphere.alignment(z, labels),
            "uniformity": self.options.uniformity_weight * sphere.uniformity(z),
        }

    def _enriched(self, detection: Detection, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, unit rows and labels with what slerp adds to them; nothing is added outside of training."""
        z = detection.embedding
        if not self.training or self.options.slerp == "off":
            return detection.logits, z, labels
        if self.options.slerp == "replace":
            z = sphere.swapped(z, sphere.shuffled_partners(labels), torch.rand(len(z), device=z.device))
        else:
            z, labels = sphere.expanded(z, labels, factor=self.options.factor)
        return self.options.scale * self.head(z)[0], z, labels


class NormalisedHead(nn.Linear):
    """A linear head on the sphere: x (B, D) -> logits (B, C) and the unit rows (B, D) they are read from, in float32."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        with torch.autocast(x.device.type, enabled=False):
            z = sphere.unit(x)
            return super().forward(z), z


RECIPES: dict[str, dict[str, Any]] = {
    "paper": {
        "learning_rate": 3e-4,
        "floor_learning_rate": 1e-5,
        "schedule": "cosine_cycles",
        "cycle_epochs": 10,
        "warmup_epochs": 1,
        "weight_decay": 0,
        "batch": 128,
        "founder_epochs": 20,
        "epochs": 20,
        "faces_per_clip": 32,
        "pairs": True,
        "augment": {"flip": 0.5, "affine": 1, "blur": 0.1, "brightness_contrast": 1, "jpeg": 1},
    },
    "tiny": {
        "learning_rate": 1e-2,
        "floor_learning_rate": 1e-4,
        "schedule": "cosine_cycles",
        "cycle_epochs": 16,
        "warmup_epochs": 1,
        "weight_decay": 0,
        "batch": 32,
        "founder_epochs": 16,
        "epochs": 16,
        "faces_per_clip": 3,
        "pairs": True,
        "augment": {"flip": 0.5},
    },
}
