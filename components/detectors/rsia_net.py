"""RSIA-Net: a spatial and a frequency branch that interact at every level, and a contrast across both (CFFD).

Flow     faces (B,3,256,256) -> spatial trunk             A_s^l  (B,C_l,H_l,W_l)  \\
                             -> bands -> frequency trunk  A_f^l                    > RSIA^l -> f^l (B,128,H_l,W_l)
         after every trunk stage SFIA lets the branches attend to one another; what it returns enters the next stage
         f^1 … f^4 -> FAF -> embedding (B,128) -> logits (B,2)
         training only: A^l -> projection (B,128) -> HSCL
Source   the CFFD paper; no public code was found, so that everything a description leaves open is our reading.
Differs  the frequency input is three inverse-transformed bands rather than raw coefficients, because relating the branches
         element by element needs maps that lie over one another; SFIA's values are added to each branch under a learned
         weight, because the one sum described cannot give two outputs; r = 3, 5, 7 is read as a dilation rate. Both trunks
         start from ImageNet, of which the description says nothing.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from components.detectors import Detection, Detector
from components.detectors.parts import backbones
from components.losses import contrastive
from components.losses.frequency import Bands
from components.losses.precision import wide
from components.params import Section
from components.tasks.dataset import Batch

SIZES: dict[str, dict[str, Any]] = {
    "paper": {**backbones.IMAGENET, "input_px": 256, "width": 128, "temperature": 0.01},
    "tiny": {"trunk": backbones.SMALL, "input_px": 96, "width": 32, "temperature": 0.1},
}

RECIPES: dict[str, dict[str, Any]] = {
    "paper": {
        "learning_rate": 2e-4,
        "weight_decay": 1e-5,
        "batch": 32,
        "founder_epochs": 20,
        "epochs": 10,
        "schedule": "steps",
        "step_epochs": 5,
        "gamma": 0.5,
        "augment": {"flip": 0.5},
    },
    "tiny": {
        "learning_rate": 3e-3,
        "weight_decay": 1e-5,
        "batch": 32,
        "founder_epochs": 12,
        "epochs": 8,
        "schedule": "steps",
        "step_epochs": 4,
        "gamma": 0.5,
        "faces_per_clip": 4,
        "augment": {"flip": 0.5},
    },
}

BAND_GAINS = (0.1, 1.0, 8.0)  # low, mid, high: in faces their deviations are about 0.43, 0.13, 0.10 of [-1, 1]


class RSIANetOptions(backbones.TrunkOptions):
    """The paper's values; `size: tiny` is the same architecture for machines without an accelerator."""

    sizes = SIZES
    input_px: int = Field(ge=96, multiple_of=32)
    """By size."""
    width: int = Field(ge=8)
    """Channels of every f^l, of the projections and of the embedding. By size."""
    hscl_weight: float = Field(0.1, ge=0)
    temperature: float = Field(gt=0)
    """T of HSCL. By size: 0.1 at `tiny`, which learns from random weights in tens of steps (face AUC 0.98 after 66 steps,
    0.88 at the paper's 0.01)."""


