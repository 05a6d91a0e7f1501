"""M2TR: patches of four sizes attend to one another, a learned filter looks at their spectrum, and both meet.

Flow     faces (B,3,320,320) -> first stage of the trunk -> texture (B,32,80,80)
         4 x { attention among patches     -> spatial   (B,32,80,80)
               filter of its spectrum      -> frequency (B,32,80,80)
               spatial asks, frequency answers -> texture }
         -> rest of the trunk (B,1792,10,10) -> mean -> embedding (B,1792) -> logits (B,2)
         training only: embedding -> distance to the centre of genuine faces; texture -> mask (where asked for)
Source   arXiv 2104.09770 (ICMR 2022); the official code,
         wangjk666/M2TR-Multi-modal-Multi-scale-Transformers-for-Deepfake-Detection@6471c0fbcd84, gave the architecture.
Differs  softmax over two logits throughout, so that scores mean the same for every detector: the release trains each logit
         for itself under a focal loss and answers with sigmoids. The centre's term follows the paper: the release has its
         sign reversed, its classes exchanged, and never uses it. The release pads unevenly and starts from weights trained
         with adversarial examples, as timm's `tf_efficientnet_b4` does with `ap_in1k`. The mask decoder is ours, because
         the published one cannot be built. Positions are attended to through `scaled_dot_product_attention`, which never
         holds the 6400 x 6400 weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from components.detectors import Detection, Detector
from components.detectors.parts import backbones
from components.errors import BadParams
from components.losses import contrastive
from components.losses.focal import focal
from components.losses.precision import wide
from components.params import Section
from components.tasks.dataset import Batch
from components.vocabulary import REAL

SIZES: dict[str, dict[str, Any]] = {
    "paper": {
        **backbones.IMAGENET,
        "input_px": 320,
        "depth": 4,
        "patches": (1, 2, 4, 8),
        "branch_gain": 1.0,
        "dropout": 0.5,
    },
    "tiny": {
        "trunk": backbones.SMALL,
        "input_px": 96,
        "depth": 1,
        "patches": (1, 2, 4, 6),
        "branch_gain": 0.1,
        "dropout": 0.1,
    },
}
STOCHASTIC_DEPTH = {"drop_path_rate": 0.2}  # of the paper's trunk, and in the release of no other

RECIPES: dict[str, dict[str, Any]] = {
    # Adam 1e-4, a tenth every 40 steps, batch 24: the paper. Epochs and augmentations: the release, whose groups of
    # exclusive changes give each of ours its share.
    "paper": {
        "founder_epochs": 20,
        "epochs": 20,
        "batch": 24,
        "learning_rate": 1e-4,
        "weight_decay": 1e-5,
        "schedule": "steps",
        "step_epochs": 40,
        "gamma": 0.1,
        "augment": {
            "crop": 0.5,
            "brightness_contrast": 0.33,
            "sharpen": 0.17,
            "blur": 0.5,
            "flip": 0.5,
            "rotate": 0.5,
            "jpeg": 0.5,
        },
    },
    "tiny": {
        "founder_epochs": 16,
        "epochs": 10,
        "batch": 16,
        "learning_rate": 2e-3,
        "schedule": "steps",
        "step_epochs": 6,
        "gamma": 0.5,
        "augment": {"flip": 0.5},
    },
}

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


class M2TROptions(backbones.TrunkOptions):
    """The paper's values; `size: tiny` is the same architecture for machines without an accelerator."""

    sizes = SIZES
    input_px: int = Field(ge=32, multiple_of=32)
    """By size; 320 in the release. The filters' size follows from it."""
    depth: int = Field(ge=1)
    """How often attention, filter and fusion follow one another. By size; 4 in the release."""
    patches: tuple[int, ...] = Field(min_length=1)
    """Patches along a side of the map, one number for each head. By size; 1, 2, 4, 8 in the release."""
    branch_gain: float = Field(gt=0, le=1)
    """How strongly what attention, filter and fusion find is added before anything is learned. By size; 1 in the release."""
    dropout: float = Field(ge=0, lt=1)
    """Before the logits. By size; 0.5 in the release."""
    focal_gamma: float = Field(0.0, ge=0)
    """0: cross entropy. The release: 2."""
    contrastive_weight: float = Field(0.001, ge=0)
    """lambda_2 of the paper."""
    center: Literal["batch", "ema"] = "batch"
    """The centre of the genuine faces of this batch, or one that moves slowly from batch to batch."""
    center_momentum: float = Field(0.9, ge=0, lt=1)
    """Of `ema`."""
    masks: bool = False
    """Whether there is a decoder that says which pixels were manipulated, taught where a batch knows them."""
    mask_weight: float = Field(1.0, ge=0)
    """lambda_1 of the paper."""

    @classmethod
    def filled(cls, raw: dict[str, Any]) -> dict[str, Any]:
        chosen = super().filled(raw)
        own = {"trunk_options": STOCHASTIC_DEPTH} if chosen["trunk"] == SIZES["paper"]["trunk"] else {}
        return {**own, **chosen}


