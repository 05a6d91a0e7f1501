"""Laws of the loss functions beyond their golden values."""

from __future__ import annotations

import pytest
import torch

from components.losses import contrastive, distillation, frequency, penalties


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("labels", [[0], [0, 1], [1, 1, 1], [0, 1, 1, 1]])
def test_the_contrast_is_finite_in_small_and_lopsided_batches(labels: list[int]) -> None:
    s, f = draw(4, len(labels), 8).requires_grad_(), draw(4, len(labels), 8, seed=1).requires_grad_()
    loss = contrastive.hscl(s, f, torch.tensor(labels))
    loss.backward()
    assert loss.isfinite() and s.grad is not None and s.grad.isfinite().all()


def test_a_lonely_sample_costs_nothing_within_a_branch() -> None:
    assert contrastive.within(draw(2, 5), torch.tensor([0, 1])) == 0


def test_the_contrast_ignores_the_order_of_samples() -> None:
    s, f = draw(2, 6, 5), draw(2, 6, 5, seed=1)
    labels, order = torch.tensor([0, 1, 0, 1, 1, 0]), torch.tensor([4, 2, 0, 5, 1, 3])
    shuffled = contrastive.hscl(s[:, order], f[:, order], labels[order])
    torch.testing.assert_close(shuffled, contrastive.hscl(s, f, labels))


def test_half_precision_features_are_contrasted_in_full() -> None:
    features, labels = draw(8, 16), torch.tensor([0, 1] * 4)
    with torch.autocast("cpu", torch.bfloat16):
        half = contrastive.within(features.bfloat16(), labels)
    torch.testing.assert_close(half, contrastive.within(features.bfloat16().float(), labels))


def test_a_teacher_is_never_taught() -> None:
    student, teacher = draw(4, 2).requires_grad_(), draw(4, 2, seed=1).requires_grad_()
    maps, theirs = draw(4, 3, 2, 2).requires_grad_(), draw(4, 3, 2, 2, seed=1).requires_grad_()
    loss = distillation.soft_label(student, teacher) + distillation.hard_and_soft_label(
        student, teacher, torch.tensor([0, 1, 0, 1]), tau=2, alpha=0.5
    )
    loss = loss + distillation.feature_levels([maps], [theirs]) + distillation.relational(maps, theirs)
    loss = loss + distillation.feature_mean_square(maps, theirs)
    loss.backward()
    assert teacher.grad is None and theirs.grad is None
    assert student.grad is not None and maps.grad is not None


def test_a_student_like_its_teacher_pays_nothing() -> None:
    logits, maps = draw(4, 2), draw(4, 3, 2, 2)
    domains = {"spatial": (maps,), "frequency": (maps,)}
    for loss in (
        distillation.soft_label(logits, logits),
        distillation.feature(maps, maps),
        distillation.relational(maps, maps),
        distillation.domain_levels(domains, domains),
        penalties.fisher_penalty({"w": maps}, {"w": maps}, {"w": maps.abs()}, lam=3),
    ):
        assert abs(loss.item()) < 1e-6


def test_features_are_compared_by_direction() -> None:
    maps = draw(4, 3, 2, 2)
    assert distillation.feature(maps, 5 * maps) < 1e-6
    assert distillation.feature(maps, -maps).item() == pytest.approx(4, abs=1e-5)


def test_domains_are_averaged() -> None:
    a, b = draw(4, 3, 2, 2), draw(4, 3, 2, 2, seed=1)
    mixed = distillation.domain_levels({"spatial": (a,), "frequency": (a,)}, {"spatial": (b,), "frequency": (a,)})
    torch.testing.assert_close(mixed, distillation.feature(a, b) / 2)


@pytest.mark.parametrize("domains", [{}, {"frequency": (draw(2, 3, 2, 2),)}])
def test_networks_without_common_domains_are_refused(domains: dict[str, tuple[torch.Tensor, ...]]) -> None:
    with pytest.raises(ValueError, match="same domains"):
        distillation.domain_levels(domains, {"spatial": (draw(2, 3, 2, 2),)})


def test_relations_survive_a_rotation_and_another_width() -> None:
    z = draw(6, 4)
    rotation, _ = torch.linalg.qr(draw(4, 4, seed=1))
    assert distillation.relational(z @ rotation, z) < 1e-10
    assert distillation.relational(torch.cat([z, torch.zeros(6, 3)], dim=1), z) < 1e-10
    assert distillation.relational(draw(6, 4, seed=2), z) > 1e-3


def test_one_sample_has_no_relations() -> None:
    assert distillation.relational(draw(1, 4), draw(1, 4, seed=1)) == 0


def test_relations_are_the_mean_over_pairs() -> None:
    s, t = torch.nn.functional.normalize(draw(5, 3)), torch.nn.functional.normalize(draw(5, 3, seed=1))
    by_hand = [(s[i] @ s[j] - t[i] @ t[j]) ** 2 for i in range(5) for j in range(5) if i != j]
    torch.testing.assert_close(distillation.relational(s, t), torch.stack(by_hand).mean())


def test_confidence_is_cut_into_bins_by_label() -> None:
    confidence = torch.tensor([0.55, 0.65, 0.95, 1.0, 0.3])
    labels = torch.tensor([0, 1, 1, 0, 1])
    correct = torch.log(confidence / (1 - confidence + 1e-9))
    logits = torch.where(labels[:, None] == torch.arange(2), correct[:, None], 0.0)
    assert distillation.confidence_bins(logits, labels).tolist() == [0, 6, 9, 4, -1]


def test_a_bin_pays_for_leaving_the_teachers_mean_and_an_empty_one_does_not() -> None:
    student, index = torch.tensor([[1.0, 1.0], [3.0, 1.0], [9.0, 9.0]]), torch.tensor([0, 0, -1])
    means, seen = torch.tensor([[1.0, 1.0], [5.0, 5.0]]), torch.tensor([True, True])
    assert distillation.binned(student, index, means, seen).item() == pytest.approx(0.5)


def test_fisher_of_single_samples_is_not_that_of_a_batch() -> None:
    w = torch.tensor([1.0], requires_grad=True)
    assert penalties.fisher_diagonal(((w * x).sum() for x in (1.0, -1.0)), {"w": w})["w"].item() == 1


def test_a_parameter_no_loss_reaches_matters_not_at_all() -> None:
    w, idle = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    assert not penalties.fisher_diagonal([w.sum()], {"w": w, "idle": idle})["idle"].any()


def test_bands_of_an_image_add_up_to_it_and_carry_gradients() -> None:
    images = draw(2, 3, 96, 96).requires_grad_()
    bands = frequency.Bands(96, 96)(images)
    torch.testing.assert_close(bands.sum(dim=1), images)
    bands[:, 0].sum().backward()
    assert images.grad is not None and images.grad.isfinite().all()


def test_bands_are_not_weights() -> None:
    assert not frequency.Bands(32, 32).state_dict()
