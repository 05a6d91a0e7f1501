"""LwF: the teacher speaks about new faces, which it has never seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Make = Callable[..., Any]


def test_the_teacher_sees_new_faces_only(built: Make, taught: Make, pinhole: Make, batch: Make, task: Any) -> None:
    student, teacher = pinhole(0), taught("lwf", task)
    built("lwf").losses(student, teacher, batch(new=5, old=3))
    assert (student.shown, teacher.shown) == ([8], [5])


def test_it_asks_for_the_teacher_s_softened_answers(
    built: Make, taught: Make, pinhole: Make, batch: Make, task: Any
) -> None:
    student, teacher, b = pinhole(0).eval(), taught("lwf", task), batch(old=0)
    found = built("lwf", temperature=3, soft_label=0.5).losses(student, teacher, b)["soft_label"]
    p, q = ((who(b.faces).logits / 3).softmax(1) for who in (teacher, student))
    torch.testing.assert_close(found, 0.5 * 9 * (p * (p / q).log()).sum(1).mean())


def test_a_strong_teacher_is_not_contradicted(built: Make, taught: Make, pinhole: Make, batch: Make, task: Any) -> None:
    """With enough weight the student comes to answer as its teacher does, whatever the labels say."""
    student, teacher, b = pinhole(0), taught("lwf", task), batch(old=0)
    optimiser = torch.optim.Adam(student.parameters(), lr=0.02)
    lwf = built("lwf", soft_label=1000)
    gaps = []
    for _ in range(60):
        terms = lwf.losses(student, teacher, b)
        gaps.append(terms["soft_label"].item())
        optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimiser.step()
    assert gaps[-1] < 0.2 * gaps[0]
