"""Every detector with every strategy: two tasks, from faces to what is carried over, at the smallest size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from components import detectors, machine, strategies
from components.detectors import Detector
from components.generations import training
from components.generations.generation import save_tensors
from components.generations.training import Lesson
from components.params import TrainingOptions
from components.tasks.dataset import Faces

Make = Callable[..., Any]
SIDE_PX = 48
QUICK = {"hdu": {"passes": 1, "most_steps": 1}, "ewc": {"faces": 2}}


def pairs() -> list[Any]:
    """All pairs; each strategy once and each detector at least once by default, the others among the slow tests."""
    known, methods = detectors.names(), strategies.names()
    often = {(known[i % len(known)], methods[i % len(methods)]) for i in range(max(len(known), len(methods)))}
    return [
        pytest.param(*pair, id="-".join(pair), marks=() if pair in often else pytest.mark.slow)
        for pair in product(known, methods)
    ]


@pytest.mark.usefixtures("torch_as_it_was")
@pytest.mark.parametrize(("detector", "strategy"), pairs())
def test_two_generations_are_raised(detector: str, strategy: str, faces_of: Make, tmp_path: Path) -> None:
    first, second = faces_of("swap", clips=2, side_px=SIDE_PX), faces_of("mesh", clips=2, side_px=SIDE_PX)
    second = Faces.whole(second.name, second.table, first.methods)
    founder, carried = raised(detector, strategy, None, first, None, {}, tmp_path / "M1")
    before = {name: tensor.clone() for name, tensor in founder.state_dict().items()}
    memory = replace(first, born=np.ones((len(first), 2), np.float32))
    student, handed = raised(detector, strategy, founder, second, memory, carried, tmp_path / "M2")
    assert all(torch.equal(tensor, before[name]) for name, tensor in founder.state_dict().items())
    assert any(not torch.equal(p, before.get(name, p.new_zeros(0))) for name, p in student.named_parameters())
    assert set(carried) <= set(handed)
    answering = strategies.find(strategy).classifier(student, handed)
    with torch.inference_mode():
        logits = answering(second.batch(range(len(second))).faces).logits
    assert logits.shape == (8 // 2, 2) and logits.isfinite().all()


def raised(
    detector: str,
    strategy: str,
    teacher: Detector | None,
    task: Faces,
    memory: Faces | None,
    carried: dict[str, torch.Tensor],
    folder: Path,
) -> tuple[Detector, dict[str, torch.Tensor]]:
    """A generation as it comes back from the disk, in eval mode and frozen, and what it carries over."""
    machine.deterministic(1)
    torch.manual_seed(0)
    options = detectors.options(detector, {"size": "tiny"})
    student = detectors.build(detector, options, blank=True)  # random weights: pairs must fit, not learn well
    if teacher is not None:
        student.load_state_dict(teacher.state_dict())
    method = strategies.build(strategy, strategies.options(strategy, QUICK.get(strategy, {})))
    said = {"batch": 4, "faces_per_clip": 1, "augment": {}, "learning_rate": 1e-3}
    chosen = TrainingOptions.model_validate({**detectors.paper_training(detector, options), **said})
    progress = training.train(
        Lesson(
            student, teacher, method, task, memory, chosen, epochs=2 if memory is None else 1, seed=0, carried=carried
        ),
        checkpoint=folder / "checkpoint.pt",
        on_step=lambda *_: None,
    )
    assert all(torch.tensor(list(row.values())).isfinite().all() for row in progress.rows)
    save_tensors(student.state_dict(), folder / "weights.safetensors")
    save_tensors(method.carry_over(student, task, memory), folder / "carry_over.safetensors")
    finished = detectors.build(detector, options, blank=True)
    finished.load_state_dict(load_file(folder / "weights.safetensors"))
    return finished.eval().requires_grad_(False), load_file(folder / "carry_over.safetensors")
