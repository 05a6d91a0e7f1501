"""Trunks that detectors share, cut into stages so that a paper may step in between, and the weights they start from.

    trunk = build("efficientnet_b4", pretrained="ra2_in1k")
    for stage in trunk.stages: maps = stage(maps)          # (B, trunk.channels[l], H_l, W_l), fine to coarse

A trunk is any timm network whose parts follow one another (ResNets, EfficientNets, MobileNets, ConvNeXts, …), or "small",
built here for machines without an accelerator.

Weights are named in three ways: "" (none), a file (a path), or one of timm's tags, such as "ra2_in1k", whose file is taken
from torch's cache or, where there is a network, fetched into it.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components import torchvision_ops
from components.errors import BadParams, MissingWeights, UnknownName

SMALL = "small"
SMALL_STEM = 16
SMALL_CHANNELS = (32, 32, 48, 64)
LEVELS = 4
POOLING = {"global_pool", "head", "fc", "classifier"}  # what a timm network ends with begins at one of these
WEIGHT_FILES = (".safetensors", ".pt", ".pth", ".bin")
FETCH_TIMEOUT_S = 30


class Trunk(nn.Module):
    """Stages in order, each of which halves the map of the one before."""

    def __init__(self, stages: list[nn.Module], channels: list[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.channels = tuple(channels)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) -> the maps of all levels, fine to coarse."""
        levels: list[Tensor] = []
        for stage in self.stages:
            images = stage(images)
            levels.append(images)
        return tuple(levels)


def resized(faces: Tensor, side_px: int) -> Tensor:
    """(B, 3, H, W) -> (B, 3, side, side), bilinear and antialiased."""
    if faces.shape[-2:] == (side_px, side_px):
        return faces
    return F.interpolate(faces, (side_px, side_px), mode="bilinear", antialias=True, align_corners=False)


def normalised(faces: Tensor, side_px: int) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> (B, 3, side, side) in [-1, 1] (mean and deviation 0.5)."""
    return resized(faces, side_px) * 2 - 1


def build(
    name: str,
    *,
    pretrained: str = "",
    sha256: str = "",
    trunk_options: Mapping[str, Any] | None = None,
    whole: bool = False,
) -> Trunk:
    """Trunk `name`; `trunk_options` go to timm's builder. Raises UnknownName, BadParams, MissingWeights.

    whole: the last stage keeps what stands between its level and the pooling, such as an EfficientNet's head convolution.
    """
    if name == SMALL:
        if pretrained:
            raise BadParams(f"expected no pretrained weights for the trunk '{SMALL}', found '{pretrained}'. Say ''.")
        return small()
    network = _timm_network(name, trunk_options or {})
    trunk = _cut(name, network, whole=whole)
    if pretrained:
        load_weights(network, find_weights(name, network, pretrained), kept=list(trunk.stages), sha256=sha256)
    return trunk


def small() -> Trunk:
    """Four stages for one CPU core: an eighth of the image after the first, then halved; 3 x 3 convolutions throughout.

    The first map is half as wide as a timm trunk's, because there a detector spends most of its time.
    """
    stages: list[nn.Module] = []
    before = SMALL_STEM
    for level, channels in enumerate(SMALL_CHANNELS):
        stem = [] if level else [_convolution(3, SMALL_STEM, stride=2), _convolution(SMALL_STEM, SMALL_STEM, stride=2)]
        stages.append(nn.Sequential(*stem, _convolution(before, channels, stride=2)))
        before = channels
    return Trunk(stages, list(SMALL_CHANNELS))


def _convolution(before: int, after: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )


def _timm_network(name: str, options: Mapping[str, Any]) -> nn.Module:
    torchvision_ops.complete()
    import timm  # here, so that reading options costs no import of timm and torchvision

    if not timm.is_model(name):
        raise UnknownName("trunk", name, [SMALL, *timm.list_models()])
    network: nn.Module = timm.create_model(name, pretrained=False, **options)
    for part in network.modules():
        if isinstance(part, nn.SiLU):
            part.inplace = False  # its slope needs what it was given: in place, autograd copies that first
    return network


def _cut(name: str, network: Any, *, whole: bool) -> Trunk:
    """`network`, cut after each of its last four feature levels. whole: keep all that comes before the pooling, too."""
    levels: Any = list(getattr(network, "feature_info", []))[-LEVELS:]
    ends = [level["module"] for level in levels]
    stages: list[nn.Sequential] = []
    stage: list[nn.Module] = []
    for place, part in _parts(network, nested=any("." in end for end in ends)):
        if place.partition(".")[0] in POOLING:
            break
        stage.append(part)
        if place in ends:
            stages.append(nn.Sequential(*stage))
            stage = []
    reductions = [level["reduction"] for level in levels]
    if len(stages) != LEVELS or reductions != sorted(set(reductions)):
        raise BadParams(
            f"expected a trunk with {LEVELS} feature levels whose parts follow one another, found '{name}'. "
            "Choose a ResNet, EfficientNet, MobileNetV2 or ConvNeXt of timm."
        )
    channels = [level["num_chs"] for level in levels]
    if whole and stage:
        stages[-1].extend(stage)
        channels[-1] = network.num_features
    return Trunk([*stages], channels)


def _parts(network: nn.Module, *, nested: bool) -> Iterator[tuple[str, nn.Module]]:
    """The parts of `network` in order; `nested` opens its sequences ("blocks" -> "blocks.0", "blocks.1", …)."""
    for name, part in network.named_children():
        if nested and isinstance(part, nn.Sequential):
            yield from ((f"{name}.{child}", module) for child, module in part.named_children())
        else:
            yield name, part


# -- weights -------------------------------------------------------------------------------------------------------------


def find_weights(name: str, network: nn.Module, pretrained: str) -> Path:
    """The file that `pretrained` names: itself, or timm's file for that tag of `name`; raises MissingWeights."""
    if "/" in pretrained or pretrained.endswith(WEIGHT_FILES):
        path = Path(pretrained).expanduser()
        if not path.is_file():
            raise MissingWeights(_advice(f"weights of '{name}' at '{path}'", path.name, network, digest=""))
        return path
    return _tagged_weights(name, network, pretrained)