class RSIANet(Detector):
    """Two trunks in conversation, their relations gathered level by level."""

    Options: ClassVar[type[Section]] = RSIANetOptions

    def __init__(self, options: RSIANetOptions) -> None:
        super().__init__()
        self.options = options
        self.input_px = options.input_px
        self.bands = Bands(options.input_px, options.input_px)
        self.band_stem = BandStem()
        self.spatial_trunk, self.frequency_trunk = backbones.built(options), backbones.built(options)
        channels, width = self.spatial_trunk.channels, options.width
        self.interactions = nn.ModuleList(SFIA(C, max(width // 4, C // 2)) for C in channels)
        self.relations = nn.ModuleList(RSIA(C, width, follows=level > 0) for level, C in enumerate(channels))
        self.fusion = FAF(width)
        self.head = nn.Linear(width, 2)
        self.spatial_projections = nn.ModuleList(nn.Linear(C, width) for C in channels)
        self.frequency_projections = nn.ModuleList(nn.Linear(C, width) for C in channels)

    @staticmethod
    def paper_training(options: RSIANetOptions) -> dict[str, Any]:
        """Our decision beside HDP and DFIL, whose protocols are the nearest; the paper's description gives none."""
        return RECIPES[options.size]

    def forward(self, faces: Tensor) -> Detection:
        images = backbones.normalised(faces, self.input_px)
        s, f = images, self.band_stem(self.bands(images))
        spatial: list[Tensor] = []
        frequency: list[Tensor] = []
        levels: list[Tensor] = []
        stages = zip(
            self.spatial_trunk.stages, self.frequency_trunk.stages, self.interactions, self.relations, strict=True
        )
        for spatial_stage, frequency_stage, interact, relate in stages:
            s, f = interact(spatial_stage(s), frequency_stage(f))
            levels.append(relate(s, f, levels[-1] if levels else None))
            spatial.append(s)
            frequency.append(f)
        embedding = self.fusion(levels)
        domains = {"spatial": tuple(spatial), "frequency": tuple(frequency)}
        return Detection(self.head(embedding), embedding, tuple(levels), domains)

    def losses(self, detection: Detection, batch: Batch) -> dict[str, Tensor]:
        terms = {"cross_entropy": F.cross_entropy(detection.logits.float(), batch.labels)}
        if self.options.hscl_weight:
            terms["hscl"] = self.options.hscl_weight * contrastive.hscl(
                _projected(self.spatial_projections, detection.domains["spatial"]),
                _projected(self.frequency_projections, detection.domains["frequency"]),
                batch.labels,
                temperature=self.options.temperature,
            )
        return terms


class BandStem(nn.Module):
    """The 1x1 convolution from all bands' colours to the three channels a trunk takes: (B, bands, 3, H, W) -> (B, 3, H, W).

    Starts with each colour's fine bands raised. Drawn at random, the stem lets the low band drown the others, which are
    several times weaker in faces, and learning is far slower (portraits with a smoothed face, 66 steps: clip AUC 0.61
    drawn at random, 0.98 raised).
    Written as a matrix product: with three output channels, CPU convolutions spend a third of a training step here.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(3 * len(BAND_GAINS), 3)
        with torch.no_grad():
            self.mix.weight.copy_(torch.kron(torch.tensor(BAND_GAINS), torch.eye(3)))
            self.mix.bias.zero_()

    def forward(self, bands: Tensor) -> Tensor:
        B, _, _, H, W = bands.shape
        mixed = self.mix.weight @ bands.reshape(B, -1, H * W) + self.mix.bias[:, None]
        return mixed.reshape(B, 3, H, W)


class SFIA(nn.Module):
    """Spatial-frequency interactive attention: each branch takes from the other where the two agree.

        K_s = <theta_s F_s, phi_f F_f> / sqrt(d),   K_f = <theta_f F_f, phi_s F_s> / sqrt(d)     at every position
        w   = HW softmax(K)                         over positions, 1 on average
        A_s = F_s + gamma_s w_s F_f,                A_f = F_f + gamma_f w_f F_s

    F_s, F_f (B, C, H, W) -> A_s, A_f of the same shape.
    """

    def __init__(self, C: int, d: int) -> None:
        super().__init__()
        self.theta_s, self.phi_f = nn.Conv2d(C, d, 1), nn.Conv2d(C, d, 1)
        self.theta_f, self.phi_s = nn.Conv2d(C, d, 1), nn.Conv2d(C, d, 1)
        self.gamma_s, self.gamma_f = nn.Parameter(torch.tensor(0.1)), nn.Parameter(torch.tensor(0.1))

    def forward(self, F_s: Tensor, F_f: Tensor) -> tuple[Tensor, Tensor]:
        w_s = _agreement(self.theta_s(F_s), self.phi_f(F_f))
        w_f = _agreement(self.theta_f(F_f), self.phi_s(F_s))
        return _taken(F_s, self.gamma_s * w_s, F_f), _taken(F_f, self.gamma_f * w_f, F_s)


def _agreement(theta: Tensor, phi: Tensor) -> Tensor:
    """HW softmax over positions of <theta, phi> / sqrt(d); (B, d, H, W) twice -> (B, 1, H, W), in float32 at least."""
    B, d, H, W = theta.shape
    K = (wide(theta) * wide(phi)).sum(dim=1) / d**0.5
    return (H * W * K.flatten(1).softmax(dim=1)).reshape(B, 1, H, W)


def _taken(own: Tensor, weight: Tensor, other: Tensor) -> Tensor:
    """own + weight other, in the precision of the maps; weight (B, 1, H, W)."""
    return torch.addcmul(own, weight.to(other.dtype), other)


class RSIA(nn.Module):
    """Relations of both branches at one level, refined by the finer level before it.

    E = MSFE(A) per branch,   P = FRM(f^{l-1}),   (G_s, G_f) = SFIA(E_s + P, E_f + P)
    f^l = ReLU(BN(1x1 [G_s, G_f, E_s + E_f]))
    """

    def __init__(self, C: int, width: int, *, follows: bool) -> None:
        super().__init__()
        self.spatial, self.frequency = MSFE(C, width), MSFE(C, width)
        self.refine = _conv_bn_relu(width, width, 3, stride=2) if follows else None  # FRM
        self.interact = SFIA(width, width // 2)
        self.gather = _conv_bn_relu(3 * width, width, 1)

    def forward(self, A_s: Tensor, A_f: Tensor, finer: Tensor | None) -> Tensor:
        E_s, E_f = self.spatial(A_s), self.frequency(A_f)
        P = self.refine(finer) if self.refine is not None else 0
        G_s, G_f = self.interact(E_s + P, E_f + P)
        level: Tensor = self.gather(torch.cat([G_s, G_f, E_s + E_f], dim=1))
        return level


class MSFE(nn.Module):
    """Multi-scale features: dilated depthwise convolutions of rate 3, 5, 7, mixed to `width` channels, and a residual."""

    def __init__(self, C: int, width: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(Dilated(C, rate) for rate in (3, 5, 7))
        self.mix = nn.Sequential(nn.Conv2d(3 * C, width, 1), _conv_bn_relu(width, width, 3))
        self.residual = nn.Conv2d(C, width, 1)

    def forward(self, A: Tensor) -> Tensor:
        mixed: Tensor = self.mix(torch.cat([scale(A) for scale in self.scales], dim=1))
        return mixed + self.residual(A)


class Dilated(nn.Conv2d):
    """A depthwise 3x3 convolution whose taps lie `rate` apart; (B, C, H, W) -> the same shape."""

    def __init__(self, C: int, rate: int) -> None:
        super().__init__(C, C, 3, padding=rate, dilation=rate, groups=C)
        self.rate = rate

    def forward(self, A: Tensor) -> Tensor:
        if self.rate < max(A.shape[-2:]):
            return super().forward(A)
        # Every tap but the middle one reads padding: the same sum, without convolving zeros.
        assert self.bias is not None
        return A * self.weight[:, 0, 1, 1][:, None, None] + self.bias[:, None, None]


class FAF(nn.Module):
    """Feature adaptive fusion: f = sum_l w_l GAP(f^l), w = softmax over levels of an MLP; L maps -> (B, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(nn.Linear(width, width // 4), nn.ReLU(inplace=True), nn.Linear(width // 4, 1))

    def forward(self, levels: list[Tensor]) -> Tensor:
        v = torch.stack([level.mean(dim=(2, 3)) for level in levels], dim=1)  # (B, L, width)
        return (self.weigh(v).softmax(dim=1) * v).sum(dim=1)


def _projected(projections: nn.ModuleList, maps: tuple[Tensor, ...]) -> Tensor:
    """One vector per level and sample, (L, B, width), from the pooled maps of a branch."""
    return torch.stack([project(A.mean(dim=(2, 3))) for project, A in zip(projections, maps, strict=True)])


def _conv_bn_relu(before: int, after: int, side: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, side, stride=stride, padding=side // 2, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )
