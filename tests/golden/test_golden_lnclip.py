"""LNCLIP-DF's sphere against values of the published code; loops over the cases found, so that another draw runs unchanged."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike

from components.detectors.lnclip import NormalisedHead
from components.losses import sphere

Golden = Callable[[str], dict[str, np.ndarray]]


def tensor(values: np.ndarray, *, learn: bool = False) -> torch.Tensor:
    return torch.from_numpy(np.array(values)).requires_grad_(learn)


def close(found: torch.Tensor | None, expected: ArrayLike, *, atol: float) -> None:
    assert found is not None
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=atol)


def endings(file: dict[str, np.ndarray], prefix: str) -> list[str]:
    """What stands after `prefix` in the names that begin with it, the bare name as ""."""
    found = sorted(name.removeprefix(prefix) for name in file if name.startswith(prefix))
    assert found, f"no array named {prefix}*"
    return found


def test_points_between_two(golden: Golden) -> None:
    file = golden("01_slerp")
    a, b = tensor(file["a"], learn=True), tensor(file["b"], learn=True)
    out = sphere.slerp(a, b, tensor(file["t"]))
    close(out, file["out"], atol=1e-10)
    (tensor(file["upstream"]) * out).sum().backward()
    close(a.grad, file["grad_a"], atol=1e-10)
    close(b.grad, file["grad_b"], atol=1e-10)
    close(sphere.slerp(a, b, 0.25), file["out_scalar_t"], atol=1e-10)


def test_points_between_two_in_single_precision(golden: Golden) -> None:
    file = golden("01_slerp")
    a, b, t = (tensor(file[name]).float() for name in ("a", "b", "t"))
    close(sphere.slerp(a, b, t), file["out"], atol=1e-6)


def test_points_between_two_that_are_nearly_one(golden: Golden) -> None:
    file = golden("01_slerp")
    a, t = tensor(file["same_a"]), tensor(file["same_t"])
    close(sphere.slerp(a, 2.5 * a, t), file["same_out"], atol=1e-7)
    close(sphere.slerp(a, tensor(file["near_b"]), t), file["near_out"], atol=1e-7)


def test_a_batch_whose_rows_change_places_within_their_class(golden: Golden) -> None:
    file = golden("02_slerp_swap")
    cases = [name.removesuffix("_out") for name in file if name.endswith("_out")]
    assert cases
    for case in cases:
        features, partner = tensor(file[f"{case}_features"]), tensor(file[f"{case}_partner"])
        out = sphere.swapped(features, partner, tensor(file[f"{case}_t"]))
        itself = (file[f"{case}_partner"] == np.arange(len(partner)))[:, None]
        close(torch.where(tensor(itself), 0, out), np.where(itself, 0, file[f"{case}_out"]), atol=1e-10)
        close(out, file[f"{case}_out"], atol=1e-7)
        assert np.array_equal(sphere.shuffled_partners(tensor(file[f"{case}_labels"])) >= 0, file[f"{case}_replaced"])


def test_alignment_and_its_gradient(golden: Golden) -> None:
    file = golden("03_alignment")
    z = tensor(file["z"], learn=True)
    loss = sphere.alignment(z, tensor(file["labels"]))
    close(loss, file["loss"], atol=1e-12)
    loss.backward()
    close(z.grad, file["grad_z"], atol=1e-12)


def test_alignment_of_other_labels(golden: Golden) -> None:
    file = golden("03_alignment")
    for ending in endings(file, "labels_"):
        rows = file.get(f"z_{ending}", file["z"])
        close(sphere.alignment(tensor(rows), tensor(file[f"labels_{ending}"])), file[f"loss_{ending}"], atol=1e-12)
    alone = sphere.alignment(tensor(file["z"][:1]), tensor(file["labels"][:1]))
    close(alone, file["loss_single_row"], atol=1e-12)


def test_uniformity_and_its_gradient(golden: Golden) -> None:
    file = golden("04_uniformity")
    z = tensor(file["z"], learn=True)
    loss = sphere.uniformity(z)
    close(loss, file["loss"], atol=1e-12)
    loss.backward()
    close(z.grad, file["grad_z"], atol=1e-12)
    close(sphere.uniformity(z, t=1), file["loss_t1"], atol=1e-12)
    assert abs(float(file["loss_t1"]) - loss.item()) > 1e-6


def test_uniformity_of_other_rows(golden: Golden) -> None:
    file = golden("04_uniformity")
    for ending in endings(file, "z_"):
        close(sphere.uniformity(tensor(file[f"z_{ending}"])), file[f"loss_{ending}"], atol=1e-12)


def test_the_head_on_the_sphere(golden: Golden) -> None:
    file = golden("05_normalised_head")
    x = tensor(file["x"], learn=True)
    head = NormalisedHead(x.shape[1], len(file["bias"])).double()
    with torch.no_grad():
        head.weight.copy_(tensor(file["weight"]))
        head.bias.copy_(tensor(file["bias"]))
    logits, z = head(x)
    close(logits, file["logits"], atol=1e-12)
    close(z, file["embeddings"], atol=1e-12)
    close(logits.softmax(dim=1)[:, 1], file["prob_fake"], atol=1e-12)
    rows = len(file["upstream"])
    (tensor(file["upstream"]) * logits[:rows]).sum().backward()
    assert x.grad is not None
    close(x.grad[:rows], file["grad_x"], atol=1e-12)
    close(head.weight.grad, file["grad_weight"], atol=1e-12)