class M2TR(Detector):
    """A trunk that halts after its first stage to look at patches and at frequencies."""

    Options: ClassVar[type[Section]] = M2TROptions
    mean: Tensor
    deviation: Tensor

    def __init__(self, options: M2TROptions) -> None:
        super().__init__()
        self.options = options
        self.input_px = options.input_px
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None], persistent=False)
        self.trunk = backbones.built(options, whole=True)
        C, D = self.trunk.channels[0], self.trunk.channels[-1]
        side = _side_of_texture(self.trunk, options)
        self.blocks = nn.ModuleList(Block(C, side, options.patches, options.branch_gain) for _ in range(options.depth))
        self.head = nn.Sequential(nn.Dropout(options.dropout), nn.Linear(D, 2))
        self.centre = MovingCentre(D, options.center_momentum) if options.center == "ema" else None
        self.decoder = MaskDecoder(C) if options.masks else None

    @staticmethod
    def paper_training(options: M2TROptions) -> dict[str, Any]:
        return RECIPES[options.size]

    def forward(self, faces: Tensor) -> Detection:
        texture_stage, *rest = self.trunk.stages
        texture = texture_stage(self._normalised(faces))
        spatial: list[Tensor] = []
        frequency: list[Tensor] = []
        for block in self.blocks:
            s, f, texture = block(texture)
            spatial.append(s)
            frequency.append(f)
        levels = [texture]
        for stage in rest:
            levels.append(stage(levels[-1]))
        embedding = levels[-1].mean(dim=(2, 3))
        domains = {"spatial": tuple(spatial), "frequency": tuple(frequency)}
        return Detection(self.head(embedding), embedding, tuple(levels), domains)

    def losses(self, detection: Detection, batch: Batch) -> dict[str, Tensor]:
        asked = self.options
        terms = {"cross_entropy": focal(detection.logits, batch.labels, gamma=asked.focal_gamma)}
        if asked.contrastive_weight:
            features = wide(detection.embedding)
            around = self.centre(features, batch.labels == REAL) if self.centre is not None else None
            terms["centre"] = asked.contrastive_weight * contrastive.centre(features, batch.labels, around=around)
        if self.decoder is not None:
            terms["mask"] = asked.mask_weight * mask_entropy(self.decoder(detection.levels[0]), batch.masks)
        return terms

    def _normalised(self, faces: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, 3, side, side), zero in the mean of ImageNet and of deviation one there."""
        return (backbones.resized(faces, self.input_px) - self.mean) / self.deviation


class Block(nn.Module):
    """What the network does `depth` times: maps (B, C, H, W) -> spatial, frequency and fused maps of the same shape."""

    def __init__(self, C: int, side: int, patches: Sequence[int], gain: float) -> None:
        super().__init__()
        self.attend = PatchAttention(C, patches, gain)
        self.filter = FrequencyBlock(C, side, side, gain)
        self.fuse = CrossModalityFusion(C, gain)

    def forward(self, texture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        spatial = self.attend(texture)
        frequency = self.filter(spatial)
        return spatial, frequency, self.fuse(spatial, frequency)


class PatchAttention(nn.Module):
    """The multi-scale transformer: every head compares patches of its own size.

        x' = x + mix(heads),   y = x' + FF(x')
        head h: softmax(q k^T / sqrt(d)) v over n_h x n_h patches, each a token of d = C/heads * H/n_h * W/n_h numbers

    A head with one patch has nothing to compare and hands on its v. (B, C, H, W) -> the same shape.
    """

    def __init__(self, C: int, patches: Sequence[int], gain: float = 1.0) -> None:
        super().__init__()
        self.patches = tuple(patches)
        self.query, self.key, self.value = (nn.Conv2d(C, C, 1) for _ in range(3))
        self.mix = _convolution(C, C, 3, gain=gain)
        self.feed_forward = _feed_forward(C, gain)

    def forward(self, maps: Tensor) -> Tensor:
        maps = maps + self.mix(self.heads(maps))
        out: Tensor = maps + self.feed_forward(maps)
        return out

    def heads(self, maps: Tensor) -> Tensor:
        """All heads' answers one after another, (B, C, H, W)."""
        H, W = maps.shape[-2:]
        q, k, v = (part(maps).chunk(len(self.patches), dim=1) for part in (self.query, self.key, self.value))
        answers = [
            v[h] if n == 1 else _maps(_attended(_tokens(q[h], n), _tokens(k[h], n), _tokens(v[h], n)), n, H, W)
            for h, n in enumerate(self.patches)
        ]
        return torch.cat(answers, dim=1)


class FrequencyBlock(nn.Module):
    """What a learned filter lets through, added: x + FF(filter(x)); (B, C, H, W) -> the same shape."""

    def __init__(self, C: int, H: int, W: int, gain: float = 1.0) -> None:
        super().__init__()
        self.filter = FrequencyFilter(C, H, W)
        self.feed_forward = _feed_forward(C, gain)

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = maps + self.feed_forward(self.filter(maps))
        return out


class FrequencyFilter(nn.Module):
    """A complex gain for every frequency and channel: irfft2(G * rfft2(x)), both orthonormal.

    (B, C, H, W) -> the same shape, by way of float32 at least: complex numbers of half precision are not supported everywhere.
    """

    def __init__(self, C: int, H: int, W: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(0.02 * torch.randn(H, W // 2 + 1, C, 2))  # real and imaginary part last

    def forward(self, maps: Tensor) -> Tensor:
        with torch.autocast(maps.device.type, enabled=False):
            spectrum = torch.fft.rfft2(wide(maps), norm="ortho")
            # contiguous: where channels lie last, its pairs lie apart
            gain = torch.view_as_complex(self.gain.contiguous()).permute(2, 0, 1)
            filtered = torch.fft.irfft2(gain * spectrum, s=maps.shape[-2:], norm="ortho")
        return filtered.to(maps.dtype)


class CrossModalityFusion(nn.Module):
    """Every position of the spatial maps asks all positions of the frequency maps.

        F = s + mix( softmax(q k^T / sqrt(C)) v ),   q from s; k, v from f

    s, f (B, C, H, W) -> F of the same shape.
    """

    def __init__(self, C: int, gain: float = 1.0) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Conv2d(C, C, 1) for _ in range(3))
        self.mix = _convolution(C, C, 1, gain=gain)

    def forward(self, s: Tensor, f: Tensor) -> Tensor:
        q, k, v = (part.flatten(2).mT for part in (self.query(s), self.key(f), self.value(f)))  # (B, HW, C)
        out: Tensor = s + self.mix(_attended(q, k, v).mT.reshape(s.shape))
        return out


class MovingCentre(nn.Module):
    """The centre C of genuine embeddings, which each training batch moves a little.

        C <- m C + (1 - m) mean of the batch's genuine embeddings;   the first such mean is taken whole

    The new C is returned and takes its part of the gradient; what is kept does not.
    """

    centre: Tensor
    known: Tensor

    def __init__(self, D: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("centre", torch.zeros(D))
        self.register_buffer("known", torch.tensor(False))

    def forward(self, embedding: Tensor, genuine: Tensor) -> Tensor:
        """embedding (B, D), genuine (B,) bool -> (D,)."""
        some = genuine.any()
        m = torch.where(some, self.momentum * self.known, 1.0)
        C = m * self.centre + (1 - m) * contrastive.mean_where(embedding, genuine)
        if self.training:
            self.centre, self.known = C.detach(), self.known | some
        return C


class MaskDecoder(nn.Module):
    """Where a face was manipulated: maps (B, C, H, W) -> logits (B, 1, 4H, 4W)."""

    def __init__(self, C: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _larger(), _convolution(C, C // 2, 3), _larger(), _convolution(C // 2, C // 2, 3), nn.Conv2d(C // 2, 1, 1)
        )

    def forward(self, maps: Tensor) -> Tensor:
        logits: Tensor = self.layers(maps)
        return logits


def mask_entropy(logits: Tensor, masks: Tensor | None) -> Tensor:
    """Binary cross entropy of every pixel, averaged over the faces whose masks somebody knows; 0 where there is none.

    logits (B, 1, h, w); masks (B, 1, H, W) in [0, 1] or NaN, brought to the size of the logits. Returns ().
    """
    if masks is None:
        return logits.new_zeros((), dtype=torch.float32)
    known = masks.isfinite().flatten(1).all(dim=1)
    target = F.interpolate(torch.where(known[:, None, None, None], wide(masks), 0), logits.shape[-2:], mode="area")
    entropy = F.binary_cross_entropy_with_logits(wide(logits), target, reduction="none")
    return contrastive.mean_where(entropy.mean(dim=(1, 2, 3)), known)


def _attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v of tokens (B, N, d).

    Contiguous, because torch's fused kernels take no tokens whose numbers lie apart, as those of maps do: it would hold the
    N x N weights after all, 0.7 GB a face at 6400 positions in four blocks.
    """
    q, k, v = (tokens.contiguous()[:, None] for tokens in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v)[:, 0]


def _tokens(maps: Tensor, n: int) -> Tensor:
    """Maps (B, c, H, W) as n x n patches in rows, (B, n n, c H/n W/n), each in the order channel, row, column."""
    B, c, H, W = maps.shape
    return maps.reshape(B, c, n, H // n, n, W // n).permute(0, 2, 4, 1, 3, 5).reshape(B, n * n, -1)


def _maps(tokens: Tensor, n: int, H: int, W: int) -> Tensor:
    """The way back from `_tokens`."""
    B = len(tokens)
    return tokens.reshape(B, n, n, -1, H // n, W // n).permute(0, 3, 1, 4, 2, 5).reshape(B, -1, H, W)


def _feed_forward(C: int, gain: float) -> nn.Sequential:
    return nn.Sequential(_convolution(C, C, 3, dilation=2), _convolution(C, C, 3, gain=gain))


def _convolution(before: int, after: int, side: int, *, dilation: int = 1, gain: float = 1.0) -> nn.Sequential:
    norm = nn.BatchNorm2d(after)
    nn.init.constant_(norm.weight, gain)
    return nn.Sequential(
        nn.Conv2d(before, after, side, padding=dilation * (side // 2), dilation=dilation),
        norm,
        nn.LeakyReLU(0.2, inplace=True),
    )


def _larger() -> nn.Upsample:
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)


def _side_of_texture(trunk: backbones.Trunk, options: M2TROptions) -> int:
    """Side of the first stage's maps; raises BadParams where the heads cannot share them."""
    stage, px = trunk.stages[0], options.input_px
    with torch.no_grad():
        C, H, W = stage.eval()(torch.zeros(1, 3, px, px)).shape[1:]  # eval: no statistics move
    stage.train()
    uneven = [n for n in options.patches if H % n]
    if H != W or uneven or C % len(options.patches):
        raise BadParams(
            f"expected maps that {len(options.patches)} heads can share and cut into {options.patches} patches a side, "
            f"found {C} channels of {H}x{W} after the first stage of '{options.trunk}' at {px} px. "
            "Choose other patches, input_px or trunk."
        )
    return int(H)
