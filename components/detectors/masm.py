"""MASM: a frozen CLIP tower whose layers keep their principal subspace and learn artifacts in what it leaves over (FMSD).

Flow     faces (B,3,224,224) -> CLIP ViT-L/14 -> class token (B,1024) -> logits (B,2)
         q, k, v and out of every block: x W_p^T + b + sum_k (x V_k^T * s_k) U_k^T      K = 4 subspaces of rank 4 learn
         training only: cross entropy, orthogonality, spectral consistency; a mask says which layers may move
Source   arXiv 2601.01041: v1 "Multi-Artifact Subspace Fine-Tuning and Selective Layer Masking" (MASM), v3 renamed FMSD, whose
         layer mask comes from the bias and the variance of layer-wise gradients. Its repository (709630440/FMSD) holds no
         code and its hyper-parameters are not known: K, rank, weights, forms and schedules are our reading. The recipe is
         that of Effort, the nearest published code (SCLBD/DeepfakeBench @ 8a4a7bf5e966), which K = 1, rank = 1 equals.
Differs  q, k and v are decomposed each by itself; no weight decay, which would fight the spectral term; a task after the
         first has a subspace of its own (t mod K) and leaves the others nearly in peace, which the paper does not consider.
         Half of Effort's faces change their brightness and contrast, or their principal colours, or their hue and
         saturation, one of the three drawn for each; here all of that half change brightness and contrast.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from components.detectors import Detection, Detector, Sized
from components.detectors.parts import clip
from components.detectors.parts.subspaces import (
    SplitAttention,
    SplitLinear,
    decomposed,
    drawn,
    lent,
    side_by_side,
)
from components.losses import subspaces
from components.params import Section, Share
from components.progress import shown
from components.tasks.dataset import Batch
from components.vocabulary import FORGED, REAL

SIZES: dict[str, dict[str, Any]] = {
    "paper": {"tower": "ViT-L-14-quickgelu", "pretrained": "openai", "warmup_steps": 100, "period_steps": 100},
    "tiny": {
        "tower": "small",
        "pretrained": "lab",
        "rank": 8,
        "mlp": True,
        "warmup_steps": 20,
        "period_steps": 20,
    },
}


class MASMOptions(Sized):
    """The paper's values where it states them, and ours; `size: tiny` is the same for machines without an accelerator."""

    sizes = SIZES
    tower: str
    """A vision transformer of open_clip, or `small`. By size."""
    pretrained: str
    """Weights of the tower: a file, one of open_clip's tags, `lab` for the small one; "" draws tower and subspaces. By size."""
    pretrained_sha256: str = ""
    input_px: int | None = Field(None, ge=32)
    """Side of the images; the tower's own where nothing is said."""
    subspaces: int = Field(4, ge=1)
    """K."""
    rank: int = Field(4, ge=1)
    """Singular triplets of each subspace; 8 at `tiny`."""
    mlp: bool = False
    """Split both layers of every MLP too; so at `tiny`, whose tower has fewer weights to split than a family asks for."""
    orthogonality_weight: float = Field(0.1, ge=0)
    spectral_weight: float = Field(0.01, ge=0)
    mode: Literal["dynamic", "one_shot", "off"] = "dynamic"
    """The mask: chosen again and again, chosen once before any layer has moved (FMSD decomposes chosen layers only), or
    everything on."""
    keep: Share = 0.5
    """Share of the layers in which a subspace may move."""
    keep_earlier: Share = 0.1
    """The same, after the first task, for subspaces that are not the task's own."""
    warmup_steps: int = Field(ge=1)
    """Gradients are watched for so long before the first choice. By size."""
    period_steps: int = Field(ge=1)
    """Steps between choices. By size."""
    decay: float = Field(0.9, gt=0, lt=1)
    """Of the running means of gradients."""
    hysteresis: Share = 0.05
    """A layer is exchanged for one that ranks better by more than this share of the layers."""
    checkpointing: bool = False
    """Recompute blocks in the backward pass instead of keeping them: less memory, a third more time."""


