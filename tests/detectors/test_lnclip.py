"""LNCLIP-DF's own ideas."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from components import detectors
from components.detectors import Detector
from components.detectors.parts import clip
from components.errors import BadParams, MissingWeights
from components.evaluation import explain
from components.losses import sphere
from components.params import TrainingOptions, parse
from components.tasks.dataset import Batch


def tiny(**options: object) -> Detector:
    return detectors.build("lnclip", detectors.options("lnclip", {"size": "tiny", **options}))


def some_faces(n: int = 6, side_px: int = 96) -> Tensor:
    return torch.rand(n, 3, side_px, side_px, generator=torch.Generator().manual_seed(0))


def terms_of(detector: Detector, labels: list[int], seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    faces = some_faces(len(labels))
    return detector.losses(detector(faces), Batch.of(faces, torch.tensor(labels)))


# -- what learns ---------------------------------------------------------------------------------------------------------


def test_the_paper_size_trains_its_layer_norms_and_its_head_alone() -> None:
    with torch.device("meta"):
        network = detectors.build("lnclip", detectors.options("lnclip", {}), blank=True)
    free = {name for name, p in network.named_parameters() if p.requires_grad}
    assert sum(p.numel() for p in network.parameters()) == 303_181_826
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 104_450
    assert all(name.startswith("head.") or ".ln_" in f".{name.removeprefix('tower.')}" for name in free)


def test_steps_move_norms_and_head_and_leave_the_rest_bit_for_bit() -> None:
    network = tiny()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 1e-2)
    for seed in range(2):
        sum(terms_of(network, [0, 1, 0, 1], seed).values(), torch.zeros(())).backward()
        optimiser.step()
    free = {name for name, p in network.named_parameters() if p.requires_grad}
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == free and free < set(before)


def test_tiny_starts_from_the_tower_of_the_lab() -> None:
    network, shipped = tiny(), clip.tower("small", pretrained="lab")
    assert all(torch.equal(value, network.tower.state_dict()[name]) for name, value in shipped.state_dict().items())


def test_the_paper_starts_from_the_published_weights_and_says_where_they_are_absent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with torch.device("meta"), pytest.raises(MissingWeights, match=r"'open_clip_model\.safetensors'.*`pretrained`"):
        detectors.build("lnclip", detectors.options("lnclip", {}))


# -- the sphere ----------------------------------------------------------------------------------------------------------


def test_logits_are_read_from_unit_vectors() -> None:
    network = tiny()
    detection = network(some_faces())
    torch.testing.assert_close(detection.embedding.norm(dim=1), torch.ones(6))
    logits, again = network.head(detection.embedding)
    torch.testing.assert_close(network.options.scale * logits, detection.logits)
    torch.testing.assert_close(again, detection.embedding)


@pytest.mark.parametrize("labels", [[0, 1, 0, 1], [0, 0, 0, 1, 1]])
def test_expansion_keeps_the_batch_and_adds_points_of_its_classes(labels: list[int]) -> None:
    z, y = sphere.unit(torch.randn(len(labels), 16)), torch.tensor(labels)
    more, their = sphere.expanded(z, y, factor=8)
    assert len(more) == len(their) == 8 * len(labels)
    assert torch.equal(their.bincount(), 8 * y.bincount())
    torch.testing.assert_close(more[: len(z)], z)
    torch.testing.assert_close(more.norm(dim=1), torch.ones(len(more)))


def test_added_points_lie_between_two_of_one_class() -> None:
    axes, y = torch.eye(4), torch.tensor([0, 0, 1, 1])
    more, their = sphere.expanded(axes, y, factor=8)
    inside = torch.stack([more[their == 0][:, :2], more[their == 1][:, 2:]])
    outside = torch.stack([more[their == 0][:, 2:], more[their == 1][:, :2]])
    assert (inside >= 0).all() and not outside.any()
    assert (inside[:, 2:] > 1e-6).all()  # nobody is their own partner: every point added mixes two


def test_a_class_of_one_is_not_expanded() -> None:
    more, their = sphere.expanded(torch.eye(4), torch.tensor([0, 0, 0, 1]), factor=8)
    assert their.bincount().tolist() == [24, 1]
    assert more.isfinite().all()


def test_opposite_points_have_points_between_them_on_the_sphere() -> None:
    z = sphere.unit(torch.randn(64, 8))
    between = sphere.slerp(z, -z, torch.rand(64, 1))
    torch.testing.assert_close(between.norm(dim=1), torch.ones(64))


def test_partners_are_of_ones_class_and_everyone_is_somebodys() -> None:
    y = torch.tensor([0, 1, 0, 2, 1, 0, 1])
    partner = sphere.shuffled_partners(y)
    assert partner[3] == sphere.NOBODY
    several = y != 2
    assert torch.equal(y[partner[several]], y[several])
    assert torch.equal(partner[several].sort().values, several.nonzero().squeeze(1))


@pytest.mark.parametrize("slerp", ["expand", "replace", "off"])
def test_outside_of_training_the_loss_is_of_what_was_seen(slerp: str) -> None:
    network, labels = tiny(slerp=slerp).eval(), [0, 1, 0, 1, 1]
    first, second = (terms_of(network, labels, seed) for seed in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    torch.testing.assert_close(first, terms_of(tiny_like(network, slerp="off"), labels))


@pytest.mark.parametrize("term", ["cross_entropy", "alignment", "uniformity"])
@pytest.mark.parametrize(("slerp", "draws"), [("expand", True), ("replace", True), ("off", False)])
def test_training_draws_new_points_at_every_step_for_every_term(slerp: str, draws: bool, term: str) -> None:
    network = tiny(slerp=slerp)
    first, second = (terms_of(network, [0, 1, 0, 1, 1, 0], seed)[term] for seed in (0, 1))
    assert torch.equal(first, second) is not draws


def test_every_term_is_of_the_rows_and_of_those_between_them() -> None:
    network, labels = tiny(factor=3, alignment_weight=0.2, uniformity_weight=0.7), torch.tensor([0, 1, 0, 1, 1])
    seen = network(some_faces(5))
    torch.manual_seed(0)
    terms = network.losses(seen, Batch.of(some_faces(5), labels))
    torch.manual_seed(0)
    z, y = sphere.expanded(seen.embedding, labels, factor=3)
    assert len(z) == 15
    torch.testing.assert_close(terms["uniformity"], 0.7 * sphere.uniformity(z))
    torch.testing.assert_close(terms["alignment"], 0.2 * sphere.alignment(z, y))
    logits = network.options.scale * (z @ network.head.weight.T + network.head.bias)
    torch.testing.assert_close(terms["cross_entropy"], nn.functional.cross_entropy(logits, y))


def test_weights_of_the_terms_scale_them() -> None:
    network = tiny(slerp="off", alignment_weight=0.1, uniformity_weight=0.5)
    once, labels = terms_of(network, [0, 1, 0, 1]), [0, 1, 0, 1]
    thrice = terms_of(tiny_like(network, slerp="off", alignment_weight=0.3, uniformity_weight=1.5), labels)
    torch.testing.assert_close(thrice["alignment"], 3 * once["alignment"])
    torch.testing.assert_close(thrice["uniformity"], 3 * once["uniformity"])


def tiny_like(network: Detector, **options: object) -> Detector:
    other = tiny(**options)
    other.load_state_dict(network.state_dict())
    return other.train(network.training)


# -- options, recipe, tools ----------------------------------------------------------------------------------------------


def test_checkpointing_changes_neither_losses_nor_gradients() -> None:
    def step(*, checkpointing: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        torch.manual_seed(1)
        network = tiny(checkpointing=checkpointing)
        terms = terms_of(network, [0, 1, 1, 0])
        sum(terms.values(), torch.zeros(())).backward()
        return terms, {name: p.grad for name, p in network.named_parameters() if p.grad is not None}

    (terms, slopes), (terms_again, slopes_again) = step(checkpointing=False), step(checkpointing=True)
    torch.testing.assert_close(terms_again, terms)
    torch.testing.assert_close(slopes_again, slopes)


def test_a_compiled_network_answers_alike() -> None:
    network, faces = tiny().eval(), some_faces(3)
    compiled: Callable[[Tensor], detectors.Detection] = torch.compile(network, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(faces).logits, network(faces).logits)


def test_heat_maps_show_a_place_of_the_face() -> None:
    network = tiny().requires_grad_(False)
    faces = some_faces(4)
    heat = explain.heat_maps(network, faces)
    assert heat.shape == (4, 96, 96)
    assert heat.amax(dim=(1, 2)).max() == 1


@pytest.mark.parametrize("size", ["paper", "tiny"])
def test_the_recipe_can_be_followed(size: str) -> None:
    options = detectors.options("lnclip", {"size": size})
    params = parse(TrainingOptions, detectors.paper_training("lnclip", options), "recipe")
    assert params.schedule == "cosine_cycles" and params.pairs and params.weight_decay == 0


def test_an_option_out_of_range_is_refused() -> None:
    with pytest.raises(BadParams, match="factor"):
        detectors.options("lnclip", {"factor": 0})


def test_a_vision_transformer_of_open_clip_takes_part_by_its_name() -> None:
    with torch.device("meta"):
        network = tiny(tower="ViT-B-32-quickgelu", pretrained="", input_px=96)
    assert network.input_px == 96 and network.tower.grid == (3, 3)
    assert isinstance(network.head, nn.Linear) and network.head.in_features == 768
