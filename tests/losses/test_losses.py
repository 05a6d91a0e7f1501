"""Laws of the loss functions beyond their golden values."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from components.losses import contrastive, distillation, frequency, penalties, perturbations, prototypes, subspaces
from components.losses.focal import focal


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


def test_focal_is_the_cross_entropy_of_the_unsure() -> None:
    logits, labels = draw(6, 2), torch.tensor([0, 1] * 3)
    torch.testing.assert_close(focal(logits, labels, gamma=0), F.cross_entropy(logits, labels))
    p = logits.softmax(dim=1).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(focal(logits, labels, gamma=2), (-((1 - p) ** 2) * p.log()).mean())


@pytest.mark.parametrize("gamma", [0, 0.5, 2])
def test_focal_is_finite_where_an_answer_is_certain(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0], [200.0, 0.0]], requires_grad=True)
    loss = focal(logits, torch.tensor([0, 1]), gamma=gamma)
    loss.backward()
    assert loss.isfinite() and logits.grad is not None and logits.grad.isfinite().all()


# -- shapes and values nobody says -----------------------------------------------------------------------------------------


def test_the_contrast_has_a_temperature_of_a_hundredth_unless_another_is_said() -> None:
    s, f, labels = draw(2, 6, 4), draw(2, 6, 4, seed=1), torch.tensor([0, 1, 0, 1, 1, 0])
    for term, given in (
        (contrastive.within, (s, labels)),
        (contrastive.across, (s, f, labels)),
        (contrastive.hscl, (s, f, labels)),
        (contrastive.terms, (s, f, labels)),
    ):
        unsaid, said, other = term(*given), term(*given, temperature=0.01), term(*given, temperature=0.5)
        assert torch.equal(unsaid, said) and not torch.allclose(unsaid, other)


@pytest.mark.parametrize("leading", [(), (3,), (2, 3)])
def test_contrastive_terms_keep_leading_dimensions_and_put_the_four_last(leading: tuple[int, ...]) -> None:
    s, f, labels = draw(*leading, 6, 4), draw(*leading, 6, 4, seed=1), torch.tensor([0, 1, 0, 1, 1, 0])
    found = contrastive.terms(s, f, labels, temperature=0.3)
    assert found.shape == (*leading, 4)
    by_name = (
        contrastive.within(s, labels, temperature=0.3),
        contrastive.within(f, labels, temperature=0.3),
        contrastive.across(s, f, labels, temperature=0.3),
        contrastive.across(f, s, labels, temperature=0.3),
    )
    for number, term in enumerate(by_name):
        torch.testing.assert_close(found[..., number], term)


def test_confidence_has_five_bins_a_label_unless_another_number_is_said() -> None:
    logits, labels = torch.tensor([[9.0, 0.0], [0.0, 9.0], [9.0, 0.0]]), torch.tensor([0, 1, 1])
    assert distillation.confidence_bins(logits, labels).tolist() == [4, 9, -1]


def test_answers_are_softened_by_two_unless_said_otherwise() -> None:
    s, t = draw(5, 2), draw(5, 2, seed=1)
    torch.testing.assert_close(distillation.soft_label(s, t), distillation.soft_label(s, t, tau=2.0))
    assert not torch.allclose(distillation.soft_label(s, t), distillation.soft_label(s, t, tau=3.0))


# -- subspaces -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leading", [(), (2,)])
def test_directions_that_stay_are_orthonormal_and_each_departure_counts(leading: tuple[int, ...]) -> None:
    U_0 = torch.linalg.qr(draw(*leading, 6, 2).double()).Q
    V_0 = torch.linalg.qr(draw(*leading, 5, 2).double()).Q.mT
    none = subspaces.orthogonality(U_0, V_0, U_0, V_0)
    assert none.shape == leading and (none < 1e-20).all()
    eye = torch.eye(2, dtype=torch.float64)
    for U, V in ((1.1 * U_0, V_0), (U_0, 1.1 * V_0), (U_0.roll(1, dims=-2), V_0), (U_0, V_0.roll(1, dims=-1))):
        outside_U, outside_V = U - U_0 @ U_0.mT @ U, V - V @ V_0.mT @ V_0
        parts = (U.mT @ U - eye, V @ V.mT - eye, outside_U, outside_V)
        expected = sum(part.square().sum(dim=(-2, -1)) for part in parts)
        torch.testing.assert_close(subspaces.orthogonality(U, V, U_0, V_0), expected)
        assert (expected > 1e-3).all()


# -- points by class -------------------------------------------------------------------------------------------------------


def test_a_prototype_is_the_mean_direction_of_faces_and_of_their_mirror_images() -> None:
    features, mirrored = torch.tensor([[3.0, 0.0], [0.0, 0.5]]), torch.tensor([[0.0, 9.0], [0.0, 1.0]])
    torch.testing.assert_close(prototypes.prototype(features, mirrored), F.normalize(torch.tensor([0.5, 1.5]), dim=0))


def test_the_nearest_point_of_a_class_answers_for_it() -> None:
    points = F.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]), dim=1)
    found = prototypes.nearest_mean(torch.tensor([[5.0, 0.0]]), points, torch.tensor([0, 1, 0]))
    torch.testing.assert_close(found, torch.tensor([[0.0, -2.0]]))


# -- perturbations ---------------------------------------------------------------------------------------------------------


def test_a_perturbed_image_stays_an_image() -> None:
    images = torch.tensor([-0.9, -0.2, 0.3, 0.9]).reshape(1, 1, 2, 2)
    found = perturbations.perturbed(images, torch.tensor([-0.5, -0.5, 0.5, 0.5]).reshape(1, 2, 2))
    torch.testing.assert_close(found, torch.tensor([-1.0, -0.7, 0.8, 1.0]).reshape(1, 1, 2, 2))


def test_a_sign_step_goes_towards_forged_and_no_farther_than_its_bound() -> None:
    images = torch.zeros(2, 1, 1, 2)

    def answer(shown: torch.Tensor) -> torch.Tensor:  # the first pixel speaks for forged, the second against it
        return torch.stack([shown[:, 0, 0, 1], shown[:, 0, 0, 0]], dim=1)

    start = torch.tensor([[[0.0, 0.25]]])
    found = perturbations.sign_step(answer, images, start, step=0.1, bound=0.2)
    torch.testing.assert_close(found, torch.tensor([[[0.1, 0.15]]]))
    assert start.tolist() == [[[0.0, 0.25]]]
    found = perturbations.universal(answer, images, start, share=1.0, step=0.1, bound=0.2, most_steps=9)
    assert found[0, 0, 0] > found[0, 0, 1]
    assert perturbations.called_forged(answer, perturbations.perturbed(images, found)) == 1
