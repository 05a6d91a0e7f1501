"""Files of weights that others published: found where their tools keep them, checked, and read without running code.

    path = from_hub("timm/convnext_nano.in12k", HUB_FILES)      # in the hub's cache, or fetched into it
    state = read(path)                                          # tensors by name

What training tools wrap around a state dict is taken off: a dict that holds it beside an optimiser ("state_dict",
"model", …; the averaged weights where there are both) and a prefix that all its names share ("module.", …).
"""

from __future__ import annotations

import io
import os
import pickle
import re
import shutil
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from components.digests import file_digest
from components.errors import BadParams, MissingWeights

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
HUB_FILES = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "_orig_mod.", "model.")  # of DistributedDataParallel, torch.compile, Lightning
FETCH_TIMEOUT_S = 30
ZIP, PICKLE = b"PK", b"\x80"  # what torch's files begin with, today's and those of before 1.6


# -- reading -------------------------------------------------------------------------------------------------------------


def read(path: Path, sha256: str = "") -> dict[str, Tensor]:
    """The tensors by name in a .safetensors or torch file, or in a zip around one; no code is ever run.

    Raises MissingWeights (another digest, or a file that is empty, half there, or no weights at all), BadParams (code, or
    something other than tensors).
    """
    check_digest(path, sha256)
    found = _safetensors(path) if path.suffix == ".safetensors" else _torch_file(path)
    while isinstance(found, dict) and (name := next((name for name in WRAPPERS if _is_dict(found, name)), "")):
        found = found[name]
    if not isinstance(found, dict) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise BadParams(
            f"expected tensors by name in '{path}', found {_described(found)}. Save a plain state dict, or one under "
            f"'{WRAPPERS[2]}'."
        )
    return _unprefixed(found)


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as fault:
        raise _broken(path, short(fault)) from fault


def _torch_file(path: Path) -> Any:
    with path.open("rb") as file:
        begins = file.read(16)
    if not begins.startswith((ZIP, PICKLE)):
        raise _broken(path, f"a file that begins with {begins!r}" if begins else "an empty file")
    try:
        source = _of_one_member(path) if begins.startswith(ZIP) else path
        return torch.load(source, map_location="cpu", weights_only=True)
    except BadParams:
        raise
    except pickle.UnpicklingError as fault:
        raise BadParams(
            f"expected nothing but tensors in '{path}', found something that could be code and is not run "
            f"({short(fault)}). Fetch the file again if it was cut off, or save a plain state dict where you trust it."
        ) from fault
    except Exception as fault:  # a broken file makes its readers complain in every way there is
        raise _broken(path, short(fault) or "an end too early") from fault


def _of_one_member(path: Path) -> Path | io.BytesIO:
    """The one file in a zip, or the zip itself where it is torch's own, of many members. Raises BadParams, BadZipFile."""
    with zipfile.ZipFile(path) as archive:
        members = archive.namelist()
        if any(name.endswith("/constants.pkl") for name in members):
            raise BadParams(
                f"expected tensors in '{path}', found a TorchScript archive, which is code and is not run. "
                f"Name the model's tag, or the file of its tensors, such as '{HUB_FILES[0]}' or '{HUB_FILES[2]}'."
            )
        return io.BytesIO(archive.read(members[0])) if len(members) == 1 else path


def _broken(path: Path, found: str) -> MissingWeights:
    return MissingWeights(
        f"expected the weights in '{path}' ({path.stat().st_size} bytes), found {found}. The file is half here or is "
        "none of weights: remove it and fetch it again."
    )


def _is_dict(found: dict[str, Any], name: str) -> bool:
    return isinstance(found.get(name), dict)


def _described(found: object) -> str:
    if not isinstance(found, dict):
        return f"a {type(found).__name__}"
    other = next((name for name, value in found.items() if not isinstance(value, Tensor)), None)
    return "nothing" if other is None else f"a {type(found[other]).__name__} under '{other}'"


def _unprefixed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        while all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def check_digest(path: Path, sha256: str) -> None:
    """Raises MissingWeights unless the SHA-256 of the file begins with `sha256`."""
    if not sha256:
        return
    found = file_digest(path)
    if not found.startswith(sha256.lower()):
        raise MissingWeights(
            f"expected the SHA-256 of '{path}' to begin with '{sha256}', found '{found}'. "
            "Remove the file and fetch it again, or correct the digest."
        )


# -- finding -------------------------------------------------------------------------------------------------------------


def releases() -> Path:
    """Where torch keeps files that it fetched by their addresses."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def from_release(url: str) -> Path:
    """The file of that name in torch's cache, fetched if it is not there; raises OSError."""
    path = releases() / url.rpartition("/")[2]
    if not path.is_file():
        _fetch(url, path)
    return path


def _fetch(url: str, path: Path) -> None:
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        raise OSError("HF_HUB_OFFLINE is 1")
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".part")  # a fetch that was cut off must not be taken for the file
    with urllib.request.urlopen(url, timeout=FETCH_TIMEOUT_S) as answer, half.open("wb") as file:  # noqa: S310 https
        shutil.copyfileobj(answer, file)
    half.replace(path)


def from_hub(repository: str, files: tuple[str, ...]) -> Path:
    """The first of `files` that the hub's cache holds, else the first that the hub has; held against the digest that the
    hub gives. Raises OSError, MissingWeights."""
    path = _cached_or_fetched(repository, files)
    blob = path.resolve().name  # the cache names a large file by the digest which the hub gave it
    check_digest(path, blob if re.fullmatch(r"[0-9a-f]{64}", blob) else "")
    return path


def _cached_or_fetched(repository: str, files: tuple[str, ...]) -> Path:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import RemoteEntryNotFoundError

    for file in files:
        if isinstance(cached := try_to_load_from_cache(repository, file), str):
            return Path(cached)
    for file in files[:-1]:
        try:
            return Path(hf_hub_download(repository, file))
        except RemoteEntryNotFoundError:
            continue  # the hub answered, and has no such file
    return Path(hf_hub_download(repository, files[-1]))


def short(fault: Exception) -> str:
    """A complaint in one line of at most 200 characters."""
    text = " ".join(str(fault).split())
    return text if len(text) <= 200 else text[:197] + "..."
