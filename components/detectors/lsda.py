"""LSDA: a student that learns from teachers of single forgeries, whose latent spaces are widened by augmentation.

Flow     faces (B,3,256,256) -> student  phi (B,512,8,8) -> GAP -> logits (B,2)              all there is at inference
         training only:
         forged faces of method d -> teacher d -> z (F,512,8,8) -> within: direct | indirect | additive | affine  \\
                                                                -> across: mixup with another method's z          > fusion
         genuine faces -> frozen real teacher -> r (R,512,8,8)
         domain head on r and z: which method, if any;   MSE(phi, r) on genuine, MSE(phi, fusion) on forged faces
Source   Yan et al., CVPR 2024, arXiv 2311.11278; SCLBD/DeepfakeBench@8a4a7bf, training/detectors/lsda_detector.py.
Differs  from the public code, which contradicts the paper in places:
         - a sample is a whole map, its centroid a moving average; there a sample is one channel and the centroid the batch's
           (`compat: deepfakebench` gives that variant, without rotation and with its fourth operation);
         - distillation never teaches the teachers: both targets are detached, and each sample of them has mean 0 and
           deviation 1, because nothing else bounds them. What then trains the fusion is the domain head, which must still
           tell which methods were mixed, and how much of each;
         - forged faces need no group of all methods at the same frame: partners of the mixup are drawn from whatever other
           methods a batch holds, and where there is none the mixup does nothing;
         - methods may come one after another: each brings a teacher, a row of the domain head and a centroid;
         - augmentations are drawn for each face, as the code does in the end: that all faces of a group share one draw is
           prepared there and commented out. Down-scaling averages over a half, a third or a quarter of the side, where
           the code takes single pixels of a half or a quarter;
         - the trunks start from other weights of ImageNet; the code's are timm's `tf_efficientnet_b4` with `aa_in1k`.
         The real teacher of the paper is an ArcFace iResNet-100, whose weights we may not ship. `real_encoder: iresnet100`
         reads them from a file; otherwise it is the pretrained trunk itself, frozen, or where nothing is pretrained a slow
         average of the student. In the public code it is drawn at random, and its targets say nothing.
         The identity term (L_real) is off, as in the paper, and a mean where the public code has a sum.
"""

from __future__ import annotations

import copy
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from components.detectors import Detection, Detector
from components.detectors.parts import backbones
from components.errors import MissingWeights
from components.losses import latent_space
from components.params import Section
from components.tasks.dataset import Batch
from components.vocabulary import FORGED, REAL

SIZES: dict[str, dict[str, Any]] = {
    "paper": {**backbones.IMAGENET, "input_px": 256, "width": 512, "shared_teacher": False},
    "tiny": {"trunk": backbones.SMALL, "input_px": 96, "width": 64, "shared_teacher": True},
}

RECIPES: dict[str, dict[str, Any]] = {
    "paper": {  # lsda.yaml and lsda_dataset.py of the public code; `epochs` is ours, the paper has one task
        "learning_rate": 2e-4,
        "weight_decay": 5e-4,
        "schedule": "constant",
        "batch": 20,
        "pairs": True,
        "faces_per_clip": 1,
        "founder_epochs": 50,
        "epochs": 25,
        "augment": {"brightness_contrast": 0.5, "flip": 0.5, "downscale": 0.5, "sharpen": 0.5, "jpeg": 0.5},
    },
    "tiny": {
        "learning_rate": 3e-3,
        "weight_decay": 5e-4,
        "schedule": "steps",
        "step_epochs": 5,
        "batch": 20,
        "pairs": True,
        "faces_per_clip": 4,
        "founder_epochs": 16,
        "epochs": 8,
        "augment": {"flip": 0.5},
    },
}

SIGMAS = (0.1, 0.5)  # the two components of the additive noise, in deviations of the sample
BETA_RANGE = (0.5, 2.0)  # of a, where lambda ~ Beta(a, a)
IRESNET_BLOCKS = {"iresnet18": (2, 2, 2, 2), "iresnet50": (3, 4, 14, 3), "iresnet100": (3, 13, 30, 3)}
IRESNET_CHANNELS = (64, 128, 256, 512)


