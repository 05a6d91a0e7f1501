"""Where the numbers are crunched: device, precision, threads and deterministic kernels."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import torch

from components.errors import BadParams
from components.settings import settings
from components.vocabulary import Precision

if TYPE_CHECKING:
    from lightning_fabric import Fabric


LIBRARIES = {
    "timm": "timm",
    "open_clip": "open_clip_torch",
    "numpy": "numpy",
    "opencv": "opencv-python-headless",
    "av": "av",
}
"""Library -> distribution."""


def device() -> torch.device:
    """The device of the settings; of several the first that is there: CUDA, Apple's, the CPU."""
    chosen = settings().device
    if chosen != "auto":
        return torch.device(chosen)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def fabric(precision: Precision, devices: int = 1) -> Fabric:
    """The engine of a training, on the device of the settings; of several, this process is one from here on.

    The other processes begin the same command anew, unless torchrun began them all. Raises BadParams where there are
    fewer devices.
    """
    from lightning_fabric import Fabric

    if device().type == "cuda" and torch.cuda.device_count() < devices:
        raise BadParams(
            f"expected {devices} devices, as the recipe says, found {torch.cuda.device_count()}. Run on a machine that has "
            "them, or plan the generation with another PERENNIAL_DEVICES."
        )
    engine = Fabric(
        accelerator=device().type, devices=devices, strategy="ddp" if devices > 1 else "auto", precision=precision
    )
    if devices > 1:
        engine.launch()
    return engine


def deterministic(threads: int, *, kernels: bool = True) -> None:
    """Same inputs, same bytes: a fixed number of threads and, with `kernels`, deterministic ones where torch has them.

    Without, an accelerator takes its fastest; the CPU's stay deterministic.
    """
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(kernels or device().type == "cpu", warn_only=torch.cuda.is_available())
    torch.backends.cudnn.benchmark = not kernels


def versions() -> dict[str, str | None]:
    """Of Python and of the libraries whose numbers go into a result; None for one that is not installed."""
    return {"python": platform.python_version(), "torch": torch.__version__} | {
        name: _version(distribution) for name, distribution in LIBRARIES.items()
    }


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
