"""M2TR's own ideas."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from components import detectors, torchvision_ops
from components.detectors import Detector
from components.detectors.m2tr import M2TR, Block, FrequencyFilter, MovingCentre, PatchAttention, mask_entropy
from components.detectors.parts import backbones
from components.errors import BadParams
from components.losses import contrastive
from components.losses.focal import focal
from components.params import TrainingOptions
from components.tasks.dataset import Batch

torchvision_ops.complete()  # before any test imports timm


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tiny(seed: int = 0, **options: object) -> M2TR:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = detectors.build("m2tr", detectors.options("m2tr", {"size": "tiny", **options}))
    assert isinstance(network, M2TR)
    return network


def batch(labels: list[int], masks: Tensor | None = None) -> Batch:
    faces = torch.rand(len(labels), 3, 96, 96, generator=torch.Generator().manual_seed(1))
    truth = torch.tensor(labels)
    return Batch(faces, truth, truth, torch.zeros(len(labels), dtype=torch.bool), masks)


def count(part: torch.nn.Module) -> int:
    return sum(p.numel() for p in part.parameters() if p.requires_grad)


# -- the network ---------------------------------------------------------------------------------------------------------


def test_the_paper_size_has_the_parameters_of_the_release_all_trainable() -> None:
    with torch.device("meta"):  # numbers of weights without the weights
        network = detectors.build("m2tr", detectors.options("m2tr", {"pretrained": ""}))
    assert count(network) == sum(p.numel() for p in network.parameters()) == 18_607_946
    assert isinstance(network, M2TR) and network.decoder is None and len(network.blocks) == 4
    for block in network.blocks:
        assert isinstance(block, Block)
        assert [count(part) for part in (block.attend, block.filter, block.fuse)] == [31_104, 228_544, 4_288]
    assert count(network.trunk) == 17_548_616


@pytest.mark.slow
def test_the_paper_size_halts_at_a_quarter_of_the_image_and_ends_in_1792_channels() -> None:
    network = detectors.build("m2tr", detectors.options("m2tr", {"pretrained": ""})).eval()
    with torch.no_grad():
        detection = network(torch.rand(1, 3, 256, 256))
    assert [tuple(level.shape[1:]) for level in detection.levels] == [
        (32, 80, 80),
        (56, 40, 40),
        (160, 20, 20),
        (1792, 10, 10),
    ]
    assert detection.embedding.shape == (1, 1792)
    assert all(maps.shape[1:] == (32, 80, 80) for maps in detection.domains["spatial"] + detection.domains["frequency"])
    assert len(detection.domains["spatial"]) == len(detection.domains["frequency"]) == 4


def test_the_stochastic_depth_is_the_paper_trunks_own() -> None:
    own, other = (
        detectors.options("m2tr", {}).model_dump(),
        detectors.options("m2tr", {"trunk": "resnet18", "pretrained": ""}).model_dump(),
    )
    assert own["trunk_options"] == {"drop_path_rate": 0.2} and other["trunk_options"] == {}


def test_the_embedding_is_the_mean_of_the_last_level() -> None:
    detection = tiny().eval()(batch([0, 1]).faces)
    torch.testing.assert_close(detection.embedding, detection.levels[-1].mean(dim=(2, 3)))


def test_the_trunk_sees_faces_in_the_statistics_of_imagenet() -> None:
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    network, met = tiny().eval(), list[Tensor]()
    network.trunk.stages[0].register_forward_pre_hook(lambda stage, given: met.append(given[0]))
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    asked = draw(2, 3, 96, 96).clamp(-1, 1)
    with torch.no_grad():
        network(mean + deviation * asked)
    torch.testing.assert_close(met[0], asked, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 3])
def test_every_block_looks_at_both_domains(depth: int) -> None:
    detection = tiny(depth=depth)(batch([0, 1]).faces)
    assert {name: len(maps) for name, maps in detection.domains.items()} == {"spatial": depth, "frequency": depth}
    shape = detection.levels[0].shape
    assert all(m.shape == shape for maps in detection.domains.values() for m in maps)


@pytest.mark.parametrize("name", ["mobilenetv2_050", "resnet10t", "mobilenetv3_small_050"])
def test_a_whole_trunk_ends_in_what_timm_pools(name: str) -> None:
    import timm

    trunk = backbones.build(name, whole=True).eval()
    network = timm.create_model(name).eval()
    state = dict(zip([*network.state_dict()][: len(trunk.state_dict())], trunk.state_dict().values(), strict=True))
    network.load_state_dict(state, strict=False)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        last = trunk(images)[-1]
        torch.testing.assert_close(last, network.forward_features(images))
    assert trunk.channels[-1] == last.shape[1]


@pytest.mark.parametrize("trunk", ["mobilenetv2_050", "resnet10t", "convnext_atto"])
def test_a_trunk_of_timm_takes_part_by_its_name(trunk: str) -> None:
    network = tiny(trunk=trunk, patches=[1, 2, 4, 8])
    detection = network(batch([0, 1]).faces)
    assert [level.shape[2] for level in detection.levels] == [24, 12, 6, 3]
    assert tuple(level.shape[1] for level in detection.levels) == network.trunk.channels


def test_published_weights_reach_the_head_convolution(real_data: Path) -> None:
    path = real_data / "weights/mobilenetv2_100_imagenet.pt"
    network = tiny(trunk="mobilenetv2_100", pretrained=str(path), patches=[1, 2, 4, 8])
    stored, own = torch.load(path, weights_only=True), network.trunk.state_dict().values()
    assert all(
        any(torch.equal(stored[name], value) for value in own) for name in ("conv_stem.weight", "conv_head.weight")
    )


def test_building_moves_no_statistics() -> None:
    assert all(not value.any() for name, value in tiny().state_dict().items() if name.endswith("num_batches_tracked"))
    assert all(part.training for part in tiny().modules())


@pytest.mark.parametrize("options", [{"patches": [1, 2, 5]}, {"patches": [1, 2, 3]}, {"input_px": 128}])
def test_patches_that_do_not_fit_the_maps_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(BadParams, match=r"expected maps that .* found 32 channels of \d+x\d+ .*Choose other patches"):
        tiny(**options)


@pytest.mark.parametrize("size", ["paper", "tiny"])
def test_the_recipe_is_one_the_loop_can_follow(size: str) -> None:
    options = detectors.options("m2tr", {"size": size})
    assert TrainingOptions(**detectors.paper_training("m2tr", options)).founder_epochs > 0


def test_a_compiled_network_answers_alike() -> None:
    network, faces = tiny().eval(), batch([0, 1, 1]).faces
    with torch.no_grad():
        compiled = torch.compile(network, backend="aot_eager", fullgraph=True)(faces)
        torch.testing.assert_close(compiled.logits, network(faces).logits, rtol=1e-5, atol=1e-6)


# -- its parts -----------------------------------------------------------------------------------------------------------


def test_a_head_with_one_patch_hands_on_its_values() -> None:
    attend, maps = PatchAttention(8, [1, 2]), draw(2, 8, 4, 4)
    torch.testing.assert_close(attend.heads(maps)[:, :4], attend.value(maps)[:, :4])


def test_patches_alike_are_averaged_where_queries_are_nought() -> None:
    attend, maps = PatchAttention(4, [2]), draw(1, 4, 4, 4)
    torch.nn.init.zeros_(attend.query.weight)
    assert attend.query.bias is not None
    torch.nn.init.zeros_(attend.query.bias)
    v = attend.value(maps)
    mean = sum((v[..., r : r + 2, c : c + 2] for r in (0, 2) for c in (0, 2)), torch.zeros(())) / 4
    torch.testing.assert_close(attend.heads(maps), mean.repeat(1, 1, 2, 2))


@pytest.mark.parametrize("side", [(6, 6), (7, 5)])
def test_a_gain_of_one_lets_everything_through(side: tuple[int, int]) -> None:
    part, maps = FrequencyFilter(3, *side), draw(2, 3, *side)
    part.gain.data.zero_()[..., 0] = 1
    torch.testing.assert_close(part(maps), maps)


def test_the_spectrum_is_not_rounded_to_half_precision() -> None:
    part, maps = FrequencyFilter(3, 8, 8), draw(2, 3, 8, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        half = part(maps)
    assert torch.equal(half, part(maps.float()).bfloat16())


# -- what it pays --------------------------------------------------------------------------------------------------------


def test_all_it_pays_is_counted_in_full_precision() -> None:
    network = tiny(center="ema", masks=True, focal_gamma=2)
    seen = batch([0, 0, 1, 1], masks=torch.rand(4, 1, 96, 96))
    with torch.autocast("cpu", torch.bfloat16):
        terms = network.losses(network(seen.faces), seen)
    assert set(terms) == {"cross_entropy", "centre", "mask"}
    assert all(term.dtype == torch.float32 and term.isfinite() for term in terms.values())
    assert network.centre is not None and network.centre.centre.dtype == torch.float32


def test_without_options_it_pays_entropy_and_centre() -> None:
    network, seen = tiny().eval(), batch([0, 0, 1, 1])
    detection = network(seen.faces)
    terms = network.losses(detection, seen)
    torch.testing.assert_close(terms["cross_entropy"], F.cross_entropy(detection.logits, seen.labels))
    torch.testing.assert_close(terms["centre"], 0.001 * contrastive.centre(detection.embedding, seen.labels))
    assert set(terms) == {"cross_entropy", "centre"}
    assert set(tiny(contrastive_weight=0).losses(detection, seen)) == {"cross_entropy"}


def test_faces_on_the_right_side_of_the_centre_pay_least() -> None:
    near, far = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 0.0])
    labels = torch.tensor([0, 0, 1])
    assert contrastive.centre(torch.stack([near, near, far]), labels).item() == pytest.approx(-2)
    assert contrastive.centre(torch.stack([near, near, near]), labels).item() == pytest.approx(0)
    assert contrastive.centre(torch.stack([near, near, far]), 1 - labels).item() > -2


@pytest.mark.parametrize("labels", [[0], [1], [0, 1, 1], [0, 0], [1, 1]])
@pytest.mark.parametrize("features", [draw(3, 4), torch.zeros(3, 4)])
def test_too_few_faces_for_a_centre_pay_nothing_and_let_the_gradient_through(
    labels: list[int], features: Tensor
) -> None:
    features = features[: len(labels)].clone().requires_grad_()
    loss = contrastive.centre(features, torch.tensor(labels))
    loss.backward()
    assert loss == 0 and features.grad is not None and not features.grad.any()


def test_the_centre_is_found_in_full_precision() -> None:
    features, labels = draw(6, 8).bfloat16(), torch.tensor([0, 1] * 3)
    with torch.autocast("cpu", torch.bfloat16):
        half = contrastive.centre(features, labels)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, contrastive.centre(features.float(), labels))


def test_the_moving_centre_takes_the_first_mean_whole_and_a_tenth_of_the_next() -> None:
    centre, first, second = MovingCentre(4, 0.9), draw(3, 4), draw(3, 4, seed=1)
    genuine = torch.tensor([True, True, False])
    torch.testing.assert_close(centre(first, genuine), first[:2].mean(dim=0))
    torch.testing.assert_close(centre(second, genuine), 0.9 * first[:2].mean(dim=0) + 0.1 * second[:2].mean(dim=0))
    before = centre.centre.clone()
    torch.testing.assert_close(centre(first, torch.tensor([False] * 3)), before)


def test_the_moving_centre_moves_in_training_alone_and_is_saved() -> None:
    network = tiny(center="ema")
    seen = batch([0, 0, 1, 1])
    network.losses(network.eval()(seen.faces), seen)
    assert network.centre is not None and not network.centre.known
    terms = network.losses(network.train()(seen.faces), seen)
    assert network.centre.known and terms["centre"].isfinite() and network.centre.centre.grad_fn is None
    again = tiny(seed=1, center="ema")
    again.load_state_dict(network.state_dict())
    assert again.centre is not None and torch.equal(again.centre.centre, network.centre.centre)


def test_focal_is_an_option() -> None:
    network, seen = tiny(focal_gamma=2).eval(), batch([0, 1])
    detection = network(seen.faces)
    expected = focal(detection.logits, seen.labels, gamma=2)
    torch.testing.assert_close(network.losses(detection, seen)["cross_entropy"], expected)


# -- masks ---------------------------------------------------------------------------------------------------------------


def test_the_mask_decoder_exists_where_it_is_asked_for() -> None:
    def parts(network: Detector) -> set[str]:
        return {name.partition(".")[0] for name in network.state_dict()}

    assert parts(tiny(masks=True)) - parts(tiny()) == {"decoder"}


def test_masks_teach_the_decoder_and_the_texture() -> None:
    network = tiny(masks=True)
    seen = batch([0, 1, 1], masks=torch.rand(3, 1, 96, 96))
    network.losses(network(seen.faces), seen)["mask"].backward()
    taught = [
        p for part in (network.decoder, network.blocks, network.trunk.stages[0]) if part for p in part.parameters()
    ]
    assert taught and all(p.grad is not None and p.grad.any() for p in taught)


def test_a_decoder_learns_where_a_face_was_changed() -> None:
    network, place = tiny(masks=True), torch.zeros(1, 1, 96, 96)
    place[..., 24:72, 24:72] = 1
    seen = batch([0, 1] * 3, masks=place.repeat(6, 1, 1, 1))
    assert seen.masks is not None and network.decoder is not None
    seen.masks[::2] = 0
    seen.faces[1::2, :, 24:72, 24:72] = 0.5
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(20):
        loss = network.losses(network(seen.faces), seen)["mask"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        found = network.decoder(network(seen.faces).levels[0]).sigmoid()
    inside = found[1::2, :, 16:32, 16:32].mean()
    assert inside > 0.6 and found[1::2, :, :8].mean() < 0.3 and found[::2].mean() < 0.3


def test_masks_nobody_knows_are_left_out() -> None:
    logits, masks = draw(3, 1, 8, 8), torch.rand(3, 1, 16, 16)
    masks[1] = float("nan")
    known = torch.tensor([0, 2])
    torch.testing.assert_close(mask_entropy(logits, masks), mask_entropy(logits[known], masks[known]))


@pytest.mark.parametrize("masks", [None, torch.full((2, 1, 16, 16), float("nan"))])
def test_without_a_single_mask_the_decoder_pays_nothing(masks: Tensor | None) -> None:
    network, seen = tiny(masks=True), batch([0, 1], masks)
    terms = network.losses(network(seen.faces), seen)
    assert terms["mask"] == 0
    sum(terms.values(), torch.zeros(())).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_a_coarse_mask_is_compared_by_the_share_of_each_pixel() -> None:
    logits, masks = torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 4, 4)
    masks[..., :2, :] = 1
    expected = F.binary_cross_entropy_with_logits(torch.tensor(0.0), torch.tensor(0.5))
    torch.testing.assert_close(mask_entropy(logits, masks), expected)
