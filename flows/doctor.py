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
    """Look at packages, devices, weights, disk, the workspace, and the services around it; nothing is changed."""
    here = [*_packages(), *_devices(), *_weights(), _disk(root), *_workspace(root)]
    return [*here, _tracking(root), _prefect(), *(_dvc(root) if (root / ".dvc").is_dir() else ())]


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


def _devices() -> Iterator[Check]:
    import torch

    names = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    found = [f"{one.name}, {one.total_memory / 2**30:.0f} GiB" for one in names]
    if not found and torch.backends.mps.is_available():
        found = ["Apple GPU"]
    asked = settings().device
    if not found and asked not in ("auto", "cpu"):
        yield Check(
            "device", "bad", f"PERENNIAL_DEVICE={asked}, and no accelerator that torch {torch.__version__} sees"
        )
    else:
        yield Check("device", "good", f"{asked} ({'; '.join(found) or 'no accelerator: CPU'})")


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
    from flows import cache, set_asides
    from flows.pending import look
    from flows.workspace import AtWork, Workspace

    try:
        workspace = Workspace.at(root)
        if (workspace.root / ".dvc").is_dir():
            cache.expect_links(workspace.root)
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


def _tracking(root: Path) -> Check:
    from components.tracking import DATABASE, expect_answer

    uri = settings().tracking_uri
    if not uri:
        books = root / DATABASE
        size = f"{books.stat().st_size / 1e6:.0f} MB" if books.is_file() else "not there yet"
        return Check("mlflow server", "good", f"embedded: {books} ({size})")
    try:
        expect_answer(uri)
    except PerennialError as fault:
        return Check("mlflow server", "bad", str(fault))
    return Check("mlflow server", "good", "answers at PERENNIAL_TRACKING_URI")


def _prefect() -> Check:
    from flows.engine import expect_answer

    try:
        address = expect_answer()
    except PerennialError as fault:
        return Check("prefect server", "bad", str(fault))
    return Check("prefect server", "good", f"answers at {address}" if address else "embedded: a run brings its own")


def _dvc(root: Path) -> Iterator[Check]:
    from flows import cache

    links = cache.links_of(root)
    how = "chosen" if links.chosen else "DVC's choice"
    words = f"{links.cache}; its files can lie here as {', '.join(sorted(links.working))} ({how}: {links.preferred})"
    yield Check("dvc cache", "good", words)
    try:
        name, found = cache.default_remote(root)
    except PerennialError as fault:
        yield Check("dvc remote", "bad", str(fault))
        return
    if found:
        yield Check("dvc remote", "good", f"'{name}' answers")
    elif name:
        yield Check("dvc remote", "absent", f"'{name}' holds nothing that can be seen from here: `dvc push`")
    else:
        words = "none: `dvc remote add --default NAME URL`, and `dvc push` keeps elsewhere what was made"
        yield Check("dvc remote", "absent", words)
