"""The split layer and MASM's penalties against values computed elsewhere; loops over the cases found."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.detectors.parts.subspaces import SplitLinear, Triplets, decomposed
from components.losses import subspaces

Golden = Callable[[str], dict[str, np.ndarray]]
File = dict[str, np.ndarray]


def cases(file: File) -> list[str]:
    found = sorted(name.removesuffix("_main_times_x") for name in file if name.endswith("_main_times_x"))
    assert found, "no array named *_main_times_x"
    return found


def tensor(values: np.ndarray, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.from_numpy(np.array(values)).to(dtype)


def close(found: Tensor, expected: np.ndarray, *, atol: float = 1e-9) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=atol)


def plain(file: File, dtype: torch.dtype = torch.float64) -> nn.Linear:
    rows, columns = file["weight"].shape
    layer = nn.Linear(columns, rows, dtype=dtype)
    with torch.no_grad():
        layer.weight.copy_(tensor(file["weight"]))
        layer.bias.copy_(tensor(file["bias"]))
    return layer


def split(file: File, case: str, *, moved: bool = False) -> SplitLinear:
    """One subspace with the stored vectors, as given or after the stored change."""
    u, s, v = (tensor(file[f"{case}_{name}"]) for name in "usv")
    layer = SplitLinear(plain(file), Triplets(u, s, v), subspaces=1)
    if moved:
        with torch.no_grad():
            for part in ("u", "s", "v"):
                getattr(layer, part)[0].add_(tensor(file[f"{case}_delta_{part}"]))
    return layer


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_a_split_layer_answers_as_the_plain_one(golden: Golden, dtype: torch.dtype, atol: float) -> None:
    file = golden("12_svd_residual")
    for case in cases(file):
        rank = len(file[f"{case}_s"])
        linear = plain(file, dtype)
        layer = SplitLinear(linear, decomposed(linear.weight, rank), subspaces=1)
        x = tensor(file["x"], dtype)
        close(layer(x), file["out_initial"], atol=atol)
        close(F.linear(x, layer.principal), file[f"{case}_main_times_x"], atol=atol)


def test_the_smallest_triplets_are_split_off(golden: Golden) -> None:
    file = golden("12_svd_residual")
    for case in cases(file):
        found = decomposed(tensor(file["weight"]), len(file[f"{case}_s"]))
        close(found.s, file["singular_values"][-len(found.s) :])
        close(found.s, file[f"{case}_s"])
        close(found.product(), (file[f"{case}_u"] * file[f"{case}_s"]) @ file[f"{case}_v"])


def test_gradients_of_the_factors(golden: Golden) -> None:
    file = golden("12_svd_residual")
    for case in cases(file):
        layer = split(file, case)
        (layer(tensor(file["x"])) * tensor(file["upstream"])).sum().backward()
        for part in ("u", "s", "v"):
            slope = getattr(layer, part)[0].grad
            assert slope is not None
            close(slope, file[f"{case}_grad_{part}"])
        assert layer.principal.grad is None and layer.bias is not None and layer.bias.grad is None


def test_a_layer_that_moved(golden: Golden) -> None:
    file = golden("12_svd_residual")
    for case in cases(file):
        layer = split(file, case, moved=True)
        U, s, V = layer.factors()
        close(layer.principal + (U * s) @ V, file[f"{case}_w_hat_moved"])
        out = layer(tensor(file["x"]))
        close(out, file[f"{case}_out_moved"])
        (out * tensor(file["upstream"])).sum().backward()
        slope = layer.s[0].grad
        assert slope is not None
        close(slope, file[f"{case}_grad_s_moved"])


def penalties(layer: SplitLinear) -> tuple[Tensor, Tensor]:
    U, s, V = layer.factors()
    orthogonality = subspaces.orthogonality(U, V, layer.u_0, layer.v_0)
    scale, W_pV = s.view_as(layer.s_0), layer.principal @ V.T
    return orthogonality, subspaces.spectral_consistency(W_pV, U, scale, V, layer.s_0, layer.energy)


def test_the_penalties_of_a_layer_that_moved(golden: Golden) -> None:
    file = golden("12_svd_residual")
    for case in cases(file):
        orthogonality, spectral = penalties(split(file, case, moved=True))
        close(orthogonality, file[f"{case}_our_orth_loss_moved"])
        close(spectral, file[f"{case}_our_spec_loss_moved"])


def test_perfect_subspaces_pay_nothing_though_the_penalty_of_the_reference_is_large(golden: Golden) -> None:
    file = golden("12_svd_residual")
    for case in cases(file):
        layer = split(file, case)
        for penalty in penalties(layer):
            close(penalty, np.zeros(()))
        U, V = layer.u_0, layer.v_0
        thin = (U @ U.T - torch.eye(len(U))).norm() / 2 + (V @ V.T - torch.eye(len(V))).norm() / 2
        close(thin, file[f"{case}_reference_orth_loss"])
        assert thin > 1
