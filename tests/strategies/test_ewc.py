"""EWC: what mattered is held back, what did not is free, and what is new has no spring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

Make = Callable[..., Any]


def fisher_by_hand(student: Any, task: Any) -> dict[str, torch.Tensor]:
    """The mean over single faces of the squared gradient of the cross entropy, in eval mode."""
    total = {name: torch.zeros_like(p) for name, p in student.named_parameters()}
    student.eval()
    for i in range(len(task)):
        face = task.batch([i])
        student.zero_grad()
        F.cross_entropy(student(face.faces).logits, face.labels).backward()
        for name, p in student.named_parameters():
            total[name] += p.grad**2 / len(task)
    student.zero_grad()
    return total


def test_the_fisher_information_is_of_single_faces_in_eval_mode(built: Make, pinhole: Make, task: Any) -> None:
    ewc, student = built("ewc"), pinhole(0)
    ewc.prepare(student, None, task, {})
    found = ewc.carry_over(student, task)
    expected = fisher_by_hand(pinhole(0), task)
    assert set(found) == {f"fisher.{name}" for name in expected}  # weights, and no batch statistics
    for name, value in expected.items():
        torch.testing.assert_close(found[f"fisher.{name}"], value)


def test_the_gradient_of_its_term_is_the_formula_s(
    built: Make, taught: Make, pinhole: Make, batch: Make, task: Any
) -> None:
    ewc, student, teacher = built("ewc", strength=7), pinhole(0), taught("ewc", task)
    ewc.prepare(student, teacher, task, teacher.carried)
    ewc.losses(student, teacher, batch())["ewc"].backward()
    anchors = dict(teacher.named_parameters())
    for name, theta in student.named_parameters():
        expected = 7 * teacher.carried[f"fisher.{name}"] * (theta - anchors[name])
        torch.testing.assert_close(theta.grad, expected.detach())


def test_a_student_that_has_not_moved_pays_nothing(
    built: Make, taught: Make, pinhole: Make, batch: Make, task: Any
) -> None:
    ewc, teacher = built("ewc"), taught("ewc", task)
    student = pinhole(1)
    ewc.prepare(student, teacher, task, teacher.carried)
    assert ewc.losses(student, teacher, batch())["ewc"] == 0


def test_strong_springs_hold_the_student_near_its_teacher(
    built: Make, taught: Make, pinhole: Make, batch: Make, task: Any
) -> None:
    moved = {}
    for strength in (0, 300):
        ewc, teacher, student = built("ewc", strength=strength), taught("ewc", task), pinhole(1)
        ewc.prepare(student, teacher, task, teacher.carried)
        optimiser = torch.optim.SGD(student.parameters(), lr=0.005)
        for step in range(20):
            optimiser.zero_grad()
            torch.stack(list(ewc.losses(student, teacher, batch(seed=step)).values())).sum().backward()
            optimiser.step()
        moved[strength] = sum(
            (teacher.carried[f"fisher.{name}"] * (theta - anchor) ** 2).sum().item()
            for (name, theta), anchor in zip(student.named_parameters(), teacher.parameters(), strict=True)
        )
    assert moved[300] < 0.5 * moved[0]


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
def test_the_older_tasks_fade_as_the_decay_says(built: Make, pinhole: Make, task: Any, decay: float) -> None:
    ewc, student = built("ewc", decay=decay), pinhole(0)
    handed = {f"fisher.{name}": torch.full_like(p, 3) for name, p in student.named_parameters()}
    ewc.prepare(student, None, task, handed)
    found, new = ewc.carry_over(student, task), fisher_by_hand(pinhole(0), task)
    for name, value in new.items():
        torch.testing.assert_close(found[f"fisher.{name}"], 3 * decay + value)


def test_what_the_student_gained_since_its_teacher_has_no_spring(
    built: Make, taught: Make, pinhole: Make, batch: Make, task: Any
) -> None:
    ewc, student, teacher = built("ewc"), pinhole(0), taught("ewc", task)
    student.wider = nn.Linear(6, 3)
    grown = nn.Linear(6, 4)  # as a head of a detector that met more methods
    student.head, teacher.head = grown, nn.Linear(6, 2).requires_grad_(False)
    student.forward = lambda faces: _narrow(type(student).forward(student, faces))
    ewc.prepare(student, teacher, task, teacher.carried)
    terms = ewc.losses(student, teacher, batch())
    terms["ewc"].backward()
    assert student.wider.weight.grad is None and grown.weight.grad is None
    assert student.coarse[0].weight.grad is not None
    found = ewc.carry_over(student, task)
    assert found["fisher.head.weight"].shape == (4, 6) and not found["fisher.wider.weight"].any()


def _narrow(found: Any) -> Any:
    found.logits = found.logits[:, :2]
    return found


def test_what_is_frozen_has_no_spring(built: Make, taught: Make, pinhole: Make, batch: Make, task: Any) -> None:
    ewc, student, teacher = built("ewc"), pinhole(0), taught("ewc", task)
    student.fine.requires_grad_(False)
    ewc.prepare(student, teacher, task, teacher.carried)
    ewc.losses(student, teacher, batch())["ewc"].backward()
    assert not any(name.startswith("fisher.fine") for name in ewc.carry_over(student, task))


def test_no_more_faces_are_looked_at_than_allowed_and_both_classes_alike(
    built: Make, pinhole: Make, faces_of: Make
) -> None:
    ewc, student, task = built("ewc", faces=6), pinhole(0), faces_of("swap", clips=9)
    ewc.prepare(student, None, task, {})
    ewc.carry_over(student, task)
    assert student.shown == [1] * 6
