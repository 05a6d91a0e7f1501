"""A generation on disk: ``weights.safetensors``, ``carry_over.safetensors``, ``card.json``, ``curve.csv``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from components import detectors, strategies
from components.detectors import Detector
from components.digests import file_digest
from components.errors import BrokenLineage
from components.generations.card import CARRY_OVER, IN_0_1, WEIGHTS, read_card, write_card
from components.vocabulary import NOBODY


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


def load_classifier(folder: Path, device: str | torch.device = "cpu") -> Detector:
    """Who answers for a generation: its detector, or what its strategy makes of it with what was carried over."""
    strategy = strategies.find(read_card(folder)["strategy"])
    return strategy.classifier(load_detector(folder, device), load_carry_over(folder))


def save_generation(folder: Path, detector: Detector, carried: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write weights, carry-over, and the card: `about`, and the digests of both."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(detector.state_dict(), folder / WEIGHTS)
    save_tensors(carried, folder / CARRY_OVER)
    write_card(
        folder, {**about, "weights": file_digest(folder / WEIGHTS), "carry_over": file_digest(folder / CARRY_OVER)}
    )


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write tensors, contiguous and on the CPU, as safetensors."""
    save_file({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}, path)


def load_carry_over(folder: Path) -> dict[str, Tensor]:
    """What the strategy of that generation handed down, checked against its card; empty for nobody."""
    if folder.name == NOBODY:
        return {}
    card = read_card(folder)
    key, file = ("carry_over", CARRY_OVER) if "carry_over" in card else IN_0_1
    expected, found = card[key], file_digest(folder / file)
    if found != expected:
        raise BrokenLineage(
            f"expected carry-over {expected[:12]} in '{folder}', found {found[:12]}. "
            "Restore it with `dvc checkout`, or raise the generation again."
        )
    return load_file(folder / file)
