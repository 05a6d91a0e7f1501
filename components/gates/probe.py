"""Ask a saved generation a known question: does it load in a process that knows nothing, and what does it answer?

python -m components.gates.probe GENERATION        prints {"p_fake": [...]}
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import Tensor

from components.errors import PerennialError
from components.generations.generation import load_classifier
from components.settings import hush
from components.vocabulary import FORGED

SIDE_PX = 96


def question() -> Tensor:
    """Four synthetic faces (4, 3, SIDE_PX, SIDE_PX) in [0, 1]: waves by formula, the same on every machine."""
    y, x = torch.meshgrid(torch.arange(SIDE_PX) / SIDE_PX, torch.arange(SIDE_PX) / SIDE_PX, indexing="ij")
    waves = [torch.sin(6.2832 * ((face + 1) * x + (colour + 1) * y)) for face in range(4) for colour in range(3)]
    return (0.5 + 0.5 * torch.stack(waves)).reshape(4, 3, SIDE_PX, SIDE_PX)


def answer(generation: Path) -> list[float]:
    """Forged probability of each face of the question, by the weights on disk, on one CPU thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            logits: Tensor = load_classifier(generation, "cpu")(question()).logits
    finally:
        torch.set_num_threads(threads)
    p_fake: list[float] = logits.double().softmax(-1)[:, FORGED].tolist()
    return p_fake


if __name__ == "__main__":
    hush()
    try:
        print(json.dumps({"p_fake": answer(Path(sys.argv[1]))}))
    except PerennialError as error:
        sys.exit(f"{type(error).__name__}: {error}")
