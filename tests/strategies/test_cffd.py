"""CFFD: the teacher speaks about remembered and about genuine faces, and only it makes the student differ from replay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from components import detectors, strategies
from components.detectors import Detector
from components.losses import contrastive
from components.strategies import Terms
from components.tasks.dataset import Batch
from components.vocabulary import REAL

Make = Callable[..., Any]


def terms(strategy: str, student: Detector, teacher: Detector | None, batch: Batch, **options: float) -> Terms:
    return strategies.build(strategy, strategies.options(strategy, options)).losses(student, teacher, batch)


@pytest.fixture
def teacher(pinhole: Make) -> Any:
    return pinhole(1).eval().requires_grad_(False)


def asked(batch: Batch) -> torch.Tensor:
    """The faces about which a teacher is asked."""
    return batch.faces[batch.replayed | (batch.labels == REAL)]


def test_the_teacher_sees_replayed_faces_and_genuine_ones(pinhole: Make, teacher: Any, batch: Make) -> None:
    student, b = pinhole(0), batch(new=5, old=3)
    new_genuine = int((b.labels[:5] == REAL).sum())
    assert 0 < new_genuine < 5
    terms("cffd", student, teacher, b)
    assert (student.shown, teacher.shown) == ([8], [3 + new_genuine])


def test_the_teacher_can_be_asked_about_replayed_faces_only(pinhole: Make, teacher: Any, batch: Make) -> None:
    student, b = pinhole(0), batch(new=5, old=3)
    terms("cffd", student, teacher, b, new_genuine=False)
    assert (student.shown, teacher.shown) == ([8], [3])


def test_replayed_faces_are_found_wherever_they_stand(pinhole: Make, teacher: Any, batch: Make) -> None:
    plain, order = batch(new=4, old=4), torch.tensor([5, 0, 7, 2, 1, 4, 3, 6])
    mixed = plain.where(order)
    for name, term in terms("cffd", pinhole(0), teacher, plain).items():
        torch.testing.assert_close(terms("cffd", pinhole(0), teacher, mixed)[name], term)


def test_where_nothing_may_be_asked_nothing_is_distilled(pinhole: Make, teacher: Any, batch: Make) -> None:
    found = terms("cffd", pinhole(0), teacher, batch(old=0), new_genuine=False)
    assert set(found) == {"cross_entropy", "spread", "hscl"}
    assert teacher.shown == []


def test_without_replay_and_contrast_it_is_finetuning(pinhole: Make, teacher: Any, batch: Make) -> None:
    for who in (None, teacher):
        mine = terms("cffd", pinhole(0), who, batch(old=0), contrast=0, new_genuine=False)
        plain = terms("finetune", pinhole(0), who, batch(old=0))
        assert mine.keys() == plain.keys() and all(torch.equal(mine[name], plain[name]) for name in mine)


def test_its_own_terms_stand_beside_the_detector_s(pinhole: Make, teacher: Any, batch: Make) -> None:
    found = terms("cffd", pinhole(0), teacher, batch())
    assert list(found) == ["cross_entropy", "spread", "hscl", "slkd", "mfkd", "rkd"]
    assert all(term > 0 for term in found.values())


def test_a_detector_with_domains_is_distilled_in_each(two_domains: Make, batch: Make) -> None:
    student, teacher, b = two_domains(0).eval(), two_domains(1).eval().requires_grad_(False), batch(new=3, old=5)
    found = terms("cffd", student, teacher, b, domains=1)
    assert list(found)[-1] == "dkd"
    mine, its = (who(asked(b)).domains for who in (student, teacher))
    by_domain = [
        torch.stack(
            [2 - 2 * torch.cosine_similarity(s.mean((2, 3)), t.mean((2, 3))).mean() for s, t in zip(*pair, strict=True)]
        ).mean()
        for pair in ((mine[name], its[name]) for name in ("spatial", "frequency"))
    ]
    torch.testing.assert_close(found["dkd"], torch.stack(by_domain).mean())


WEIGHTS = {"slkd": "soft_label", "mfkd": "features", "rkd": "relations", "dkd": "domains", "hscl": "contrast"}


def test_with_weights_of_zero_it_is_experience_replay(two_domains: Make, batch: Make) -> None:
    teacher = two_domains(1).eval().requires_grad_(False)
    found = terms("cffd", two_domains(0), teacher, batch(), **dict.fromkeys(WEIGHTS.values(), 0))
    replay = terms("er", two_domains(0), teacher, batch())
    assert all(found.pop(name) == 0 for name in ("slkd", "mfkd", "rkd", "dkd"))
    assert found.keys() == replay.keys() and all(torch.equal(found[name], replay[name]) for name in found)


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_weight_multiplies_its_own_term(two_domains: Make, batch: Make, name: str) -> None:
    teacher = two_domains(1).eval().requires_grad_(False)
    once, thrice = (terms("cffd", two_domains(0), teacher, batch(), **{WEIGHTS[name]: weight}) for weight in (0.7, 2.1))
    torch.testing.assert_close(thrice.pop(name), 3 * once.pop(name))
    assert all(torch.equal(thrice[other], once[other]) for other in once)


def test_the_contrast_relates_two_domains_at_every_level(two_domains: Make, batch: Make) -> None:
    student, b = two_domains(0).eval(), batch(old=0)
    domains = student(b.faces).domains
    levels = [
        contrastive.terms(s.mean((2, 3)), f.mean((2, 3)), b.labels, temperature=0.3).mean()
        for s, f in zip(domains["spatial"], domains["frequency"], strict=True)
    ]
    found = terms("cffd", student, None, b, contrast=1, contrast_temperature=0.3)["hscl"]
    torch.testing.assert_close(found, torch.stack(levels).mean())


def test_the_contrast_of_a_detector_without_domains_is_over_its_levels(pinhole: Make, batch: Make) -> None:
    student, b = pinhole(0).eval(), batch(old=0)
    levels = [contrastive.within(f.mean((2, 3)), b.labels, temperature=0.3) for f in student(b.faces).levels]
    found = terms("cffd", student, None, b, contrast=1, contrast_temperature=0.3)["hscl"]
    torch.testing.assert_close(found, torch.stack(levels).mean())


def test_a_detector_s_own_contrast_is_not_doubled(batch: Make) -> None:
    options = detectors.options("rsia_net", {"size": "tiny"})
    student, b = detectors.build("rsia_net", options).eval(), batch(old=0)
    mine, own = terms("cffd", student, None, b), student.losses(student(b.faces), b)
    assert "hscl" in own and mine.keys() == own.keys()
    assert all(torch.equal(mine[name], own[name]) for name in own)


def test_a_student_who_is_its_teacher_s_equal_has_nothing_to_distil(pinhole: Make, teacher: Any, batch: Make) -> None:
    student = pinhole(1).eval()  # in training mode its batch statistics would be others
    found = terms("cffd", student, teacher, batch())
    for name in ("slkd", "mfkd", "rkd"):
        assert found[name].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("tau", [1.0, 2.0, 5.0])
def test_slkd_is_the_divergence_of_the_softened_answers(pinhole: Make, teacher: Any, batch: Make, tau: float) -> None:
    student, b = pinhole(0).eval(), batch(new=3, old=5)
    found = terms("cffd", student, teacher, b, soft_label=1, temperature=tau)["slkd"]
    p = (teacher(asked(b)).logits / tau).softmax(1)
    q = (student(asked(b)).logits / tau).softmax(1)
    torch.testing.assert_close(found, tau**2 * (p * (p / q).log()).sum(1).mean())


def test_mfkd_compares_every_level_on_the_unit_sphere(pinhole: Make, teacher: Any, batch: Make) -> None:
    student, b = pinhole(0).eval(), batch(new=3, old=5)
    levels = []
    for mine, its in zip(student(asked(b)).levels, teacher(asked(b)).levels, strict=True):
        s, t = mine.mean((2, 3)), its.mean((2, 3))
        levels.append(2 - 2 * torch.cosine_similarity(s, t))  # |a - b|^2 of unit vectors
    torch.testing.assert_close(terms("cffd", student, teacher, b, features=1)["mfkd"], torch.stack(levels).mean())


def test_rkd_compares_how_faces_lie_to_one_another(pinhole: Make, teacher: Any, batch: Make) -> None:
    student, b = pinhole(0).eval(), batch(new=3, old=5)
    old = asked(b)
    mine, its = (
        torch.cosine_similarity(z[:, None], z[None], dim=2) for z in (student(old).embedding, teacher(old).embedding)
    )
    expected = ((mine - its) ** 2).sum() / (len(old) * (len(old) - 1))  # ordered pairs; the diagonal is 0
    torch.testing.assert_close(terms("cffd", student, teacher, b, relations=1)["rkd"], expected)


def test_a_single_replayed_face_relates_to_none(pinhole: Make, teacher: Any, batch: Make) -> None:
    assert terms("cffd", pinhole(0), teacher, batch(new=7, old=1), new_genuine=False)["rkd"] == 0
