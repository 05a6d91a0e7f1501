"""CoReD: the teacher's features of the new task, averaged where it was alike sure, and kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

Make = Callable[..., Any]


def bins_of(who: Any, faces: torch.Tensor, labels: torch.Tensor) -> dict[int, torch.Tensor]:
    """The mean max-pooled map of every (class, tenth of confidence above a half) that has faces."""
    found = who(faces)
    pooled = F.max_pool2d(found.levels[-1], 3).flatten(1)  # its coarsest map is 3 x 3
    p = found.logits.softmax(1)[torch.arange(len(labels)), labels]
    index = [
        int(label) * 5 + min(int((c - 0.5) * 10), 4) if c >= 0.5 else -1 for c, label in zip(p, labels, strict=True)
    ]
    return {
        b: torch.stack([f for f, i in zip(pooled, index, strict=True) if i == b]).mean(0) for b in set(index) - {-1}
    }


def test_its_feature_term_is_the_distance_of_the_bins_both_have(
    built: Make, taught: Make, pinhole: Make, batch: Make, faces_of: Make
) -> None:
    task = faces_of("mesh", clips=8)
    cored, student, teacher, b = built("cored", batch=3), pinhole(0).eval(), taught("cored", task), batch(old=0, new=12)
    cored.prepare(student, teacher, task, {})
    whole = task.batch(range(len(task)))
    its, mine = bins_of(teacher, whole.faces, whole.labels), bins_of(student, b.faces, b.labels)
    common = its.keys() & mine.keys()
    assert common
    expected = sum((mine[i] - its[i]).square().mean() for i in common)
    torch.testing.assert_close(cored.losses(student, teacher, b)["feature"], expected)


def test_a_bin_in_which_the_teacher_saw_nobody_asks_nothing(
    built: Make, taught: Make, pinhole: Make, batch: Make, task: Any
) -> None:
    cored, student, teacher, b = built("cored"), pinhole(0).eval(), taught("cored", task), batch(old=0, new=12)
    with torch.no_grad():  # the teacher calls all faces forged and is sure, the student all genuine
        teacher.head.bias += torch.tensor([-50.0, 50.0])
        student.head.bias += torch.tensor([50.0, -50.0])
    cored.prepare(student, teacher, task, {})
    assert cored.losses(student, teacher, b)["feature"] == 0


def test_features_are_pulled_and_bins_are_not(built: Make, taught: Make, pinhole: Make, batch: Make, task: Any) -> None:
    cored, student, teacher = built("cored"), pinhole(0), taught("cored", task)
    cored.prepare(student, teacher, task, {})
    cored.losses(student, teacher, batch(old=0))["feature"].backward()
    assert student.coarse[0].weight.grad.any()
    assert student.head.weight.grad is None  # confidence decides the bin, and learns nothing from it


def test_the_teacher_looks_at_the_task_once_and_at_no_more_faces_than_allowed(
    built: Make, taught: Make, pinhole: Make, faces_of: Make
) -> None:
    task = faces_of("swap", clips=9)
    teacher = taught("cored", task)
    built("cored", faces=10, batch=4).prepare(pinhole(0), teacher, task, {})
    assert teacher.shown == [4, 4, 2]


def test_exemplars_are_distilled_like_new_faces_where_there_are_any(
    built: Make, taught: Make, pinhole: Make, batch: Make, task: Any
) -> None:
    cored, teacher = built("cored"), taught("cored", task)
    cored.prepare(pinhole(0), teacher, task, {})
    teacher.shown.clear()
    cored.losses(pinhole(0), teacher, batch(new=5, old=3))
    assert teacher.shown == [8]


def test_its_terms_are_the_detector_s_and_two_of_its_own_each_by_its_weight(
    built: Make, taught: Make, pinhole: Make, batch: Make, task: Any
) -> None:
    student, teacher, b, found = pinhole(0).eval(), taught("cored", task), batch(), []
    for weights in ({"knowledge": 1.0, "feature": 1.0}, {"knowledge": 3.0, "feature": 5.0}):
        cored = built("cored", **weights)
        cored.prepare(student, teacher, task, {})
        found.append(cored.losses(student, teacher, b))
    assert list(found[0]) == ["cross_entropy", "spread", "knowledge", "feature"]
    torch.testing.assert_close(found[1]["knowledge"], 3 * found[0]["knowledge"])
    torch.testing.assert_close(found[1]["feature"], 5 * found[0]["feature"])


def test_its_answers_are_the_teacher_s_softened_ones_and_the_truth_in_equal_parts(
    built: Make, taught: Make, pinhole: Make, batch: Make, task: Any
) -> None:
    student, teacher, b = pinhole(0).eval(), taught("cored", task), batch()
    cored = built("cored", temperature=3.0)
    cored.prepare(student, teacher, task, {})
    mine, its = student(b.faces).logits, teacher(b.faces).logits
    p, q = (its / 3).softmax(1), (mine / 3).softmax(1)
    expected = 0.5 * 9 * (p * (p / q).log()).sum(1).mean() + 0.5 * F.cross_entropy(mine, b.labels)
    torch.testing.assert_close(cored.losses(student, teacher, b)["knowledge"], expected)