def _tagged_weights(name: str, network: nn.Module, tag: str) -> Path:
    import timm

    known = [model.partition(".")[2] for model in timm.list_pretrained(f"{name}.*")]
    config = timm.get_pretrained_cfg(f"{name}.{tag}") if tag in known else None
    if config is None or not str(config.url or "").startswith("https://"):
        raise UnknownName(f"pretrained tag of '{name}'", tag, known)
    file = str(config.url).rpartition("/")[2]
    digest = Path(file).stem.rpartition("-")[2]  # the catalogue's names end in the first digits of their SHA-256
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    if not path.is_file():
        try:
            _fetch(str(config.url), path)
        except (OSError, RuntimeError) as fault:
            wanted = f"'{file}' ({name}.{tag}) in '{path.parent}' or from {config.url}"
            raise MissingWeights(_advice(wanted, file, network, digest=digest, fault=str(fault))) from fault
    check_digest(path, digest)
    return path


def _fetch(url: str, path: Path) -> None:
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        raise OSError("HF_HUB_OFFLINE is 1")
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".part")  # a fetch that was cut off must not be taken for the file
    with urllib.request.urlopen(url, timeout=FETCH_TIMEOUT_S) as answer, half.open("wb") as file:  # noqa: S310 https
        shutil.copyfileobj(answer, file)
    half.replace(path)


def check_digest(path: Path, sha256: str) -> None:
    """Raises MissingWeights unless the SHA-256 of the file begins with `sha256`."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(sha256.lower()):
        raise MissingWeights(
            f"expected the SHA-256 of '{path}' to begin with '{sha256}', found '{found}'. "
            "Remove the file and fetch it again, or correct the digest."
        )


def read_weights(path: Path, sha256: str = "") -> dict[str, Tensor]:
    """A state dict from .safetensors, or from a torch file without ever running code; raises MissingWeights, BadParams."""
    check_digest(path, sha256)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as fault:
        raise BadParams(
            f"expected nothing but tensors in '{path}', found something else. Save a plain state dict."
        ) from fault
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise BadParams(f"expected tensors by name in '{path}', found otherwise. Save a plain state dict.")
    return state


def load_weights(network: nn.Module, path: Path, *, kept: list[nn.Module], sha256: str = "") -> None:
    """Load `path` into `network`; what lies outside `kept` (a classifier, say) may be absent. Raises BadParams."""
    state = read_weights(path, sha256)
    try:
        missing, unknown = network.load_state_dict(state, strict=False)
    except RuntimeError as fault:
        raise BadParams(f"expected '{path}' to hold weights of this trunk, found others: {fault}") from fault
    used = {id(value) for part in kept for value in part.state_dict(keep_vars=True).values()}
    lost = [name for name, value in network.state_dict(keep_vars=True).items() if name in missing and id(value) in used]
    if lost or unknown:
        raise BadParams(
            f"expected '{path}' to hold the weights of this trunk, found {len(lost)} missing and {len(unknown)} unknown "
            f"names, such as '{(lost + unknown)[0]}'. Name the trunk these weights were made for."
        )


def _advice(wanted: str, file: str, network: nn.Module, *, digest: str, fault: str = "") -> str:
    size_mb = sum(value.numel() * value.element_size() for value in network.state_dict().values()) / 1e6
    return (
        f"expected {wanted} (about {size_mb:.0f} MB{f', SHA-256 {digest}…' if digest else ''}), found none"
        f"{f' ({fault})' if fault else ''}. Put '{file}' on this machine and name its path in the detector's "
        "`pretrained`. Or name one of timm's tags there and run once where there is a network."
    )
