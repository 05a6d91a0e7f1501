"""What every strategy of the catalogue promises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from components import strategies
from components.detectors import Detector
from components.errors import BadParams, UnknownName
from components.faces.table import FaceTable, encode
from components.strategies import Strategy
from components.tasks.dataset import Batch, Faces

Make = Callable[..., Any]

every_strategy = pytest.mark.parametrize("name", strategies.names())


@pytest.fixture
def task(tmp_path: Path) -> Faces:
    rows = pd.DataFrame({"label": [0, 1] * 4, "clip": [f"{i}.mp4" for i in range(8)]})
    rows = rows.assign(archive="swap", frame=0, method="", identity="", source="", split="train", score=1.0)
    rows = rows.assign(landmarks=[[0.0] * 10] * 8, box=[[0.0] * 4] * 8)
    images = np.random.default_rng(0).integers(0, 256, (8, 12, 12, 3), dtype=np.uint8)
    return Faces.whole("swap", FaceTable.write(tmp_path / "faces", rows, [encode(i) for i in images], {}))


def built(name: str) -> Strategy:
    return strategies.build(name, strategies.options(name, {}))


def learn(strategy: Strategy, student: Detector, teacher: Detector | None, batches: list[Batch]) -> list[float]:
    """One step a batch; returns the loss before each."""
    optimiser = torch.optim.Adam(student.parameters(), lr=0.01)
    losses = []
    for batch in batches:
        total = torch.stack(list(strategy.losses(student, teacher, batch).values())).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        losses.append(total.item())
    return losses


@every_strategy
def test_a_founder_learns_without_a_teacher(name: str, pinhole: Make, batch: Make, task: Faces) -> None:
    strategy, student = built(name), pinhole(0)
    strategy.prepare(student, None, task, {})
    terms = strategy.losses(student, None, batch(old=0))
    assert "cross_entropy" in terms
    assert all(term.shape == () and term.isfinite() for term in terms.values())
    assert all(isinstance(tensor, torch.Tensor) for tensor in strategy.bequeath(student, task).values())


@every_strategy
def test_the_teacher_is_the_same_to_the_last_bit_after_teaching(
    name: str, pinhole: Make, batch: Make, task: Faces
) -> None:
    strategy, student, teacher = built(name), pinhole(0), pinhole(1).eval().requires_grad_(False)
    before = {key: tensor.clone() for key, tensor in teacher.state_dict().items()}
    start = {key: tensor.clone() for key, tensor in student.state_dict().items()}
    strategy.prepare(student, teacher, task, {})
    learn(strategy, student, teacher, [batch(seed=step) for step in range(3)])
    strategy.bequeath(student, task)
    assert all(torch.equal(tensor, before[key]) for key, tensor in teacher.state_dict().items())
    assert all(p.grad is None for p in teacher.parameters())
    assert any(not torch.equal(tensor, start[key]) for key, tensor in student.state_dict().items())


@every_strategy
@pytest.mark.parametrize("taught", [False, True])
def test_the_loss_falls_on_a_toy_task(name: str, taught: bool, pinhole: Make, batch: Make, task: Faces) -> None:
    strategy, student = built(name), pinhole(0)
    teacher = pinhole(1).eval().requires_grad_(False) if taught else None
    strategy.prepare(student, teacher, task, {})
    losses = learn(strategy, student, teacher, [batch(old=4 * taught)] * 30)
    assert losses[-1] < 0.8 * losses[0]


@every_strategy
def test_every_term_reaches_the_student(name: str, pinhole: Make, batch: Make, task: Faces) -> None:
    strategy, teacher = built(name), pinhole(1).eval().requires_grad_(False)
    student = pinhole(0)
    strategy.prepare(student, teacher, task, {})
    for term in strategy.losses(student, teacher, batch()):
        student.zero_grad()
        strategy.losses(student, teacher, batch())[term].backward()
        assert any(p.grad is not None and p.grad.any() for p in student.parameters()), term


@every_strategy
def test_what_it_remembers_is_a_policy_the_memory_knows(name: str) -> None:
    assert strategies.find(name).remembers in ("nothing", "reservoir", "hybrid")


@every_strategy
def test_its_file_says_what_it_is(name: str) -> None:
    assert strategies.find(name).__doc__


@every_strategy
def test_an_unknown_option_is_refused(name: str) -> None:
    with pytest.raises(BadParams, match=rf"strategies.{name} cannot be followed:\n  distil: unknown key; known: \w+"):
        strategies.options(name, {"distil": 1})


def test_a_misspelt_strategy_is_shown_the_nearest_known_one() -> None:
    with pytest.raises(UnknownName, match=r"no strategy 'cfd'; known: .*finetune.*\. Did you mean 'cffd'\?"):
        strategies.options("cfd", {})


def test_an_option_out_of_bounds_is_named_with_what_was_found() -> None:
    with pytest.raises(BadParams, match=r"(?s)strategies.cffd.*temperature: .*greater than 0; found 0") as caught:
        strategies.options("cffd", {"temperature": 0, "soft_label": -1})
    assert "soft_label" in str(caught.value)
