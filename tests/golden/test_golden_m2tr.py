"""M2TR's parts and its centre against values computed elsewhere; loops over the cases found, so that another draw runs
unchanged."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from components.detectors.m2tr import CrossModalityFusion, FrequencyBlock, FrequencyFilter, PatchAttention
from components.losses import contrastive

Arrays = dict[str, np.ndarray]
Golden = Callable[[str], Arrays]

OURS = {"query": "query", "key": "key", "value": "value", "out_conv": "mix.0", "out_bn": "mix.1"} | {
    f"ff_{kind}{n}": f"feed_forward.{n - 1}.{place}" for n in (1, 2) for place, kind in enumerate(("conv", "bn"))
}


def cases(file: Arrays, suffix: str) -> list[str]:
    found = sorted(name.removesuffix(suffix) for name in file if name.endswith(suffix))
    assert found, f"no array named *{suffix}"
    return found


def tensor(values: np.ndarray, *, learn: bool = False) -> Tensor:
    return torch.from_numpy(np.array(values)).requires_grad_(learn)


def close(found: Tensor, expected: np.ndarray, *, atol: float = 1e-10, rtol: float = 0.0) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=rtol, atol=atol)


def filled(part: nn.Module, file: Arrays) -> nn.Module:
    """`part` in float64 and evaluation mode, with the parameters of the file; every one of ours must be there."""
    state = {
        f"{our}.{kind}": tensor(file[f"{their}_{kind}"])
        for their, our in OURS.items()
        for kind in ("weight", "bias", "running_mean", "running_var")
        if f"{their}_{kind}" in file
    }
    if "complex_weight" in file:
        state["filter.gain"] = tensor(file["complex_weight"])
    missing, unknown = part.double().load_state_dict(state, strict=False)
    assert not unknown and all(name.endswith("num_batches_tracked") for name in missing)
    return part.eval()


def frequency_filter(file: Arrays, case: str, dtype: torch.dtype = torch.float64) -> FrequencyFilter:
    C, H, W = file[f"{case}x"].shape[1:]
    part = FrequencyFilter(C, H, W).to(dtype)
    part.load_state_dict({"gain": tensor(file[f"{case}complex_weight"]).to(dtype)})
    return part


def test_the_filter_at_even_and_odd_sizes(golden: Golden) -> None:
    file = golden("13_frequency_filter")
    for case in cases(file, "complex_weight"):
        close(frequency_filter(file, case)(tensor(file[f"{case}x"])), file[f"{case}filtered"])


def test_the_filters_gradient(golden: Golden) -> None:
    file = golden("13_frequency_filter")
    x = tensor(file["x"], learn=True)
    frequency_filter(file, "")(x).square().sum().backward()
    assert x.grad is not None
    close(x.grad, file["grad_x"])


def test_the_filter_in_single_precision_even_where_the_rest_is_half(golden: Golden) -> None:
    file = golden("13_frequency_filter")
    part, x = frequency_filter(file, "", torch.float32), tensor(file["x"]).float()
    with torch.autocast("cpu", torch.bfloat16):
        found = part(x)
    assert found.dtype == torch.float32
    close(found, file["filtered"], atol=1e-4)
    close(found, file["filtered_float32"], atol=1e-6)


def test_the_block_around_the_filter(golden: Golden) -> None:
    file = golden("13_frequency_filter")
    block = filled(FrequencyBlock(*file["x"].shape[1:]), file)
    close(block(tensor(file["x"])), file["block_out"])


@pytest.fixture
def attention(golden: Golden) -> tuple[PatchAttention, Arrays]:
    file = golden("14a_multiscale_attention")
    C, H, _ = file["x"].shape[1:]
    part = filled(PatchAttention(C, [H // int(side) for side in file["patch_side"]]), file)
    assert isinstance(part, PatchAttention)
    return part, file


def test_heads_compare_patches_of_their_own_size(attention: tuple[PatchAttention, Arrays]) -> None:
    part, file = attention
    close(part.heads(tensor(file["x"])), file["heads_concatenated"])
    close(part.mix(part.heads(tensor(file["x"]))), file["attention_out"])


def test_the_attention_block(attention: tuple[PatchAttention, Arrays]) -> None:
    part, file = attention
    close(part(tensor(file["x"])), file["block_out"])
    single = part.float()(tensor(file["x"]).float())
    close(single, file["block_out"], atol=1e-4, rtol=1e-4)


def test_the_fusion_of_square_and_of_other_maps(golden: Golden) -> None:
    file = golden("14b_cross_modality_fusion")
    part = filled(CrossModalityFusion(file["rgb"].shape[1]), file)
    for case in cases(file, "rgb"):
        close(part(tensor(file[f"{case}rgb"]), tensor(file[f"{case}freq"])), file[f"{case}out"])


def test_the_centre_in_the_papers_sign_and_its_gradient(golden: Golden) -> None:
    file = golden("15_centre_loss")
    for case in cases(file, "reference_value"):
        features = tensor(file[f"{case}features"], learn=True)
        loss = contrastive.centre(features, tensor(file[f"{case}labels"]))
        close(loss, file[f"{case}loss"])
        close(loss, -file[f"{case}reference_value"])
        loss.backward()
        assert features.grad is not None
        close(features.grad, file[f"{case}grad_features"])


def test_a_centre_from_elsewhere_takes_no_gradient(golden: Golden) -> None:
    file = golden("15_centre_loss")
    for case in cases(file, "grad_features_detached_centre"):
        features, labels = tensor(file[f"{case}features"], learn=True), tensor(file[f"{case}labels"])
        around = contrastive.mean_where(features, labels == 0).detach()
        contrastive.centre(features, labels, around=around).backward()
        assert features.grad is not None
        close(features.grad, file[f"{case}grad_features_detached_centre"])
