"""CFFD: the teacher speaks about remembered faces alone, and only it makes the student differ from replay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from components import strategies
from components.detectors import Detector
from components.strategies import Terms
from components.tasks.dataset import Batch

Make = Callable[..., Any]


def terms(strategy: str, student: Detector, teacher: Detector | None, batch: Batch, **options: float) -> Terms:
    return strategies.build(strategy, strategies.options(strategy, options)).losses(student, teacher, batch)


@pytest.fixture
def teacher(pinhole: Make) -> Any:
    return pinhole(1).eval().requires_grad_(False)


def test_the_teacher_sees_replayed_faces_only(pinhole: Make, teacher: Any, batch: Make) -> None:
    student = pinhole(0)
    terms("cffd", student, teacher, batch(new=5, old=3))
    assert (student.shown, teacher.shown) == ([8], [3])


def test_replayed_faces_are_found_wherever_they_stand(pinhole: Make, teacher: Any, batch: Make) -> None:
    plain, order = batch(new=4, old=4), torch.tensor([5, 0, 7, 2, 1, 4, 3, 6])
    mixed = plain.where(order)
    for name, term in terms("cffd", pinhole(0), teacher, plain).items():
        torch.testing.assert_close(terms("cffd", pinhole(0), teacher, mixed)[name], term)


def test_where_nothing_is_replayed_nothing_is_distilled(pinhole: Make, teacher: Any, batch: Make) -> None:
    found = terms("cffd", pinhole(0), teacher, batch(old=0))
    assert set(found) == {"cross_entropy", "spread"}
    assert teacher.shown == []


def test_without_replay_it_is_finetuning(pinhole: Make, teacher: Any, batch: Make) -> None:
    for who in (None, teacher):
        mine, plain = (terms(name, pinhole(0), who, batch(old=0)) for name in ("cffd", "finetune"))
        assert mine.keys() == plain.keys() and all(torch.equal(mine[name], plain[name]) for name in mine)


def test_its_own_terms_are_slkd_and_mfkd_beside_the_detector_s(pinhole: Make, teacher: Any, batch: Make) -> None:
    found = terms("cffd", pinhole(0), teacher, batch())
    assert list(found) == ["cross_entropy", "spread", "slkd", "mfkd"]
    assert all(term > 0 for term in found.values())


def test_with_weights_of_zero_it_is_experience_replay(pinhole: Make, teacher: Any, batch: Make) -> None:
    found = terms("cffd", pinhole(0), teacher, batch(), soft_label=0, features=0)
    replay = terms("er", pinhole(0), teacher, batch())
    assert found.pop("slkd") == found.pop("mfkd") == 0
    assert found.keys() == replay.keys() and all(torch.equal(found[name], replay[name]) for name in found)


def test_weights_multiply_their_own_term(pinhole: Make, teacher: Any, batch: Make) -> None:
    once, weighted = (
        terms("cffd", pinhole(0), teacher, batch(), **weights) for weights in ({}, {"soft_label": 3, "features": 0.5})
    )
    torch.testing.assert_close(weighted["slkd"], 3 * once["slkd"])
    torch.testing.assert_close(weighted["mfkd"], 0.5 * once["mfkd"])
    assert torch.equal(weighted["cross_entropy"], once["cross_entropy"])


def test_a_student_who_is_its_teacher_s_equal_has_nothing_to_distil(pinhole: Make, teacher: Any, batch: Make) -> None:
    student = pinhole(1).eval()  # in training mode its batch statistics would be others
    found = terms("cffd", student, teacher, batch())
    assert found["slkd"].item() == pytest.approx(0, abs=1e-6)
    assert found["mfkd"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("tau", [1.0, 2.0, 5.0])
def test_slkd_is_the_divergence_of_the_softened_answers(pinhole: Make, teacher: Any, batch: Make, tau: float) -> None:
    student, b = pinhole(0).eval(), batch(new=3, old=5)
    found = terms("cffd", student, teacher, b, temperature=tau)["slkd"]
    p = (teacher(b.faces[b.replayed]).logits / tau).softmax(1)
    q = (student(b.faces[b.replayed]).logits / tau).softmax(1)
    torch.testing.assert_close(found, tau**2 * (p * (p / q).log()).sum(1).mean())


def test_mfkd_compares_every_level_on_the_unit_sphere(pinhole: Make, teacher: Any, batch: Make) -> None:
    student, b = pinhole(0).eval(), batch(new=3, old=5)
    levels = []
    for mine, its in zip(student(b.faces[b.replayed]).levels, teacher(b.faces[b.replayed]).levels, strict=True):
        s, t = mine.mean((2, 3)), its.mean((2, 3))
        levels.append(2 - 2 * torch.cosine_similarity(s, t))  # |a - b|^2 of unit vectors
    torch.testing.assert_close(terms("cffd", student, teacher, b)["mfkd"], torch.stack(levels).mean())


def test_the_paper_s_strategy_remembers_by_hybrid_sampling_and_replay_by_a_reservoir() -> None:
    assert [strategies.find(name).remembers for name in ("cffd", "er", "finetune")] == [
        "hybrid",
        "reservoir",
        "nothing",
    ]
