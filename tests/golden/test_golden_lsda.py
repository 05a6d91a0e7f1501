"""LSDA's formulas against values computed elsewhere; whatever shapes a file holds, the law must give its numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from components import detectors
from components.losses import latent_space

Arrays = dict[str, np.ndarray]
Golden = Callable[[str], Arrays]


def tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(values))


def close(found: Tensor, expected: ArrayLike, *, atol: float = 1e-12) -> None:
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=atol)


def flat(values: np.ndarray) -> Tensor:
    """(group, domain, …) -> (group * domain, …)."""
    return tensor(values).flatten(0, 1)


def domains_of(z: np.ndarray) -> Tensor:
    """The domain of every sample of a flattened (group, domain, …)."""
    groups, domains = z.shape[:2]
    return torch.arange(domains).repeat(groups)


def neighbours(z: np.ndarray, index: np.ndarray) -> Tensor:
    """The sample of group `index[g, k]` and domain k, flattened."""
    return tensor(z)[tensor(index), torch.arange(z.shape[1])].flatten(0, 1)


def test_a_centroid_is_the_mean_of_its_domain(golden: Golden) -> None:
    file = golden("08_lsda_within_domain")
    groups, K = file["z"].shape[:2]
    centroid, seen = latent_space.centroids(flat(file["z"]), domains_of(file["z"]), K)
    close(centroid, file["centroid"])
    assert seen.tolist() == [groups] * K


def test_a_centroid_moves_by_a_tenth(golden: Golden) -> None:
    file = golden("08_lsda_within_domain")
    moved = latent_space.moved(tensor(file["ema_centroid_before"]), tensor(file["centroid"]), momentum=0.9)
    close(moved, file["ema_centroid_after"])


def test_the_hardest_sample_is_the_farthest_from_its_centroid(golden: Golden) -> None:
    file = golden("08_lsda_within_domain")
    z, K = flat(file["z"]), file["z"].shape[1]
    found = latent_space.hardest(z, domains_of(file["z"]), tensor(file["centroid"]))
    assert (found // K).tolist() == file["hard_index"].tolist()
    assert (found % K).tolist() == list(range(K))


def test_augmentations_inside_a_domain(golden: Golden) -> None:
    file = golden("08_lsda_within_domain")
    z, own, beta = flat(file["z"]), domains_of(file["z"]), flat(file["beta"])
    shape = (-1, *file["z"].shape[2:])
    hard = tensor(file["z"])[tensor(file["hard_index"]), torch.arange(file["z"].shape[1])]
    z_j, z_k = (neighbours(file["z"], file[f"difference_{name}"]) for name in "jk")
    found = {
        "direct": latent_space.centrifugal_direct(z, tensor(file["centroid"])[own], beta),
        "indirect": latent_space.centrifugal_indirect(z, hard[own], beta),
        "additive": latent_space.additive(z, flat(file["eps"]), flat(file["sigma"]), beta),
        "difference": latent_space.difference(z, z_j, z_k, beta),
    }
    for name, value in found.items():
        close(value, file[name].reshape(shape))


def test_the_published_variant_takes_every_channel_for_a_sample(golden: Golden) -> None:
    file = golden("08_lsda_within_domain")
    G, K, C = file["z"].shape[:3]
    z, own = tensor(file["z"]).flatten(0, 2), domains_of(file["z"]).repeat_interleave(C)
    centroid, _ = latent_space.centroids(z, own, K)
    hard = latent_space.hardest(z, own, centroid)
    close(centroid, file["channel_centroid"])
    group, domain, channel = np.unravel_index(hard.numpy(), (G, K, C))
    assert (group * C + channel).tolist() == file["channel_hard_index"].tolist() and domain.tolist() == list(range(K))
    beta, sigma, noise_beta = (
        torch.full((len(z),), float(file[f"channel_{name}"]), dtype=torch.float64)
        for name in ("beta", "sigma", "noise_beta")
    )
    first, second = (flat(file["z"])[:, c].repeat_interleave(C, dim=0) for c in (0, 1))
    noise = tensor(file["channel_eps"]).flatten(0, 2)
    found = {
        "direct": latent_space.centrifugal_direct(z, centroid[own], beta),
        "indirect": latent_space.centrifugal_indirect(z, z[hard][own], beta),
        "additive": latent_space.additive(z, noise, sigma, noise_beta),
        "difference": latent_space.difference(z, first, second, beta),
    }
    for name, value in found.items():
        close(value.reshape(file["z"].shape), file[f"channel_{name}"])


def test_mixup_across_domains(golden: Golden) -> None:
    file = golden("09_lsda_mixup")
    G, K = file["permutation"].shape
    partner = (torch.arange(G)[:, None] * K + tensor(file["permutation"])).flatten()
    lam = tensor(file["lam"]).repeat_interleave(K)
    close(latent_space.mixup(flat(file["z"]), partner, lam), file["mixed"].reshape(-1, *file["z"].shape[2:]))


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("shape", ["", "_rect"])
def test_rotation_in_the_plane(golden: Golden, shape: str, dtype: torch.dtype, atol: float) -> None:
    file = golden("10_rotation")
    found = latent_space.rotate(tensor(file[f"maps{shape}"]).to(dtype), tensor(file["angle_degrees"]).to(dtype))
    close(found, file[f"rotated{shape}"], atol=atol)


def test_the_cosine_at_every_position(golden: Golden) -> None:
    file = golden("11_lsda_cosine_loss")
    close(latent_space.cosine(tensor(file["x"]), tensor(file["y"])), file["loss_map"])


def test_the_identity_term_is_a_mean_where_the_published_one_is_a_sum(golden: Golden) -> None:
    file = golden("11_lsda_cosine_loss")
    features = tensor(file["real_encoder_features"])  # real, Deepfakes, Face2Face, FaceSwap, NeuralTextures
    G, K = features.shape[0], features.shape[1] - 1
    real, forged = features[:, :1].expand(-1, K, -1, -1, -1).flatten(0, 1), features[:, 1:].flatten(0, 1)
    found = latent_space.identity(real, forged, torch.arange(K).repeat(G), torch.tensor([-1, 1, -1, 1]))
    close(found, file["real_loss_mean"])
    close(found * G * features.shape[3] * features.shape[4], file["real_loss_sum"], atol=1e-10)


def test_the_published_weights_of_the_terms(golden: Golden) -> None:
    file = golden("11_lsda_cosine_loss")
    options = detectors.options("lsda", {"pretrained": "weights.pt", "identity_weight": 1}).model_dump()
    weights = [options[f"{term}_weight"] for term in ("binary", "domain", "distillation", "identity")]
    close(tensor(file["loss_parts"]) @ torch.tensor(weights).double(), file["loss_total"])
