"""DFIL: the teacher is really the teacher, and labels draw together from the first task on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from components.losses import contrastive

Make = Callable[..., Any]


def test_a_founder_contrasts_labels(built: Make, pinhole: Make, batch: Make) -> None:
    student, b = pinhole(0).eval(), batch(old=0)
    found = built("dfil").losses(student, None, b)
    assert list(found) == ["cross_entropy", "spread", "supcon"]
    expected = contrastive.within(student(b.faces).embedding, b.labels, temperature=1.0)
    torch.testing.assert_close(found["supcon"], 0.1 * expected)


def test_the_teacher_sees_new_and_replayed_faces(
    built: Make, taught: Make, pinhole: Make, batch: Make, task: Any
) -> None:
    student, teacher = pinhole(0), taught("dfil", task)
    found = built("dfil").losses(student, teacher, batch(new=5, old=3))
    assert (student.shown, teacher.shown) == ([8], [8])
    assert list(found) == ["cross_entropy", "spread", "supcon", "knowledge", "feature"]


def test_another_teacher_teaches_something_else(
    built: Make, taught: Make, pinhole: Make, batch: Make, task: Any
) -> None:
    """In the published code the teacher was never loaded: any teacher would have taught the same."""
    teacher, other = taught("dfil", task), pinhole(2).eval().requires_grad_(False)
    mine, its = (built("dfil").losses(pinhole(0), who, batch()) for who in (teacher, other))
    assert mine["knowledge"] != its["knowledge"] and mine["feature"] != its["feature"]
    assert mine["cross_entropy"] == its["cross_entropy"]


def test_the_divergence_is_one(built: Make, taught: Make, pinhole: Make, batch: Make, task: Any) -> None:
    """A student with its teacher's answers pays for the truth alone; with log-probabilities as targets it would not."""
    teacher, b = taught("dfil", task), batch()
    found = built("dfil").losses(pinhole(1).eval(), teacher, b)
    truth = torch.nn.functional.cross_entropy(teacher(b.faces).logits, b.labels)
    torch.testing.assert_close(found["knowledge"], 0.7 * truth)
    assert found["feature"] < 1e-12
