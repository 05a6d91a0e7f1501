"""Weights of CLIP's vision tower: where they are found and how their files name them.

""        none
a path    .safetensors or a torch file of tensors, in any of three layouts: open_clip's whole model ("visual.…"), its
          vision tower alone, or that of the transformers library ("vision_model.…")
a tag     one of open_clip's, such as "openai": its file is taken from the hub's cache or, where there is a network,
          fetched into it
"lab"     the file that came with this package, for the small tower alone
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from components import weight_files
from components.errors import BadParams, MissingWeights, UnknownName

SMALL = "small"
LAB = "lab"
LAB_WEIGHTS = Path(__file__).parent / "small.safetensors"
LAB_RECORD = LAB_WEIGHTS.with_suffix(".json")
HUB_FILES = weight_files.HUB_FILES[2:]


def find(name: str, config: dict[str, Any], pretrained: str) -> Path:
    """The file that `pretrained` names for CLIP model `name`; raises MissingWeights, UnknownName, BadParams."""
    if "/" in pretrained or pretrained.endswith(weight_files.SUFFIXES):
        path = Path(pretrained).expanduser()
        if not path.is_file():
            raise MissingWeights(_advice(f"weights of '{name}' at '{path}'", path.name, config))
        return path
    if name == SMALL:
        return _of_the_lab(pretrained)
    return _tagged(name, config, pretrained)


def load(vision: Any, path: Path, sha256: str = "") -> None:
    """Load the tower that `path` holds into open_clip's `vision`; the projection is left out.

    Raises MissingWeights (another digest, or no whole file of weights), BadParams.
    """
    state = vision_state(weight_files.read(path, sha256))
    state.pop("proj", None)
    if (positions := state.get("positional_embedding")) is not None:
        state["positional_embedding"] = _resized(positions, vision.grid_size)
    try:
        missing, unknown = vision.load_state_dict(state, strict=False)
    except RuntimeError as fault:
        raise BadParams(f"expected '{path}' to hold weights of this tower, found others: {fault}") from fault
    lost = [name for name in missing if name != "proj"]
    if lost or unknown:
        raise BadParams(
            f"expected '{path}' to hold the weights of this tower, found {len(lost)} missing and {len(unknown)} unknown "
            f"names, such as '{(lost + unknown)[0]}'. Name the CLIP model these weights were made for."
        )


def vision_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The vision tower of a state dict in any of the three layouts, named as open_clip's VisionTransformer names it."""
    if any(name.startswith("visual.") for name in state):
        return {name.removeprefix("visual."): value for name, value in state.items() if name.startswith("visual.")}
    if any(name.startswith("vision_model.") for name in state):
        return _of_transformers(state)
    return dict(state)


# -- the hub, the lab ----------------------------------------------------------------------------------------------------


def _tagged(name: str, config: dict[str, Any], tag: str) -> Path:
    import open_clip

    entry = open_clip.get_pretrained_cfg(name, tag)
    if not entry:
        raise UnknownName(f"pretrained tag of '{name}'", tag, open_clip.list_pretrained_tags_by_model(name))
    if bool(entry.get("quick_gelu")) != bool(config.get("quick_gelu")):
        other = f"{name}-quickgelu" if entry.get("quick_gelu") else name.removesuffix("-quickgelu")
        raise BadParams(
            f"expected weights made with the activation of '{name}', found '{tag}', made with another: every layer "
            f"would answer slightly wrong. Name the model '{other}'."
        )
    repository, _, file = str(entry["hf_hub"]).rpartition("/")
    files = (file,) if file else HUB_FILES
    try:
        return weight_files.from_hub(repository, files)
    except OSError as fault:
        wanted = f"'{files[0]}' ({name}, '{tag}') in the hub's cache or from the hub's repository '{repository}'"
        raise MissingWeights(_advice(wanted, files[0], config, fault=fault)) from fault


