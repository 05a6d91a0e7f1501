"""Trunks that detectors share, cut into stages so that a paper may step in between, and the weights they start from.

    trunk = build("efficientnet_b4", pretrained="ra2_in1k")    # or built(options), as a detector's options say
    for stage in trunk.stages: maps = stage(maps)          # (B, trunk.channels[l], H_l, W_l), fine to coarse

A trunk is any timm network whose parts follow one another (ResNets, EfficientNets, MobileNets, ConvNeXts, …), or "small",
built here for machines without an accelerator.

Weights are named in three ways: "" (none), a file (a path), or one of timm's tags, such as "ra2_in1k". A tag's file is
taken from the release that timm names, by torch's cache, where the file's name says its digest, and otherwise from the
hub, by the hub's cache; where there is a network, it is fetched into that cache.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from components import torchvision_ops, weight_files
from components.detectors import Sized
from components.errors import BadParams, MissingWeights, UnknownName

SMALL = "small"
SMALL_STEM = 16
SMALL_CHANNELS = (32, 32, 48, 64)
LEVELS = 4
IMAGENET = {"trunk": "efficientnet_b4", "pretrained": "ra2_in1k"}
"""The trunk of three papers, with the weights that timm's was trained to."""
POOLING = {"global_pool", "head", "fc", "classifier"}  # what a timm network ends with begins at one of these


class TrunkOptions(Sized):
    """Options of a detector on a trunk. Where its paper starts from pretrained weights, nobody starts from random ones
    without saying so."""

    trunk: str
    """`small`, or any timm network whose stages follow one another. By size."""
    trunk_options: dict[str, str | int | float | bool] = {}
    """Handed to timm's builder, such as `pad_type: same`."""
    pretrained: str
    """Weights the trunk starts from: "" (random), a file, or a timm tag. By size, for the trunk of that size."""
    pretrained_sha256: str = ""

    @classmethod
    def filled(cls, raw: dict[str, Any]) -> dict[str, Any]:
        own = cls.of_size(raw)
        trunk, weights = raw.get("trunk", own["trunk"]), own.get("pretrained", "")
        if weights and trunk not in (own["trunk"], SMALL) and "pretrained" not in raw:
            raise ValueError(
                f"expected `pretrained` beside the trunk '{trunk}', found none. Name a file or one of timm's tags for it, "
                'or say `pretrained: ""` to start from random weights'
            )
        return super().filled({"pretrained": weights if trunk == own["trunk"] else "", **raw})


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


def built(options: TrunkOptions, *, whole: bool = False) -> Trunk:
    """The trunk that a detector's options name; as `build`."""
    return build(
        options.trunk,
        pretrained=options.pretrained,
        sha256=options.pretrained_sha256,
        trunk_options=options.trunk_options,
        whole=whole,
    )


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


@dataclass(frozen=True)
class Published:
    """Where timm's catalogue says that the weights of a tag are."""

    repository: str
    """Of the hub; "" where it is not there."""
    url: str
    """Of its author's release; "" where there is none."""
    digest: str
    """The first digits of the release's SHA-256, in which the names of timm's own files end; "" where a name has none."""

    @property
    def by_release(self) -> bool:
        """Taken from the release: a file that nothing vouches for, and whose layout is its author's, is not."""
        return bool(self.digest)

    @property
    def file(self) -> str:
        return weight_files.HUB_FILES[0] if self.repository and not self.by_release else self.url.rpartition("/")[2]

    def __str__(self) -> str:
        """The places in words."""
        cache = f"torch's cache ('{weight_files.releases()}')" if self.by_release else "the hub's cache"
        hub = f"the hub's repository '{self.repository}'" if self.repository else ""
        places = [self.url, hub] if self.by_release else [hub, self.url]
        return " or ".join(filter(None, [f"in {cache}", *(f"from {place}" for place in places if place)]))


