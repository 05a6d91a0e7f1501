"""The vision tower of CLIP without its projection, shared by the detectors that adapt it.

    eye = tower("ViT-L-14-quickgelu", pretrained="openai")
    cls, levels = eye(eye.normalised(faces))                   # (B, width), four maps (B, width, h, w)

A tower is any plain vision transformer of open_clip's catalogue, or "small": the same shape for one CPU core, whose
weights this package brings along ("lab", see `pretrain`). How weights are named stands in `weights`.

Source   Radford et al. 2021 (CLIP); modules of mlfoundations/open_clip 3.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from components import torchvision_ops
from components.detectors.parts.clip import weights
from components.detectors.parts.clip.blocks import streamlined
from components.detectors.parts.clip.weights import SMALL
from components.errors import BadParams, UnknownName

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)

SMALL_CONFIG: dict[str, Any] = {
    "embed_dim": 96,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 96, "patch_size": 12, "width": 96, "layers": 5, "head_width": 24, "mlp_ratio": 4.0},
}


class Tower(nn.Module):
    """Patches and a class token through blocks of attention; the class token is the answer.

    blocks  open_clip's residual attention blocks, in order: `ln_1`, `attn` (q, k, v fused), `ln_2`, `mlp`
    width   of a token
    input_px  side of the images it takes
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, vision: Any, *, checkpointing: bool = False) -> None:
        super().__init__()
        self.width: int = vision.conv1.out_channels
        self.input_px: int = vision.image_size[0]
        self.grid: tuple[int, int] = vision.grid_size
        self.checkpointing = checkpointing
        self.conv1: nn.Conv2d = vision.conv1
        self.class_embedding: nn.Parameter = vision.class_embedding
        self.positional_embedding: nn.Parameter = vision.positional_embedding
        self.ln_pre: nn.Module = vision.ln_pre
        self.blocks = nn.ModuleList(streamlined(block) for block in vision.transformer.resblocks)
        self.ln_post: nn.Module = vision.ln_post
        depth = len(self.blocks)
        self.shown = {depth // 4, depth // 2, depth * 3 // 4, depth - 1}  # what enters these blocks is a level
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Normalised images (B, 3, input_px, input_px) -> class token (B, width) after the last norm, and the maps
        (B, width, h, w) of the patches that enter the blocks at 1/4, 1/2, 3/4 of the depth and the last one.

        Heat maps need the patches that enter the last block: those that leave it have no influence on the answer.
        """
        tokens = self._embedded(images)
        levels: list[Tensor] = []
        for depth, block in enumerate(self.blocks):
            if depth in self.shown:
                maps = tokens[:, 1:].mT.reshape(-1, self.width, *self.grid)
                # The tokens are made of the map again, because slopes at a map need a path through it.
                tokens = torch.cat([tokens[:, :1], maps.flatten(2).mT], dim=1)
                levels.append(maps)
            if self.checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, use_reentrant=False, preserve_rng_state=False)
            else:
                tokens = block(tokens)
        return self.ln_post(tokens[:, 0]), tuple(levels)

    def normalised(self, faces: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, 3, input_px, input_px) of CLIP's mean and deviation."""
        return (resized(faces, self.input_px) - self.mean) / self.deviation

    def _embedded(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 1 + h w, width), the class token first."""
        patches = self.conv1(images).flatten(2).mT
        first = self.class_embedding.to(patches.dtype).expand(len(images), 1, -1)
        tokens: Tensor = self.ln_pre(torch.cat([first, patches], dim=1) + self.positional_embedding.to(patches.dtype))
        return tokens


def tower(
    name: str, *, pretrained: str = "", sha256: str = "", input_px: int | None = None, checkpointing: bool = False
) -> Tower:
    """The vision tower of CLIP model `name`.

    pretrained     "" (random), a file, one of open_clip's tags ("openai"), or "lab" for the small tower
    input_px       the side it shall take instead of its own; stored positions are interpolated
    checkpointing  recompute blocks in the backward pass instead of keeping them
    Raises UnknownName, BadParams, MissingWeights.
    """
    config = _config(name)
    vision = vision_transformer(config, input_px)
    if pretrained:
        weights.load(vision, weights.find(name, config, pretrained), sha256)
    return Tower(vision, checkpointing=checkpointing)


def resized(faces: Tensor, side_px: int) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> (B, 3, side, side) in [0, 1], bicubic."""
    if faces.shape[-2:] == (side_px, side_px):
        return faces
    faces = F.interpolate(faces, (side_px, side_px), mode="bicubic", antialias=True, align_corners=False)
    return faces.clamp(0, 1)  # bicubic weights overshoot at edges; images of eight bits cannot


def _config(name: str) -> dict[str, Any]:
    if name == SMALL:
        return SMALL_CONFIG
    torchvision_ops.complete()
    import open_clip  # here, so that reading options costs no import of open_clip and torchvision

    config: dict[str, Any] | None = open_clip.get_model_config(name)
    if config is None:
        raise UnknownName("CLIP model", name, [SMALL, *open_clip.list_models()])
    vision = config["vision_cfg"]
    plain = "timm_model_name" not in vision and isinstance(vision.get("layers"), int)
    if not plain or vision.get("attentional_pool") or vision.get("pool_type", "tok") != "tok":
        raise BadParams(
            f"expected a plain vision transformer with a class token, found '{name}'. "
            "Choose one such as 'ViT-B-16-quickgelu' or 'ViT-L-14-quickgelu'."
        )
    return config


def vision_transformer(config: dict[str, Any], input_px: int | None = None) -> Any:
    """open_clip's own network of this shape, with random weights and a projection; no patch is ever dropped."""
    torchvision_ops.complete()
    from open_clip.model import _build_vision_tower

    other = {"patch_dropout": 0.0} | ({} if input_px is None else {"image_size": input_px})
    return _build_vision_tower(config["embed_dim"], config["vision_cfg"] | other, config.get("quick_gelu", False))