class LSDAOptions(backbones.TrunkOptions):
    """The paper's values; `size: tiny` is the same architecture for machines without an accelerator."""

    sizes = SIZES
    input_px: int = Field(ge=96, multiple_of=32)
    """By size."""
    width: int = Field(ge=8, multiple_of=2)
    """Channels of every feature map that is compared. By size."""
    shared_teacher: bool
    """One trunk for all teachers, each with a 1x1 convolution of its own; or a trunk each, as in the paper. By size."""
    real_encoder: Literal["self", "imagenet", "iresnet18", "iresnet50", "iresnet100"]
    """Who says what genuine faces look like: a slow average of the student, the pretrained trunk, frozen, or a face
    recogniser. `imagenet` where something is pretrained, otherwise `self`."""
    real_pretrained: str = ""
    """The file with the face recogniser's weights, as ArcFace publishes them."""
    real_pretrained_sha256: str = ""
    real_decay: float = Field(0.999, ge=0, lt=1)
    """Of the slow average, per step. A fast one, such as the usual warm-up (1 + n) / (10 + n), lets the student follow itself
    until every face looks alike to it (the lab's `generated`, 180 steps, two seeds: clip AUC 0.63, against 0.79)."""
    binary_weight: float = Field(0.5, gt=0)
    domain_weight: float = Field(1.0, gt=0)
    distillation_weight: float = Field(1.0, ge=0)
    fusion_weight: float = Field(1.0, gt=0)
    """Of the domain head's reading of fused features; ours."""
    identity_weight: float = Field(0.0, ge=0)
    """Of L_real, for which the last stage of the real teacher learns, and which needs `training.pairs`."""
    reenactments: tuple[str, ...] = ("Face2Face", "NeuralTextures")
    """Methods that keep the identity, for L_real."""
    swaps: tuple[str, ...] = ("Deepfakes", "FaceSwap", "FaceShifter")
    """Methods that exchange it."""
    max_rotation_deg: float = Field(30.0, ge=0)
    centroid_momentum: float = Field(0.9, ge=0, lt=1)
    compat: Literal["none", "deepfakebench"] = "none"

    @classmethod
    def filled(cls, raw: dict[str, Any]) -> dict[str, Any]:
        chosen = super().filled(raw)
        return {"real_encoder": "imagenet" if chosen["pretrained"] else "self", **chosen}

    @model_validator(mode="after")
    def _real_teacher_knows_something(self) -> Self:
        recogniser = self.real_encoder in IRESNET_BLOCKS
        if self.real_encoder != "self" and not self.pretrained:
            raise ValueError(
                f"expected `pretrained` weights with real_encoder '{self.real_encoder}', found none; "
                "name some, or say 'self'"
            )
        if recogniser != bool(self.real_pretrained):
            raise ValueError(
                f"expected `real_pretrained` to name a file with real_encoder 'iresnet…' and with no other, found "
                f"'{self.real_pretrained}' with '{self.real_encoder}'"
            )
        if self.identity_weight and self.real_encoder == "self":
            raise ValueError("expected a real_encoder of its own with `identity_weight`, found 'self'; say 0")
        return self


