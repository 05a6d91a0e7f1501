"""A generation on disk: ``weights.safetensors``, ``bequest.safetensors``, ``card.json``, ``curve.csv``."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from components import detectors
from components.detectors import Detector
from components.errors import BrokenLineage
from components.generations.card import BEQUEST, WEIGHTS, file_digest, read_card


def load_detector(folder: Path, device: str | torch.device = "cpu") -> Detector:
    """The detector of a generation, in eval mode and frozen; its weights are checked against its card."""
    card = read_card(folder)
    found = file_digest(folder / WEIGHTS)
    if found != card["weights"]:
        raise BrokenLineage(
            f"expected weights {card['weights'][:12]} in '{folder}', found {found[:12]}. "
            "Restore them with `dvc checkout`, or raise the generation again."
        )
    detector = detectors.build(card["detector"], detectors.options(card["detector"], card["options"]), blank=True)
    detector.load_state_dict(load_file(folder / WEIGHTS))
    return detector.to(device).eval().requires_grad_(False)


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write tensors, contiguous and on the CPU, as safetensors."""
    save_file({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}, path)


def load_bequest(folder: Path) -> dict[str, Tensor]:
    """What the strategy of that generation handed down; empty for nobody."""
    path = folder / BEQUEST
    return load_file(path) if path.is_file() else {}