@dataclass
class Seen(Detection):
    """With the factors by which it was seen, so that the penalties need not gather them again."""

    factors: tuple[tuple[Tensor, Tensor, Tensor], ...] = ()
    """U, s, V, as `side_by_side` puts them, for every shape of layers."""


class MASM(Detector):
    """A pretrained tower, with K small subspaces in each of its layers that learn what gives forgeries away."""

    Options: ClassVar[type[Section]] = MASMOptions

    tasks: Tensor

    def __init__(self, options: MASMOptions) -> None:
        super().__init__()
        self.options = options
        self.tower = clip.tower(
            options.tower,
            pretrained=options.pretrained,
            sha256=options.pretrained_sha256,
            input_px=options.input_px,
            checkpointing=options.checkpointing,
        ).requires_grad_(False)
        self.input_px = self.tower.input_px
        self._split()
        self.head = nn.Linear(self.tower.width, 2)
        self.mask = LayerMask(self.layers(), options)
        self.register_buffer("tasks", torch.zeros((), dtype=torch.long))

    @staticmethod
    def paper_training(options: Any) -> dict[str, Any]:
        """Effort's, without its weight decay; at `tiny`, faster and with little augmentation."""
        effort = {"flip": 0.5, "rotate": 0.5, "blur": 0.5, "brightness_contrast": 0.5, "jpeg": 0.5}
        paper: dict[str, Any] = {
            "learning_rate": 2e-4,
            "weight_decay": 0.0,
            "schedule": "constant",
            "batch": 32,
            "founder_epochs": 10,
            "epochs": 10,
            "faces_per_clip": 8,
            "augment": effort,
        }
        if options.size == "paper":
            return paper
        falling = {"schedule": "cosine_cycles", "cycle_epochs": 12, "warmup_epochs": 1, "floor_learning_rate": 1e-4}
        lessons = {"founder_epochs": 12, "epochs": 12, "faces_per_clip": 3, "augment": {"flip": 0.5}}
        return {**paper, **falling, **lessons, "learning_rate": 8e-3}

    def forward(self, faces: Tensor) -> Detection:
        factors = self._factors()
        with ExitStack() as stack:
            if not self.options.checkpointing:  # a block that is computed again, later, finds nothing lent
                for layers, theirs in zip(self.alike, factors, strict=True):
                    stack.enter_context(lent(layers, theirs))
            embedding, levels = self.tower(self.tower.normalised(faces))
        return Seen(self.head(embedding), embedding, levels, factors=factors)

    def losses(self, detection: Detection, batch: Batch) -> dict[str, Tensor]:
        terms = {"cross_entropy": F.cross_entropy(detection.logits.float(), batch.labels)}
        if not (self.options.orthogonality_weight or self.options.spectral_weight):
            return terms
        factors = detection.factors if isinstance(detection, Seen) else self._factors()
        orthogonality, spectral = self._departures(factors)
        return terms | {
            "orthogonality": self.options.orthogonality_weight * orthogonality,
            "spectral": self.options.spectral_weight * spectral,
        }

    def begin_task(self, methods: Sequence[str]) -> None:  # noqa: ARG002 tasks are counted, not methods
        self.tasks += 1
        self.mask.reset()

    def before_step(self) -> None:
        """Leave alone the subspaces that the mask excludes, after it has seen their gradients."""
        if self.options.mode != "off":
            self.mask.step(self.layers(), self._shares())

    @torch.no_grad()
    def readout(self, faces: Tensor) -> Tensor:
        """How much each artifact subspace speaks for "forged": faces (B, 3, H, W) -> (B, K).

        The fall of the log-odds, logit_forged - logit_real, when subspace k is taken out of every layer.
        """
        whole = self._log_odds(faces)
        falls = []
        for k in range(self.options.subspaces):
            with self._without(k):
                falls.append(whole - self._log_odds(faces))
        return torch.stack(falls, dim=1)

    def layers(self) -> list[SplitLinear]:
        """Every split layer, from the first block to the last."""
        return self._layers

    @cached_property
    def _layers(self) -> list[SplitLinear]:
        return [module for module in self.tower.modules() if isinstance(module, SplitLinear)]

    @cached_property
    def alike(self) -> list[list[SplitLinear]]:
        """The split layers by shape."""
        return [list(layers) for _, layers in groupby(sorted(self.layers(), key=_shape), key=_shape)]

    def _split(self) -> None:
        """Put split layers where the tower has plain ones."""
        blocks: Iterable[Any] = self.tower.blocks
        for block in shown(blocks, "decomposing", total=len(self.tower.blocks)):
            block.attn = SplitAttention(block.attn, self._split_linear)
            if self.options.mlp:
                block.mlp.c_fc = self._split_linear(block.mlp.c_fc)
                block.mlp.c_proj = self._split_linear(block.mlp.c_proj)

    def _split_linear(self, linear: nn.Linear) -> SplitLinear:
        count = self.options.subspaces * self.options.rank
        triplets = decomposed(linear.weight, count) if self.options.pretrained else drawn(linear, count)
        return SplitLinear(linear, triplets, subspaces=self.options.subspaces)

    def _factors(self) -> tuple[tuple[Tensor, Tensor, Tensor], ...]:
        return tuple(side_by_side(layers) for layers in self.alike)

    def _departures(self, factors: Sequence[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Both penalties, means over layers; layers of one shape are computed at once."""
        orthogonality, spectral = [], []
        for layers, (U, s, V) in zip(self.alike, factors, strict=True):
            U_0, s_0, V_0, energy = (
                torch.stack([getattr(layer, name) for layer in layers]) for name in ("u_0", "s_0", "v_0", "energy")
            )
            with torch.autocast(U.device.type, enabled=False):
                W_pV = torch.stack([layer.principal @ v.T for layer, v in zip(layers, V, strict=True)])
            orthogonality.append(subspaces.orthogonality(U, V, U_0, V_0))
            spectral.append(subspaces.spectral_consistency(W_pV, U, s.view_as(s_0), V, s_0, energy))
        return torch.cat(orthogonality).mean(), torch.cat(spectral).mean()

    def _shares(self) -> Tensor:
        """Share of layers in which each subspace may move, (K,): all alike in the first task, then the task's own first."""
        K, task = self.options.subspaces, self.tasks - 1
        own = (torch.arange(K, device=task.device) == task % K) | (task <= 0)
        return torch.where(own, self.options.keep, self.options.keep_earlier)

    def _log_odds(self, faces: Tensor) -> Tensor:
        logits = self(faces).logits.float()
        return logits[:, FORGED] - logits[:, REAL]

    @contextmanager
    def _without(self, k: int) -> Iterator[None]:
        strengths = [layer.s[k] for layer in self.layers()]
        before = [s.clone() for s in strengths]
        try:
            for s in strengths:
                s.zero_()
            yield
        finally:
            for s, value in zip(strengths, before, strict=True):
                s.copy_(value)


Known = tuple[int, list[tuple[int, int]]]
"""Steps of this task, and which subspaces of which layers are off, (layer, k)."""


class LayerMask(nn.Module):
    """In which layers each subspace may move: where its gradients agree from step to step.

        g_bar, (g^2)_bar: running means of the gradient of {U_k, s_k, V_k} and of its square
        bias^2 b = mean(g_bar^2),   variance v = mean((g^2)_bar) - b,   q = b / v

    For each subspace the layers with the greatest q are kept. Gradients of the others are watched all the same, so that
    every layer can come back. Everything lies in buffers, so that a killed run goes on alike.

    What is on is known beside the device, too, because every step asks for it.

    on       (L, K) bool
    steps    () long, steps of this task
    means    (N,), g_bar of all layers, one after the other
    squares  (L, K), mean((g^2)_bar)
    """

    on: Tensor
    steps: Tensor
    means: Tensor
    squares: Tensor

    def __init__(self, layers: Sequence[SplitLinear], options: MASMOptions) -> None:
        super().__init__()
        self.options = options
        self.numbers = [layer.learned() for layer in layers]
        self.register_buffer("on", torch.ones(len(layers), options.subspaces, dtype=torch.bool))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("means", torch.zeros(options.subspaces * sum(self.numbers)))
        self.register_buffer("squares", torch.zeros(len(layers), options.subspaces))
        self.reset()

    def reset(self) -> None:
        """As before the first step. Where layers are chosen once, none moves before that choice."""
        self.on.fill_(self.options.mode != "one_shot")
        for values in (self.steps, self.means, self.squares):
            values.zero_()
        self._known: Known | None = None

    def step(self, layers: Sequence[SplitLinear], shares: Tensor) -> None:
        """Watch this step's gradients, take away those of excluded subspaces, and choose anew where it is time.

        shares (K,): of the layers, those kept for each subspace.
        """
        steps, off = self._known or self._read()
        self._watch(layers)
        for number, k in off:
            layers[number].leave(k)
        self._known = steps + 1, off
        since = steps + 1 - self.options.warmup_steps
        if since == 0 or (since > 0 and self.options.mode == "dynamic" and since % self.options.period_steps == 0):
            shares = shares.to(self.on.device)
            self.on.copy_(chosen(self.scores(), self.on, shares, hysteresis=self.options.hysteresis))
            self._known = self._read()

    def scores(self) -> Tensor:
        """q, (L, K)."""
        bias = self._mean_squares(self.means)
        # The design's 1e-12 beside v would outweigh it: gradients of a large tower are of the order of 1e-7.
        return bias / (self.squares - bias).clamp(min=torch.finfo(bias.dtype).tiny)

    def _watch(self, layers: Sequence[SplitLinear]) -> None:
        fresh = 1 - self.options.decay
        gradients = torch.cat([slope for layer in layers for slope in layer.slopes()])
        self.means.lerp_(gradients, fresh)
        self.squares.lerp_(self._mean_squares(gradients), fresh)
        self.steps += 1

    def _mean_squares(self, values: Tensor) -> Tensor:
        """Of numbers (N,) of all layers one after the other, the mean square of each subspace: (L, K)."""
        K, runs = self.options.subspaces, [(n, len(list(alike))) for n, alike in groupby(self.numbers)]
        parts = torch.split(values.square(), [layers * K * n for n, layers in runs])
        return torch.cat([part.view(-1, K, n).mean(dim=2) for part, (n, _) in zip(parts, runs, strict=True)])

    def _read(self) -> Known:
        """Waits for the device."""
        return int(self.steps), [(number, k) for number, k in (~self.on).nonzero().tolist()]

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._known = None


def chosen(scores: Tensor, on: Tensor, shares: Tensor, *, hysteresis: float) -> Tensor:
    """The layers in which each subspace may move from now on, (L, K) bool: the share with the greatest scores, one at least.

    scores (L, K); on (L, K) bool, the choice so far; shares (K,). A layer takes another one's place only where it ranks
    better by more than `hysteresis` of all layers: what is on is ahead by so much.
    """
    count = len(scores)
    lead = _ranks(-scores) - hysteresis * count * on
    return _ranks(lead) < (shares * count).round().clamp(min=1)


def _ranks(values: Tensor) -> Tensor:
    """Place of each value in its column, 0 the smallest, equal ones in their order; (L, K) -> (L, K)."""
    return values.argsort(dim=0, stable=True).argsort(dim=0)


def _shape(layer: SplitLinear) -> tuple[int, ...]:
    return tuple(layer.principal.shape)