def find_weights(name: str, network: nn.Module, pretrained: str) -> Path:
    """The file that `pretrained` names: itself, or that of timm's tag for `name`; raises MissingWeights, UnknownName."""
    if "/" in pretrained or pretrained.endswith(weight_files.SUFFIXES):
        path = Path(pretrained).expanduser()
        if not path.is_file():
            raise MissingWeights(_advice(f"weights of '{name}' at '{path}'", path.name, network))
        return path
    return _tagged_weights(name, network, pretrained)


def published(name: str, tag: str) -> Published:
    """Where the weights of timm's tag `tag` of trunk `name` are; raises UnknownName."""
    import timm

    if not timm.is_model_pretrained(f"{name}.{tag}"):
        known = [model.partition(".")[2] for model in timm.list_pretrained(f"{name}.*")]
        raise UnknownName(f"pretrained tag of '{name}'", tag, known)
    config = timm.get_pretrained_cfg(f"{name}.{tag}")
    url = str(config.url or "")
    digest = re.search(r"-([0-9a-f]{8,64})\.\w+$", url)
    return Published(str(config.hf_hub_id or ""), url, digest[1] if digest else "")


def _tagged_weights(name: str, network: nn.Module, tag: str) -> Path:
    where = published(name, tag)
    wanted = f"'{where.file}' ({name}.{tag}) {where}"
    try:
        if where.by_release:
            path = weight_files.from_release(where.url)
        elif where.repository:
            return weight_files.from_hub(where.repository, weight_files.HUB_FILES)
        else:
            raise OSError("no digest vouches for it, so that it is not fetched")
    except (OSError, RuntimeError) as fault:
        raise MissingWeights(_advice(wanted, where.file, network, digest=where.digest, fault=fault)) from fault
    weight_files.check_digest(path, where.digest)
    return path


def load_weights(network: nn.Module, path: Path, *, kept: list[nn.Module], sha256: str = "") -> None:
    """Load `path` into `network`; what lies outside `kept` (a classifier, say) may be absent.

    Raises MissingWeights (another digest, or no whole file of weights), BadParams (weights of another network).
    """
    state, own = weight_files.read(path, sha256), network.state_dict(keep_vars=True)
    used = {id(value) for part in kept for value in part.state_dict(keep_vars=True).values()}
    needed = {name for name, value in own.items() if id(value) in used}
    fitting = {name: value for name, value in state.items() if name in needed or not _of_a_classifier(name, value, own)}
    try:
        missing, unknown = network.load_state_dict(fitting, strict=False)
    except RuntimeError as fault:
        raise BadParams(f"expected '{path}' to hold weights of this trunk, found others: {fault}") from fault
    lost = [name for name in missing if name in needed]
    if lost or unknown:
        raise BadParams(
            f"expected '{path}' to hold the weights of this trunk, found {len(lost)} missing and {len(unknown)} unknown "
            f"names, such as '{(lost + unknown)[0]}'. Name the trunk these weights were made for."
        )


def _of_a_classifier(name: str, value: Tensor, own: Mapping[str, Tensor]) -> bool:
    """Whether it is of a classifier that this network does not have: of other classes, or of other layers."""
    return name.partition(".")[0] in POOLING and (name not in own or own[name].shape != value.shape)


def _advice(wanted: str, file: str, network: nn.Module, *, digest: str = "", fault: Exception | None = None) -> str:
    size_mb = sum(value.numel() * value.element_size() for value in network.state_dict().values()) / 1e6
    return (
        f"expected {wanted} (about {size_mb:.0f} MB{f', SHA-256 {digest}…' if digest else ''}), found none"
        f"{f' ({weight_files.short(fault)})' if fault else ''}. Put '{file}' on this machine, name its path in the "
        "detector's `pretrained` and its SHA-256 in `pretrained_sha256`. Or name a tag of timm's there that its release "
        "or the hub has, and run once where there is a network. Or say `pretrained: ''` and start from random weights."
    )