class LSDA(Detector):
    """The student and its teachers; everything below `self.head` is for training alone."""

    Options: ClassVar[type[Section]] = LSDAOptions

    sigmas: Tensor

    def __init__(self, options: LSDAOptions) -> None:
        super().__init__()
        self.options = options
        self.input_px = options.input_px
        width = options.width
        self.student = Encoder(backbones.built(options, whole=True), width)
        self.head = nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, 2))
        self.side = _side(self.student.trunk, options.input_px)
        self.real_teacher = RealTeacher(self.student, options)
        self.teacher_trunk = copy.deepcopy(self.student.trunk) if options.shared_teacher else None
        self.fusion = _fusion(width)
        self.domain_head = nn.Sequential(nn.Linear(width, width // 2), nn.LeakyReLU())
        self.genuine_row = nn.Linear(width // 2, 1)
        self.domains = nn.ModuleList([self._new_domain()])
        self.register_buffer("sigmas", torch.tensor(SIGMAS), persistent=False)
        self.register_load_state_dict_pre_hook(_grow_to_stored)  # type: ignore[no-untyped-call]

    @staticmethod
    def paper_training(options: LSDAOptions) -> dict[str, Any]:
        return RECIPES[options.size]

    def forward(self, faces: Tensor) -> Detection:
        levels = self.student(backbones.normalised(faces, self.input_px))
        embedding = levels[-1].mean(dim=(2, 3))
        return Detection(self.head(embedding), embedding, levels)

    def losses(self, detection: Detection, batch: Batch) -> dict[str, Tensor]:
        options, found = self.options, detection.levels[-1].float()
        images = backbones.normalised(batch.faces, self.input_px)
        who = self._sorted(batch.methods)
        r = self._real_features(images[who.genuine])
        z = self._taught_features(images[who.forged], who)
        fused, shares = self._fused(z.detach(), who.domains)
        which = batch.methods[torch.cat([who.genuine, who.forged])]
        distance = _mean_square(found[who.genuine], _target(r)) + _mean_square(found[who.forged], _target(fused))
        terms = {
            "cross_entropy": options.binary_weight * F.cross_entropy(detection.logits.float(), batch.labels),
            "domain": options.domain_weight * F.cross_entropy(self._read_domains(torch.cat([r, z])), which),
            "fusion": options.fusion_weight * _soft_cross_entropy(self._read_domains(fused), shares),
            "distillation": options.distillation_weight * distance,
        }
        if options.identity_weight:
            terms["identity"] = options.identity_weight * self._identity(images, batch)
        return terms

    def begin_task(self, methods: Sequence[str]) -> None:
        """Every method gets a domain: those of the first tasks keep theirs, new ones come after them."""
        self.grow(len(methods))
        for method, domain in zip(methods, self._kept, strict=False):
            domain.identity.fill_((method in self.options.reenactments) - (method in self.options.swaps))

    def before_step(self) -> None:
        if self.options.real_encoder == "self":
            self.real_teacher.follow(self.student, self.options.real_decay)

    def grow(self, count: int) -> None:
        """Have at least `count` domains. A new one follows from the weights: its trunk is the student's, and the rest is
        drawn from a seed made of the weights and its number; torch's own generator stays where it is."""
        device = self.genuine_row.weight.device
        while len(self.domains) < count:
            seed = zlib.crc32(self.genuine_row.weight.detach().cpu().numpy().tobytes()) + len(self.domains)
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)
                self.domains.append(self._new_domain().to(device))

    @property
    def _kept(self) -> list[ForgeryDomain]:
        return cast("list[ForgeryDomain]", list(self.domains))

    def _new_domain(self) -> ForgeryDomain:
        trunk = None if self.options.shared_teacher else copy.deepcopy(self.student.trunk)
        return ForgeryDomain(trunk, self.student.trunk.channels[-1], self.options.width, self.side)

    # -- teachers ----------------------------------------------------------------------------------------------------------

    def _sorted(self, methods: Tensor) -> Sorted:
        """Who is who among faces of these methods (B,). Waits for the device once: it decides which teachers look at how many
        faces."""
        told = methods.tolist()
        if max(told, default=0) > len(self.domains):
            raise ValueError(
                f"expected at most {len(self.domains)} forgery methods, found number {max(told)}. "
                "Call begin_task with every method before training."
            )
        genuine = told.count(0)
        order = torch.argsort(methods, stable=True)
        forged, places = order[genuine:].sort()
        faces = {method - 1: told.count(method) for method in sorted(set(told) - {0})}
        return Sorted(order[:genuine], forged, methods[forged] - 1, places, faces)

    def _taught_features(self, images: Tensor, who: Sorted) -> Tensor:
        """z (F, C, H, W) float32: each forged face as the teacher of its own method sees it."""
        if not len(images):
            return self._no_features(images)
        maps = self.teacher_trunk(images)[-1] if self.teacher_trunk is not None else images
        apart = maps[who.places.argsort()].split(list(who.faces.values()))
        parts = [self._kept[d](theirs) for d, theirs in zip(who.faces, apart, strict=True)]
        return torch.cat(parts).float()[who.places]

    def _real_features(self, images: Tensor) -> Tensor:
        """r (R, C, H, W) float32: faces as the real teacher sees them."""
        if not len(images):
            return self._no_features(images)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.real_teacher.learns):
            return F.adaptive_avg_pool2d(self.real_teacher(images)[-1].float(), self.side)

    def _no_features(self, images: Tensor) -> Tensor:
        return images.new_zeros(0, self.options.width, self.side, self.side)

    def _read_domains(self, maps: Tensor) -> Tensor:
        """Logits (N, 1 + K) of maps (N, C, H, W): genuine, then every domain."""
        rows = [self.genuine_row, *(domain.row for domain in self._kept)]
        weight, bias = torch.cat([row.weight for row in rows]), torch.cat([row.bias for row in rows])
        return F.linear(self.domain_head(maps.mean(dim=(2, 3))), weight, bias).float()

    def _identity(self, images: Tensor, batch: Batch) -> Tensor:
        """L_real over the pairs (genuine, forged) in which new faces come when `training.pairs` is set."""
        first = torch.arange(0, len(images) - 1, 2, device=images.device)
        paired = (batch.labels[first] == REAL) & (batch.labels[first + 1] == FORGED) & ~batch.replayed[first + 1]
        first = first[paired]
        seen = self._real_features(images[torch.cat([first, first + 1])])
        signs = torch.stack([domain.identity for domain in self._kept])
        return latent_space.identity(seen[: len(first)], seen[len(first) :], batch.methods[first + 1] - 1, signs)

    # -- the widened latent space ------------------------------------------------------------------------------------------

    def _fused(self, z: Tensor, domains: Tensor) -> tuple[Tensor, Tensor]:
        """The student's targets on forged faces, (F, C, H, W), and how much of each domain is in them, (F, 1 + K).

        fused = fusion([within(z), mixup(z)]);   half of it is the face's own domain, the other half lambda of it
        """
        if not len(z):
            return z, z.new_zeros(0, 1 + len(self.domains))
        partner, lam = other_domain(domains), beta_coefficients(len(z), z.device)
        with torch.no_grad():
            within = self._within_channels(z, domains) if self.options.compat != "none" else self._within(z, domains)
            mixed = latent_space.mixup(z, partner, lam)
        own, others = (latent_space.members(d + 1, 1 + len(self.domains)).float() for d in (domains, domains[partner]))
        shares = 0.5 * own + 0.5 * (lam[:, None] * own + (1 - lam[:, None]) * others)
        return self.fusion(torch.cat([within, mixed], dim=1)).float(), shares

    def _within(self, z: Tensor, domains: Tensor) -> Tensor:
        """One of four operations for each sample, drawn alike."""
        beta = torch.rand(len(z), device=z.device)
        sigma = self.sigmas[torch.randint(len(SIGMAS), (len(z),), device=z.device)]
        degrees = (2 * torch.rand(len(z), device=z.device) - 1) * self.options.max_rotation_deg
        centroid = self._centroids(z, domains)
        hard = z[latent_space.hardest(z, domains, centroid)]
        return _one_of(
            latent_space.centrifugal_direct(z, centroid[domains], beta),
            latent_space.centrifugal_indirect(z, hard[domains], beta),
            latent_space.additive(z, torch.randn(z.shape, device=z.device), sigma * z.flatten(1).std(dim=1), beta),
            latent_space.rotate(z, degrees),
        )

    def _within_channels(self, z: Tensor, domains: Tensor) -> Tensor:
        """The public code's four operations, for which every channel is a sample with coefficients of its own."""
        C = z.shape[1]
        maps, own = z.flatten(0, 1), domains.repeat_interleave(C)
        beta, sigma = torch.rand(2, len(maps), device=z.device)
        centroid, _ = latent_space.centroids(maps, own, len(self.domains))
        hard = maps[latent_space.hardest(maps, own, centroid)]
        first, second = (z[:, c].repeat_interleave(C, dim=0) for c in (0, 1))
        made = (
            latent_space.centrifugal_indirect(maps, hard[own], beta),
            latent_space.centrifugal_direct(maps, centroid[own], beta),
            latent_space.additive(maps, torch.randn(maps.shape, device=z.device), sigma, beta),
            latent_space.difference(maps, first, second, beta),
        )
        return _one_of(*(maps.reshape(z.shape) for maps in made))

    def _centroids(self, z: Tensor, domains: Tensor) -> Tensor:
        """Moving averages of the domains' samples, (K, C, H, W), this batch included; kept while training."""
        means, count = latent_space.centroids(z, domains, len(self.domains))
        before, met = (torch.stack([getattr(domain, name) for domain in self._kept]) for name in ("centroid", "seen"))
        now = count > 0
        moved = latent_space.moved(before, means, momentum=self.options.centroid_momentum)
        moved = torch.where(_maps(now), torch.where(_maps(met), moved, means), before)
        if self.training:
            for domain, centroid, seen in zip(self._kept, moved, met | now, strict=True):
                domain.centroid.copy_(centroid)
                domain.seen.copy_(seen)
        return moved


@dataclass(frozen=True)
class Sorted:
    """Who is who in a batch."""

    genuine: Tensor
    """(R,) positions."""
    forged: Tensor
    """(F,) positions."""
    domains: Tensor
    """(F,) of the forged ones, from 0."""
    places: Tensor
    """(F,) where each forged face stands once they are sorted by domain."""
    faces: dict[int, int]
    """How many there are of each domain that the batch holds, in order."""


class Encoder(nn.Module):
    """A trunk and the 1x1 convolution that brings its last map to `width` channels."""

    def __init__(self, trunk: backbones.Trunk, width: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.mix = nn.Conv2d(trunk.channels[-1], width, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) -> the trunk's maps, fine to coarse, the last one mixed."""
        *finer, last = self.trunk(images)
        return *finer, self.mix(last)


class ForgeryDomain(nn.Module):
    """All that is kept of one forgery method: its teacher, its row of the domain head, its centroid."""

    centroid: Tensor
    seen: Tensor
    identity: Tensor

    def __init__(self, trunk: backbones.Trunk | None, channels: int, width: int, side: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.mix = nn.Conv2d(channels, width, 1)
        self.row = nn.Linear(width // 2, 1)
        self.register_buffer("centroid", torch.zeros(width, side, side))
        self.register_buffer("seen", torch.tensor(False))
        self.register_buffer("identity", torch.tensor(0))  # 1 keeps who is seen, -1 exchanges it, 0 nobody said

    def forward(self, maps: Tensor) -> Tensor:
        """Images, or what a shared trunk made of them -> features (F, width, H, W)."""
        features: Tensor = self.mix(maps if self.trunk is None else self.trunk(maps)[-1])
        return features


class RealTeacher(Encoder):
    """A frozen encoder of genuine faces, always in evaluation mode.

    Where its trunk is not the student's average, a fixed rotation into `width` channels stands for the 1x1 convolution.
    """

    def __init__(self, student: Encoder, options: LSDAOptions) -> None:
        trunk = copy.deepcopy(student.trunk) if options.real_encoder not in IRESNET_BLOCKS else _iresnet(options)
        super().__init__(trunk, options.width)
        self.learns = options.identity_weight > 0
        self.requires_grad_(False)
        self.trunk.stages[-1].requires_grad_(self.learns)
        if options.real_encoder == "self":
            self.mix.load_state_dict(student.mix.state_dict())
        else:
            nn.init.orthogonal_(self.mix.weight)
            nn.init.zeros_(self.mix.bias)  # type: ignore[arg-type]
        self.eval()

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 it never does
        return super().train(False)

    @torch.no_grad()
    def follow(self, student: Encoder, decay: float) -> None:
        """own = decay own + (1 - decay) student, statistics included."""
        pairs = list(zip(_values(self), _values(student), strict=True))  # all at once: there are hundreds
        floats, counts = ([p for p in pairs if p[0].is_floating_point() == kind] for kind in (True, False))
        torch._foreach_lerp_([own for own, _ in floats], [their for _, their in floats], 1 - decay)
        torch._foreach_copy_([own for own, _ in counts], [their for _, their in counts])


def other_domain(domains: Tensor) -> Tensor:
    """For each sample one of another domain, every other domain being equally likely; itself where there is none.

    domains (F,) long. Returns indices (F,).
    """
    alike = domains[:, None] == domains
    size = alike.sum(dim=0)  # (F,) of each sample's domain
    race = torch.empty(len(domains), len(domains), device=domains.device).exponential_() * size
    race = race.masked_fill(alike, torch.inf)
    alone = (domains == domains[:1]).all()
    return torch.where(alone, torch.arange(len(domains), device=domains.device), race.argmin(dim=1))


def beta_coefficients(count: int, device: torch.device) -> Tensor:
    """lambda ~ Beta(a, a), a ~ U(0.5, 2), for each sample anew; (count,)."""
    low, high = BETA_RANGE
    a = low + (high - low) * torch.rand(count, device=device)
    return torch.distributions.Beta(a, a, validate_args=False).sample()  # validation waits for the device


def _grow_to_stored(network: LSDA, state: Mapping[str, Any], prefix: str, *_: Any) -> None:
    """A grown network's weights find room in a fresh one."""
    start = f"{prefix}domains."
    stored = [int(name.removeprefix(start).partition(".")[0]) for name in state if name.startswith(start)]
    network.grow(max(stored, default=-1) + 1)


def _one_of(*made: Tensor) -> Tensor:
    """For each sample (N, …) one of the results, all equally likely."""
    choice = torch.randint(len(made), (len(made[0]),), device=made[0].device)
    return torch.stack(made)[choice, torch.arange(len(choice), device=choice.device)]


def _maps(values: Tensor) -> Tensor:
    """(N,) -> (N, 1, 1, 1)."""
    return values[:, None, None, None]


def _values(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _mean_square(found: Tensor, target: Tensor) -> Tensor:
    """MSE, 0 for no samples."""
    return (found - target).square().sum() / max(target.numel(), 1)


def _target(maps: Tensor) -> Tensor:
    """Maps (N, C, H, W) to be followed: no gradient, and each sample brought to mean 0 and deviation 1."""
    return F.layer_norm(maps.detach(), maps.shape[1:])


def _soft_cross_entropy(logits: Tensor, shares: Tensor) -> Tensor:
    """Cross entropy against distributions (N, K), 0 for no samples."""
    return -(shares * logits.log_softmax(dim=1)).sum() / max(len(logits), 1)


def _fusion(width: int) -> nn.Sequential:
    """Two augmented copies, concatenated, to one: (F, 2 width, H, W) -> (F, width, H, W)."""
    return nn.Sequential(
        nn.Conv2d(2 * width, width, 1),
        nn.LeakyReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.LeakyReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.LeakyReLU(),
    )


def _side(trunk: backbones.Trunk, input_px: int) -> int:
    """Side of the trunk's last map."""
    blank = torch.zeros(1, 3, input_px, input_px)
    trunk.eval()  # looking leaves the statistics alone
    with torch.no_grad():
        side = trunk(blank)[-1].shape[-1]
    trunk.train()
    return int(side)


# -- the face recogniser ---------------------------------------------------------------------------------------------------


def _iresnet(options: LSDAOptions) -> backbones.Trunk:
    """ArcFace's residual network without its last layers; names are those of the published files. Raises MissingWeights.

    Nothing is read where `pretrained` is empty, because then a generation's own weights are about to be loaded.
    """
    before, layers = IRESNET_CHANNELS[0], OrderedDict[str, nn.Module]()
    layers["conv1"] = nn.Conv2d(3, before, 3, padding=1, bias=False)
    layers["bn1"], layers["prelu"] = nn.BatchNorm2d(before), nn.PReLU(before)
    for level, (C, blocks) in enumerate(zip(IRESNET_CHANNELS, IRESNET_BLOCKS[options.real_encoder], strict=True), 1):
        layers[f"layer{level}"] = nn.Sequential(
            *(Residual(C if block else before, C, stride=1 if block else 2) for block in range(blocks))
        )
        before = C
    layers["bn2"] = nn.BatchNorm2d(before)
    parts = [nn.Sequential(*list(layers.values())[:4]), layers["layer2"], layers["layer3"]]
    parts.append(nn.Sequential(layers["layer4"], layers["bn2"]))
    layers["fc"], layers["features"] = nn.Linear(before * 7 * 7, 512), nn.BatchNorm1d(512)  # read, and dropped
    path = Path(options.real_pretrained).expanduser()
    if options.pretrained:
        if not path.is_file():
            raise MissingWeights(
                f"expected the weights of a face recogniser '{options.real_encoder}' at '{path}', found none. Put ArcFace's "
                "file there, or choose another `real_encoder`."
            )
        backbones.load_weights(nn.Sequential(layers), path, kept=parts, sha256=options.real_pretrained_sha256)
    return backbones.Trunk(parts, list(IRESNET_CHANNELS))


class Residual(nn.Module):
    """iResNet's block (Duta et al. 2020): normalised first, and PReLU in between alone."""

    def __init__(self, before: int, after: int, *, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.prelu = nn.PReLU(after)
        self.conv2 = nn.Conv2d(after, after, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, A: Tensor) -> Tensor:
        kept = A if self.downsample is None else self.downsample(A)
        added: Tensor = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(A))))))
        return kept + added
