"""Loss functions against values computed elsewhere; loops over the cases found, so that another draw runs unchanged."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike

from components.losses import contrastive, distillation, frequency, penalties

Golden = Callable[[str], dict[str, np.ndarray]]


def cases(file: dict[str, np.ndarray], suffix: str) -> list[str]:
    found = sorted(name.removesuffix(suffix) for name in file if name.endswith(suffix))
    assert found, f"no array named *{suffix}"
    return found


def tensor(values: np.ndarray, *, learn: bool = False) -> torch.Tensor:
    return torch.from_numpy(np.array(values)).requires_grad_(learn)


def close(found: torch.Tensor, expected: ArrayLike, *, atol: float = 1e-10, rtol: float = 0.0) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=rtol, atol=atol)


def weights(file: dict[str, np.ndarray], prefix: str, *, learn: bool = False) -> dict[str, torch.Tensor]:
    return {name: tensor(file[f"{prefix}_{name}"], learn=learn) for name in ("w1", "b1", "w2", "b2")}


def test_fisher_information_is_of_single_samples(golden: Golden) -> None:
    file = golden("18_ewc")
    theta = weights(file, "star", learn=True)
    x, y = tensor(file["x"]), tensor(file["y"])

    def loss(i: int) -> torch.Tensor:
        hidden = torch.tanh(x[i : i + 1] @ theta["w1"].T + theta["b1"])
        return F.cross_entropy(hidden @ theta["w2"].T + theta["b2"], y[i : i + 1])

    fisher = penalties.fisher_diagonal((loss(i) for i in range(len(x))), theta)
    for name, value in fisher.items():
        close(value, file[f"fisher_{name}"], atol=1e-12)
        assert not np.allclose(value, file[f"batchgrad_fisher_{name}"], atol=1e-12, rtol=0)
        assert not np.allclose(value, file[f"pweighted_fisher_{name}"], atol=1e-12, rtol=0)


def test_the_fisher_penalty_and_its_gradient(golden: Golden) -> None:
    file = golden("18_ewc")
    theta, lam = weights(file, "new", learn=True), float(file["lam"])
    penalty = penalties.fisher_penalty(theta, weights(file, "star"), weights(file, "fisher"), lam=lam)
    penalty.backward()
    close(penalty, file["penalty"], atol=0, rtol=1e-9)
    close(penalty * 2 / lam, file["quadratic_sum"], atol=0, rtol=1e-9)
    for name, value in theta.items():
        assert value.grad is not None
        close(value.grad, file[f"grad_penalty_{name}"], rtol=1e-9)


def test_the_online_fisher(golden: Golden) -> None:
    file = golden("18_ewc")
    before, new = weights(file, "online_before"), weights(file, "fisher")
    for name, value in penalties.accumulated(before, new, gamma=float(file["gamma"])).items():
        close(value, file[f"online_after_{name}"], atol=1e-12)


def test_soft_label_distillation(golden: Golden) -> None:
    file = golden("19_distillation_kl")
    for case in cases(file, "_kl"):
        student, tau = tensor(file[f"{case}_student"], learn=True), float(file[f"{case}_tau"])
        loss = distillation.soft_label(student, tensor(file[f"{case}_teacher"]), tau=tau)
        loss.backward()
        close(loss, file[f"{case}_loss"], rtol=1e-9)
        close(loss / tau**2, file[f"{case}_kl"], rtol=1e-9)
        assert student.grad is not None
        close(student.grad, file[f"{case}_grad_student"])
        assert distillation.soft_label(student, student, tau=tau).item() == pytest.approx(
            float(file["equal_loss"]), abs=1e-10
        )


def test_the_mixture_of_teacher_and_truth(golden: Golden) -> None:
    file = golden("22_distillation_cored_dfil")
    for case in cases(file, "_clean_total"):
        student, teacher = tensor(file[f"{case}_student"], learn=True), tensor(file[f"{case}_teacher"])
        tau, alpha = float(file[f"{case}_tau"]), float(file[f"{case}_alpha"])
        loss = distillation.hard_and_soft_label(student, teacher, tensor(file[f"{case}_labels"]), tau=tau, alpha=alpha)
        loss.backward()
        close(loss, file[f"{case}_clean_total"])
        close(loss + float(file[f"{case}_constant"]), file[f"{case}_reference_total"])
        assert student.grad is not None
        close(student.grad, file[f"{case}_grad_student"])


def test_feature_distillation_in_both_forms(golden: Golden) -> None:
    file = golden("22_distillation_cored_dfil")
    student, teacher = tensor(file["feature_student"]), tensor(file["feature_teacher"])
    close(distillation.feature(student, teacher), file["feature_loss_sq_distance"])
    close(distillation.feature_mean_square(student, teacher), file["feature_loss_mse"])


def test_feature_distillation_over_levels(golden: Golden) -> None:
    file = golden("22_distillation_cored_dfil")
    levels = [case for case in cases(file, "_student") if case.startswith("level")]
    student, teacher = ([tensor(file[f"{level}_{role}"]) for level in levels] for role in ("student", "teacher"))
    close(distillation.feature_levels(list(student), list(teacher)), file["levels_loss"])


def test_contrastive_terms_and_their_gradients(golden: Golden) -> None:
    file = golden("23_contrastive_hscl")
    labels = tensor(file["labels"])
    for case in cases(file, "_hscl"):
        s, f = tensor(file["spatial"], learn=True), tensor(file["frequency"], learn=True)
        temperature = float(case[1:].replace("0", "0.", 1) if case[1] == "0" else case[1:])  # t007 is 0.07
        terms = contrastive.terms(s, f, labels, temperature=temperature)
        close(terms, file[f"{case}_terms"], atol=1e-9)
        close(terms[:, :2], file[f"{case}_within_reference"], atol=1e-9)
        loss = contrastive.hscl(s, f, labels, temperature=temperature)
        close(loss, file[f"{case}_hscl"], atol=1e-9)
        loss.backward()
        for branch, name in ((s, "spatial"), (f, "frequency")):
            if f"{case}_grad_{name}" in file:
                assert branch.grad is not None
                close(branch.grad, file[f"{case}_grad_{name}"], atol=1e-9, rtol=1e-9)


def test_contrastive_terms_in_single_precision(golden: Golden) -> None:
    file = golden("23_contrastive_hscl")
    s, f = tensor(file["spatial"]).float(), tensor(file["frequency"]).float()
    close(contrastive.hscl(s, f, tensor(file["labels"]), temperature=0.01), file["t001_hscl"], rtol=1e-4)


def test_a_lonely_anchor_is_skipped_within_and_counted_across(golden: Golden) -> None:
    file = golden("23_contrastive_hscl")
    s, f, labels = tensor(file["spatial"][0]), tensor(file["frequency"][0]), tensor(file["labels_lonely"])
    terms = contrastive.terms(s, f, labels, temperature=0.07)
    close(terms[:2], file["lonely_within"], atol=1e-9)
    close(terms[2:], file["lonely_cross"], atol=1e-9)


def test_the_cosine_transform_and_back(golden: Golden) -> None:
    file = golden("25_dct_bands")
    close(frequency.dct_matrix(len(file["matrix"]), dtype=torch.float64), file["matrix"], atol=1e-12)
    for case in cases(file, "_image"):
        image = tensor(file[f"{case}_image"])
        close(frequency.dct2(image), file[f"{case}_coefficients"], atol=1e-12)
        close(frequency.idct2(frequency.dct2(image)), image.numpy(), atol=1e-12)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_band_images(golden: Golden, dtype: torch.dtype, atol: float) -> None:
    file = golden("25_dct_bands")
    for case in cases(file, "_image"):
        image = tensor(file[f"{case}_image"]).to(dtype)
        H, W = image.shape[-2:]
        assert np.array_equal(frequency.band_masks(H, W), file[f"{case}_masks"])
        close(frequency.Bands(H, W, dtype=dtype)(image[None])[0], file[f"{case}_bands"], atol=atol)


def test_how_many_coefficients_a_band_holds(golden: Golden) -> None:
    file = golden("25_dct_bands")
    for size in (int(name.removeprefix("count_")) for name in file if name.startswith("count_")):
        assert frequency.band_masks(size, size).sum(dim=(1, 2)).tolist() == file[f"count_{size}"].tolist()
