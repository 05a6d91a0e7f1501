"""`perennial doctor`: what this machine has, in words, before something fails for want of it."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from components.errors import PerennialError
from components.settings import settings

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "open_clip_torch",
    "prefect",
    "fastapi",
    "dvc",
    "mlflow",
    "great-expectations",
)
FREE_GB = 5


@dataclass(frozen=True)
class Check:
    """One thing looked at; `absent` is no fault until it is needed."""

    what: str
    state: Literal["good", "absent", "bad"]
    words: str


def examine(root: Path) -> list[Check]:
    """Look at packages, device, weights, disk and the workspace."""
    return [*_packages(), _device(), *_weights(), _disk(root), *_workspace(root)]


def _packages() -> Iterator[Check]:
    for name in PACKAGES:
        try:
            yield Check(name, "good", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Check(name, "bad", "not installed; run `make setup`")
    versions = set(_versions("opencv-python", "opencv-python-headless"))
    if len(versions) > 1:
        yield Check("opencv", "bad", f"two versions in one folder ({', '.join(sorted(versions))}); run `make setup`")


def _versions(*names: str) -> Iterator[str]:
    for name in names:
        with suppress(importlib.metadata.PackageNotFoundError):
            yield importlib.metadata.version(name)


def _device() -> Check:
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no accelerator: CPU"
    return Check("device", "good", f"{settings().device} ({name})")


def _weights() -> Iterator[Check]:
    for what, path in (("yunet", settings().yunet_weights), ("retinaface", settings().retinaface_weights)):
        variable = f"PERENNIAL_{what.upper()}_WEIGHTS"
        if path is None:
            yield Check(f"{what} weights", "absent", f"set {variable} to use this face detector")
        else:
            yield Check(f"{what} weights", "good" if path.is_file() else "bad", f"{variable}={path}")


def _disk(root: Path) -> Check:
    free = shutil.disk_usage(root if root.is_dir() else Path()).free / 1e9
    return Check("disk", "good" if free > FREE_GB else "bad", f"{free:.0f} GB free")


def _workspace(root: Path) -> Iterator[Check]:
    from flows import pipeline, set_asides
    from flows.pending import look
    from flows.workspace import AtWork, Workspace

    try:
        workspace = Workspace.at(root)
        if (workspace.root / ".dvc").is_dir():
            pipeline.expect_links(workspace.root)
        found = look(workspace)
    except AtWork:
        yield Check("workspace", "good", "a lifecycle is running there")
        return
    except PerennialError as fault:
        yield Check("workspace", "bad", str(fault))
        return
    lineage = workspace.lineage()
    words = f"{len(workspace.params().archives)} archives, {len(lineage.generations)} generations"
    yield Check("workspace", "good", f"{words}; " + ("work is pending: perennial run" if found else "up to date"))
    for name, reasons in set_asides.found(workspace).items():
        yield Check(f"clips of {name}", "good", " ".join(reasons))
