"""iCaRL: a class is a point per task, measured anew as the student sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from components import strategies

Make = Callable[..., Any]


def seen(student: Any, faces: Any, keep: Any) -> torch.Tensor:
    """The unit mean of unit embeddings of the kept faces and their mirror images, in eval mode."""
    pixels = faces.batch([i for i in range(len(faces)) if keep(faces.rows.iloc[i])]).faces
    student.eval()
    sides = [F.normalize(student(side).embedding).mean(0) for side in (pixels, pixels.flip(-1))]
    student.train()
    return F.normalize(sum(sides), dim=0).detach()


def test_the_teacher_sees_replayed_faces_only(built: Make, taught: Make, pinhole: Make, batch: Make, task: Any) -> None:
    student, teacher = pinhole(0), taught("icarl", task)
    teacher.shown.clear()
    built("icarl").losses(student, teacher, batch(new=5, old=3))
    assert (student.shown, teacher.shown) == ([8], [3])


def test_its_targets_are_the_teacher_s_sigmoids(
    built: Make, taught: Make, pinhole: Make, batch: Make, task: Any
) -> None:
    student, teacher, b = pinhole(0).eval(), taught("icarl", task), batch(new=3, old=5)
    old = b.faces[b.replayed]
    g, q = teacher(old).logits.sigmoid(), student(old).logits.sigmoid()
    expected = -(g * q.log() + (1 - g) * (1 - q).log()).sum(1).mean()
    found = built("icarl", distillation=2).losses(student, teacher, b)["distillation"]
    torch.testing.assert_close(found, 2 * expected)


def test_prototypes_of_every_task_are_measured_by_the_newest_student(
    built: Make, taught: Make, pinhole: Make, faces_of: Make
) -> None:
    first, memory, newest = faces_of("swap"), faces_of("swap", "mesh", clips=3), faces_of("mask")
    icarl, student, teacher = built("icarl", batch=3), pinhole(0), taught("icarl", first)
    icarl.prepare(student, teacher, newest, teacher.carried)
    found = icarl.carry_over(student, newest, memory)
    assert set(found) == {f"prototype.{label}.{task}" for label in (0, 1) for task in ("swap", "mesh", "mask")}
    for label in (0, 1):
        mine = seen(student, newest, lambda row, label=label: row.label == label)
        torch.testing.assert_close(found[f"prototype.{label}.mask"], mine)
        for task in ("swap", "mesh"):
            mine = seen(student, memory, lambda row, t=task, label=label: (row.archive, row.label) == (t, label))
            torch.testing.assert_close(found[f"prototype.{label}.{task}"], mine)


def test_a_task_without_exemplars_keeps_what_was_handed_down(
    built: Make, taught: Make, pinhole: Make, faces_of: Make
) -> None:
    icarl, student, teacher = built("icarl"), pinhole(0), taught("icarl", faces_of("swap"))
    icarl.prepare(student, teacher, faces_of("mesh"), teacher.carried)
    found = icarl.carry_over(student, faces_of("mesh"))
    assert len(found) == 4
    assert all(torch.equal(found[name], value) for name, value in teacher.carried.items())


def test_a_generation_answers_by_the_nearest_prototype(taught: Make, task: Any) -> None:
    detector = taught("icarl", task)
    answering = strategies.find("icarl").classifier(detector, detector.carried)
    faces = task.batch(range(len(task))).faces
    z = F.normalize(detector(faces).embedding)
    d = torch.stack([(z - detector.carried[f"prototype.{label}.swap"]).square().sum(1) for label in (0, 1)], dim=1)
    torch.testing.assert_close(answering(faces).logits.softmax(1), (-d).softmax(1))
    assert not torch.allclose(answering(faces).logits, detector(faces).logits)


def test_a_task_s_own_prototypes_are_of_no_more_faces_than_allowed(built: Make, pinhole: Make, faces_of: Make) -> None:
    icarl, student, task = built("icarl", faces=6), pinhole(0), faces_of("swap", clips=9)
    icarl.prepare(student, None, task, {})
    icarl.carry_over(student, task)
    assert sum(student.shown) == 12  # three of each class, and their mirror images
