"""Where the numbers are crunched: device, precision, threads and deterministic kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from components.settings import settings

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def device() -> torch.device:
    """The device of the settings; of several the first that is there: CUDA, Apple's, the CPU."""
    chosen = settings().device
    if chosen != "auto":
        return torch.device(chosen)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def fabric() -> Fabric:
    """The engine of a training: device and precision of the settings."""
    from lightning_fabric import Fabric

    return Fabric(accelerator=device().type, devices=1, precision=settings().precision)


def deterministic(threads: int) -> None:
    """Same inputs, same bytes: a fixed number of threads and deterministic kernels where torch has them."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
