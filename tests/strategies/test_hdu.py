"""HDU: a perturbation that fools the finished student stands for what it had learned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

Make = Callable[..., Any]


@pytest.fixture
def prepared(built: Make, taught: Make, pinhole: Make, faces_of: Make) -> Any:
    """`prepared(**options)`: a strategy prepared for a second task, with its student and teacher."""

    def make(**options: Any) -> Any:
        hdu, student, teacher = built("hdu", **options), pinhole(0), taught("hdu", faces_of("swap"))
        teacher.shown.clear()
        hdu.prepare(student, teacher, faces_of("mesh"), teacher.carried)
        return hdu, student, teacher

    return make


def forged_share(detector: Any, faces: torch.Tensor) -> float:
    detector.eval()
    return detector(faces).logits.argmax(1).float().mean().item()


def test_the_perturbation_makes_genuine_faces_look_forged(built: Make, pinhole: Make, faces_of: Make) -> None:
    task, student = faces_of("swap", clips=10), pinhole(0).eval()
    genuine = task.batch([i for i in range(len(task)) if task.labels[i] == 0]).faces
    with torch.no_grad():
        student.head.bias[0] += (student(genuine).logits @ torch.tensor([-1.0, 1.0])).max() + 1e-3
    assert forged_share(student, genuine) == 0
    hdu = built("hdu", passes=3, most_steps=50, step=1e-3)
    hdu.prepare(student.train(), None, task, {})
    delta = hdu.carry_over(student, task)["perturbation.swap"]
    assert delta.shape == (3, 12, 12) and delta.abs().max() <= 0.15
    assert forged_share(student, (genuine + delta / 2).clamp(0, 1)) >= 0.8


def test_the_search_is_bounded(built: Make, pinhole: Make, faces_of: Make) -> None:
    task, student = faces_of("swap", clips=6), pinhole(0)
    with torch.no_grad():
        student.head.bias += torch.tensor([100.0, 0.0])  # never fooled
    hdu = built("hdu", passes=2, most_steps=5, batch=3, step=0.1, bound=0.05)
    hdu.prepare(student, None, task, {})
    delta = hdu.carry_over(student, task)["perturbation.swap"]
    assert len(student.shown) == 2 * 2 * 5 * 2  # passes, batches, steps, a look before each step
    assert delta.abs().max() <= 0.05


def test_each_task_adds_its_own_and_keeps_the_others(prepared: Make, faces_of: Make) -> None:
    hdu, student, teacher = prepared()
    found = hdu.carry_over(student, faces_of("mesh"))
    assert set(found) == {"perturbation.swap", "perturbation.mesh"}
    assert torch.equal(found["perturbation.swap"], teacher.carried["perturbation.swap"])


def test_perturbed_genuine_faces_are_learned_as_forged_beside_the_batch(prepared: Make, batch: Make) -> None:
    hdu, student, teacher = prepared()
    student.eval()
    b = batch(old=0, new=8)
    found = hdu.losses(student, teacher, b)
    genuine = b.faces[b.labels == 0]
    shadows = (genuine + teacher.carried["perturbation.swap"] / 2).clamp(0, 1)
    seen = student(shadows)
    by_hand = F.cross_entropy(seen.logits, torch.ones(4, dtype=torch.long), reduction="sum") / 8
    torch.testing.assert_close(found["pseudo_forged"], by_hand)
    for name, value in student.losses(student(b.faces), b).items():
        torch.testing.assert_close(found[name], value)


def test_the_teacher_sees_genuine_faces_and_their_shadows_and_no_forged_one(prepared: Make, batch: Make) -> None:
    hdu, student, teacher = prepared()
    student.eval()
    b = batch(old=0, new=8)
    found = hdu.losses(student, teacher, b)
    assert (student.shown, teacher.shown) == ([12], [8])
    genuine = b.faces[b.labels == 0]
    faces = torch.cat([genuine, (genuine + teacher.carried["perturbation.swap"] / 2).clamp(0, 1)])
    mine, its = student(faces), teacher(faces)
    torch.testing.assert_close(
        found["feature"], (2 - 2 * torch.cosine_similarity(mine.embedding, its.embedding)).mean()
    )
    p, q = its.logits.softmax(1), mine.logits.softmax(1)
    torch.testing.assert_close(found["soft_label"], (p * (p / q).log()).sum(1).mean())


def test_one_of_the_perturbations_is_drawn_at_every_step_from_torch_s_generator(prepared: Make, batch: Make) -> None:
    hdu, student, teacher = prepared()
    student.eval()
    hdu.handed = {f"perturbation.{i}": torch.full((3, 12, 12), 0.1 * i) for i in range(3)}

    def drawn(seed: int) -> float:
        torch.manual_seed(seed)
        return hdu.losses(student, teacher, batch(old=0))["pseudo_forged"].item()

    values = [drawn(seed) for seed in range(20)]
    assert len(set(values)) == 3
    assert values == [drawn(seed) for seed in range(20)]


def test_a_perturbation_is_fitted_to_faces_of_another_size(prepared: Make, batch: Make) -> None:
    hdu, student, teacher = prepared()
    hdu.handed = {"perturbation.swap": torch.full((3, 24, 24), 0.1)}
    student.eval()
    b = batch(old=0)
    found = hdu.losses(student, teacher, b)["pseudo_forged"]
    seen = student((b.faces[b.labels == 0] + 0.05).clamp(0, 1))
    by_hand = F.cross_entropy(seen.logits, torch.ones(2, dtype=torch.long), reduction="sum") / 4
    torch.testing.assert_close(found, by_hand)


def test_without_genuine_faces_nothing_is_perturbed(prepared: Make, batch: Make) -> None:
    hdu, student, teacher = prepared()
    b = batch(old=0)
    forged = b.where(b.labels == 1)
    assert set(hdu.losses(student, teacher, forged)) == {"cross_entropy", "spread"}
    assert teacher.shown == []