def _of_the_lab(pretrained: str) -> Path:
    if pretrained != LAB:
        raise UnknownName(f"pretrained tag of '{SMALL}'", pretrained, [LAB])
    if not LAB_WEIGHTS.is_file():
        raise MissingWeights(
            f"expected '{LAB_WEIGHTS}', found none. Install the package again, or make the file with "
            f"`python -m {__package__}.pretrain {LAB_WEIGHTS}`."
        )
    weight_files.check_digest(LAB_WEIGHTS, json.loads(LAB_RECORD.read_bytes())["sha256"])
    return LAB_WEIGHTS


def _advice(wanted: str, file: str, config: dict[str, Any], *, fault: Exception | None = None) -> str:
    return (
        f"expected {wanted} (about {_size_mb(config):.0f} MB in single precision), found none"
        f"{f' ({weight_files.short(fault)})' if fault else ''}. Put '{file}' on this machine, name its path in the detector's "
        "`pretrained` and its SHA-256 in `pretrained_sha256`. Or name one of open_clip's tags in `pretrained` and run "
        "once where there is a network: a fetched file is checked against the SHA-256 that the hub gives for it."
    )


def _size_mb(config: dict[str, Any]) -> float:
    """What the published file weighs, which holds the text tower too."""
    import open_clip

    known = {key: value for key, value in config.items() if key in ("embed_dim", "vision_cfg", "text_cfg")}
    with torch.device("meta"):
        model = open_clip.CLIP(**{"text_cfg": {}, **known})
    return sum(4 * value.numel() for value in model.parameters()) / 1e6


# -- layouts -------------------------------------------------------------------------------------------------------------

TRANSFORMERS_NAMES = {
    r"embeddings\.class_embedding": "class_embedding",
    r"embeddings\.patch_embedding\.weight": "conv1.weight",
    r"embeddings\.position_embedding\.weight": "positional_embedding",
    r"pre_layrnorm\.(weight|bias)": r"ln_pre.\1",  # its own spelling
    r"post_layernorm\.(weight|bias)": r"ln_post.\1",
    r"encoder\.layers\.(\d+)\.layer_norm([12])\.(weight|bias)": r"transformer.resblocks.\1.ln_\2.\3",
    r"encoder\.layers\.(\d+)\.mlp\.fc1\.(weight|bias)": r"transformer.resblocks.\1.mlp.c_fc.\2",
    r"encoder\.layers\.(\d+)\.mlp\.fc2\.(weight|bias)": r"transformer.resblocks.\1.mlp.c_proj.\2",
    r"encoder\.layers\.(\d+)\.self_attn\.out_proj\.(weight|bias)": r"transformer.resblocks.\1.attn.out_proj.\2",
    r"encoder\.layers\.(\d+)\.self_attn\.q_proj\.(weight|bias)": r"transformer.resblocks.\1.attn.in_proj_\2",
}


def _of_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The layout of the transformers library: q, k and v lie apart there and in one matrix here."""
    named: dict[str, Tensor] = {}
    own = {name.removeprefix("vision_model."): value for name, value in state.items() if "vision_model." in name}
    for name, value in own.items():
        if re.search(r"\.[kv]_proj\.|position_ids$", name):
            continue
        if ".q_proj." in name:
            value = torch.cat([value, *(own[name.replace(".q_proj.", f".{part}_proj.")] for part in "kv")])
        named[_renamed(name)] = value
    return named


def _renamed(name: str) -> str:
    for theirs, ours in TRANSFORMERS_NAMES.items():
        if match := re.fullmatch(theirs, name):
            return match.expand(ours)
    return name  # left as it is, so that it is reported as unknown


def _resized(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Positions (1 + n n, width) of a square grid, interpolated to `grid` where that is another one."""
    side = round((len(positions) - 1) ** 0.5)
    if (side, side) == tuple(grid) or side * side != len(positions) - 1:
        return positions
    maps = positions[1:].float().T.reshape(1, -1, side, side)
    maps = F.interpolate(maps, grid, mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([positions[:1].float(), maps[0].flatten(1).T])
