"""The learning rate follows from the position alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, StepLR

from components.generations.schedule import learning_rate
from components.params import TrainingOptions


def optimiser(lr: float) -> SGD:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def test_steps_are_those_of_torch() -> None:
    params = TrainingOptions(learning_rate=0.3, step_epochs=3, gamma=0.1)
    moved = optimiser(0.3)
    reference = StepLR(moved, 3, 0.1)
    for epoch in range(10):
        assert learning_rate(params, epoch + 0.99) == pytest.approx(reference.get_last_lr()[0])
        moved.step()
        reference.step()


def test_cosine_cycles_without_warmup_are_those_of_torch() -> None:
    params = TrainingOptions(
        schedule="cosine_cycles", learning_rate=3e-4, floor_learning_rate=1e-5, cycle_epochs=4, warmup_epochs=0
    )
    reference = CosineAnnealingWarmRestarts(optimiser(3e-4), T_0=4, eta_min=1e-5)
    for at in np.arange(0, 11.9, 0.3):
        reference.step(float(at))
        assert learning_rate(params, float(at)) == pytest.approx(reference.get_last_lr()[0])


def test_a_cycle_climbs_for_its_warmup_and_starts_again() -> None:
    params = TrainingOptions(
        schedule="cosine_cycles", learning_rate=3e-4, floor_learning_rate=1e-5, cycle_epochs=10, warmup_epochs=1
    )
    rates = [learning_rate(params, at) for at in (0, 0.5, 1, 5.5, 9.999, 10, 11)]
    assert rates == pytest.approx([1e-5, 1.55e-4, 3e-4, 1.55e-4, 1e-5, 1e-5, 3e-4], rel=1e-3)


def test_a_constant_rate_stays() -> None:
    assert {learning_rate(TrainingOptions(schedule="constant", learning_rate=0.1), at) for at in (0, 3.3, 99)} == {0.1}


def test_a_warmup_longer_than_its_cycle_is_refused() -> None:
    with pytest.raises(ValueError, match="warmup_epochs"):
        TrainingOptions(schedule="cosine_cycles", cycle_epochs=1, warmup_epochs=1)
