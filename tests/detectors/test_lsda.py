"""LSDA's own ideas."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from components import detectors
from components.detectors import Detector, lsda
from components.detectors.lsda import LSDA
from components.detectors.parts import backbones
from components.errors import BadParams, MissingWeights
from components.losses import latent_space
from components.params import TrainingOptions
from components.tasks import augmentations
from components.tasks.dataset import Batch

METHODS = ("swap", "reenactment", "mesh")
MOBILENET = "weights/mobilenetv2_100_imagenet.pt"


def tiny(*, seed: int = 0, methods: tuple[str, ...] = (), **options: object) -> LSDA:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = detectors.build("lsda", detectors.options("lsda", {"size": "tiny", **options}))
    network.begin_task(methods)
    assert isinstance(network, LSDA)
    return network


def batch_of(*methods: int, seed: int = 0) -> Batch:
    """Faces of these methods, 0 genuine."""
    faces = torch.rand(len(methods), 3, 96, 96, generator=torch.Generator().manual_seed(seed))
    numbers = torch.tensor(methods)
    return Batch.of(faces, (numbers > 0).long(), numbers)


def paid(network: Detector, batch: Batch) -> dict[str, Tensor]:
    return network.losses(network(batch.faces), batch)


def learned(network: Detector, batch: Batch) -> dict[str, Tensor]:
    """The terms, after their gradients were computed."""
    terms = paid(network, batch)
    torch.stack(list(terms.values())).sum().backward()
    return terms


def count(part: nn.Module) -> int:
    return sum(p.numel() for p in part.parameters())


# -- the architecture --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_paper_size_has_the_parameters_of_the_design() -> None:
    network = detectors.build("lsda", detectors.options("lsda", {"pretrained": ""}))
    network.begin_task(["Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"])
    assert isinstance(network, LSDA)
    assert count(network.student) == 18_466_632 and count(network.head) == 263_682
    assert count(network.student) + count(network.head) == 18_730_314  # all there is at inference
    for domain in network.domains:
        assert count(domain.trunk) == 17_548_616 and count(domain.mix) == 918_016
    assert count(network.fusion) == 5_244_416
    rows = sum(count(domain.row) for domain in network.domains)
    assert count(network.domain_head) + count(network.genuine_row) + rows == 132_613
    assert not any(p.requires_grad for p in network.real_teacher.parameters())
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert trainable == 18_730_314 + 4 * 18_466_632 + 5_244_416 + 132_613
    levels = network.eval()(torch.rand(1, 3, 256, 256)).levels
    assert tuple(levels[-1].shape) == (1, 512, 8, 8) and network.side == 8


def test_the_last_level_is_what_the_embedding_pools() -> None:
    network = tiny()
    detection = network(torch.rand(2, 3, 96, 96))
    assert [level.shape[1] for level in detection.levels] == [*backbones.SMALL_CHANNELS[:-1], 64]
    torch.testing.assert_close(detection.embedding, detection.levels[-1].mean(dim=(2, 3)))


@pytest.mark.parametrize("training", [True, False])
def test_looking_at_faces_runs_the_student_alone(training: bool) -> None:
    network = tiny(methods=METHODS).train(training)
    asked: list[str] = []
    for name, part in network.named_children():
        part.register_forward_hook(lambda *_, name=name: asked.append(name))
    network(torch.rand(2, 3, 96, 96))
    assert asked == ["student", "head"]


@pytest.mark.parametrize("shared", [True, False])
def test_every_teacher_learns_where_every_method_is_seen(shared: bool) -> None:
    network = tiny(methods=METHODS, shared_teacher=shared)
    learned(network, batch_of(0, 1, 0, 2, 0, 3))
    assert all(p.grad is not None and p.grad.any() for p in network.parameters() if p.requires_grad)


# -- who learns from what ----------------------------------------------------------------------------------------------


def taught(network: LSDA, batch: Batch, term: str) -> set[str]:
    """The parts of the network that this term reaches."""
    paid(network, batch)[term].backward()
    return {name.partition(".")[0] for name, p in network.named_parameters() if p.grad is not None}


def test_distillation_teaches_the_student_and_no_teacher() -> None:
    assert taught(tiny(methods=METHODS), batch_of(0, 1, 0, 2, 0, 3), "distillation") == {"student"}


def test_the_teachers_learn_from_the_domain_term_alone() -> None:
    reading = {"domain_head", "genuine_row", "domains"}
    batch = batch_of(0, 1, 0, 2, 0, 3)
    assert taught(tiny(methods=METHODS), batch, "domain") == {"teacher_trunk", *reading}
    network = tiny(methods=METHODS)
    assert taught(network, batch, "fusion") == {"fusion", *reading}
    assert all(domain.mix.weight.grad is None for domain in network.domains)


def test_no_target_is_louder_than_another() -> None:
    network = tiny()
    loud = tiny()
    for p in loud.fusion[-2].parameters():
        p.data.mul_(100)
    batch = batch_of(0, 1, 0, 1)
    torch.manual_seed(0)
    once = paid(network.eval(), batch)["distillation"]
    torch.manual_seed(0)
    torch.testing.assert_close(paid(loud.eval(), batch)["distillation"], once, rtol=0.05, atol=0)


def test_the_terms_are_scaled_by_their_weights() -> None:
    batch, weights = batch_of(0, 1, 0, 1), {"binary": 1.5, "domain": 2.0, "fusion": 3.0, "distillation": 4.0}
    once = tiny(**{f"{name}_weight": 1 for name in weights}).eval()
    heavier = tiny(**{f"{name}_weight": weight for name, weight in weights.items()}).eval()
    torch.manual_seed(0)
    light = paid(once, batch)
    torch.manual_seed(0)
    heavy = paid(heavier, batch)
    weights["cross_entropy"] = weights.pop("binary")
    for name, weight in weights.items():
        torch.testing.assert_close(heavy[name], weight * light[name])


# -- domains that come one after another -------------------------------------------------------------------------------


def test_a_method_brings_a_teacher_and_leaves_the_others_as_they_are() -> None:
    network = tiny()
    before = {name: (p, p.detach().clone()) for name, p in network.named_parameters()}
    network.begin_task(METHODS)
    after = dict(network.named_parameters())
    assert len(network.domains) == 3
    assert all(after[name] is p and torch.equal(p, value) for name, (p, value) in before.items())
    assert {name.split(".")[1] for name in set(after) - set(before)} == {"1", "2"}


@pytest.mark.parametrize("shared", [True, False])
def test_growing_follows_from_the_weights_alone(shared: bool) -> None:
    first = tiny(shared_teacher=shared)
    again = copy.deepcopy(first)
    torch.manual_seed(1)
    first.begin_task(METHODS)
    drawn = torch.rand(3)
    torch.manual_seed(2)
    again.begin_task(METHODS[:2])
    again.begin_task(METHODS)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in first.state_dict().items())
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(3))  # torch's own generator stayed where it was
    assert not torch.equal(first.domains[1].mix.weight, first.domains[2].mix.weight)
    other = tiny(seed=1, methods=METHODS, shared_teacher=shared)
    assert not torch.equal(first.domains[1].mix.weight, other.domains[1].mix.weight)


def test_a_teacher_with_a_trunk_of_its_own_starts_from_the_students() -> None:
    network = tiny(methods=METHODS, shared_teacher=False)
    for domain in network.domains:
        for own, theirs in zip(domain.trunk.parameters(), network.student.trunk.parameters(), strict=True):
            assert own is not theirs and torch.equal(own, theirs)


@pytest.mark.parametrize("shared", [True, False])
def test_weights_of_a_grown_network_load_into_a_blank_one(shared: bool, tmp_path: Path) -> None:
    network = tiny(methods=METHODS, shared_teacher=shared)
    learned(network, batch_of(0, 1, 0, 3))
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    options = detectors.options("lsda", {"size": "tiny", "shared_teacher": shared})
    blank = detectors.build("lsda", options, blank=True)
    blank.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert list(blank.state_dict()) == list(network.state_dict())
    assert all(torch.equal(value, blank.state_dict()[name]) for name, value in network.state_dict().items())


def test_weights_of_fewer_methods_than_known_are_refused() -> None:
    with pytest.raises(RuntimeError, match=r"Missing key.*domains\.1"):
        tiny(methods=METHODS).load_state_dict(tiny().state_dict())


def test_old_methods_may_be_absent_from_a_batch() -> None:
    network = tiny(methods=METHODS, shared_teacher=False)
    terms = learned(network, batch_of(0, 3, 0, 3))
    assert all(term.isfinite() for term in terms.values())
    assert all(p.grad is None for p in network.domains[0].trunk.parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.domains[2].trunk.parameters())


def test_faces_are_seen_by_the_teacher_of_their_own_method() -> None:
    network = tiny(methods=METHODS).eval()
    images, domains = torch.rand(5, 3, 96, 96), torch.tensor([2, 0, 1, 0, 2])
    together = network._taught_features(images, network._sorted(domains + 1))
    for image, domain, z in zip(images, domains, together, strict=True):
        alone = network.domains[int(domain)](network.teacher_trunk(image[None])[-1])
        torch.testing.assert_close(z, alone[0], rtol=1e-4, atol=1e-5)


def test_a_method_nobody_announced_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at most 1 forgery methods, found number 2\. Call begin_task"):
        paid(tiny(), batch_of(0, 1, 0, 2))


# -- the widened latent space ------------------------------------------------------------------------------------------


def test_partners_are_of_another_domain_and_every_other_one_is_as_likely() -> None:
    domains = torch.tensor([0, 1, 1, 1, 1, 1, 3])
    torch.manual_seed(0)
    partners = torch.stack([domains[lsda.other_domain(domains)] for _ in range(400)])
    assert not (partners == domains).any()
    share = (partners[:, 0] == 3).float().mean()
    assert 0.4 < share < 0.6  # five samples of one domain, one of the other


def test_without_another_domain_there_is_no_mixup() -> None:
    assert lsda.other_domain(torch.tensor([1, 1, 1])).tolist() == [0, 1, 2]
    z = torch.rand(3, 4, 2, 2)
    torch.testing.assert_close(latent_space.mixup(z, lsda.other_domain(torch.zeros(3).long()), torch.rand(3)), z)


def test_mixing_coefficients_are_symmetric_shares() -> None:
    torch.manual_seed(0)
    lam = lsda.beta_coefficients(4000, torch.device("cpu"))
    assert lam.min() >= 0 and lam.max() <= 1
    assert abs(lam.mean() - 0.5) < 0.02 and 0.25 < lam.std() < 0.33


def test_a_fused_face_holds_its_own_domain_and_a_share_of_another() -> None:
    network = tiny(methods=METHODS)
    domains = torch.tensor([0, 0, 2])
    _, shares = network._fused(torch.rand(3, 64, 2, 2), domains)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(3))
    assert (shares[torch.arange(3), domains + 1] >= 0.5).all()
    assert not shares[:, 0].any() and not shares[:, 2].any()  # neither genuine, nor what is not in the batch


def test_a_centroid_starts_as_a_mean_and_then_moves_slowly() -> None:
    network = tiny(methods=METHODS)
    first, second = torch.rand(2, 4, 64, 2, 2)
    domains = torch.tensor([0, 2, 2, 2])
    network._centroids(first, domains)
    torch.testing.assert_close(network.domains[2].centroid, first[1:].mean(dim=0))
    found = network._centroids(second, domains)
    expected = 0.9 * first[1:].mean(dim=0) + 0.1 * second[1:].mean(dim=0)
    torch.testing.assert_close(network.domains[2].centroid, expected)
    torch.testing.assert_close(found[2], expected)
    assert not network.domains[1].centroid.any() and not network.domains[1].seen


def test_paying_in_evaluation_mode_moves_no_centroid() -> None:
    network = tiny().eval()
    before = copy.deepcopy(network.state_dict())
    paid(network, batch_of(0, 1, 0, 1))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_every_operation_inside_a_domain_takes_its_turn() -> None:
    network = tiny()
    torch.manual_seed(0)
    z = torch.randn(1, 64, 2, 2).expand(200, -1, -1, -1)  # alike: both centrifugal operations leave them where they are
    made = network._within(z, torch.zeros(200).long())
    still = (made - z).flatten(1).norm(dim=1) < 1e-4
    assert 0.35 < still.float().mean() < 0.65


def test_the_published_variant_moves_every_channel_by_itself() -> None:
    network = tiny(compat="deepfakebench")
    z = torch.randn(40, 64, 2, 2)
    made = network._within_channels(z, torch.zeros(40).long())
    centre = z.mean(dim=(0, 1))
    beta = ((made - z) / (z - centre)).flatten(2)  # of the samples moved from the centre, one for each channel
    direct = (beta.std(dim=2) < 1e-3).all(dim=1)
    assert 0 < direct.sum() < 30
    assert (beta[direct].mean(dim=2).std(dim=1) > 0.1).all()
    assert all(term.isfinite() for term in learned(network, batch_of(0, 1, 0, 1)).values())
    assert not network.domains[0].seen  # the centroid is the batch's


def test_a_centroid_of_nobody_is_zero() -> None:
    z = torch.rand(2, 3, 2, 2)
    centroid, seen = latent_space.centroids(z, torch.tensor([1, 1]), 3)
    assert not centroid[0].any() and not centroid[2].any() and seen.tolist() == [0, 2, 0]
    assert latent_space.hardest(z, torch.tensor([1, 1]), centroid)[[0, 2]].tolist() == [0, 0]


def test_formulas_are_computed_in_single_precision_at_least() -> None:
    x = torch.rand(3, 4, 2, 2, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        centroid, _ = latent_space.centroids(x, torch.zeros(3).long(), 1)
        assert centroid.dtype == latent_space.cosine(x, x).dtype == torch.float32
        torch.testing.assert_close(centroid[0], x.float().mean(dim=0))


# -- the real teacher --------------------------------------------------------------------------------------------------


def test_the_slow_average_follows_the_student_by_a_thousandth() -> None:
    network = tiny()
    before = copy.deepcopy(network.real_teacher.state_dict())
    for p in network.student.parameters():
        p.data.add_(1)
    network.before_step()
    for name, value in network.real_teacher.state_dict().items():
        if value.is_floating_point() and "running" not in name:
            torch.testing.assert_close(value, before[name] + 0.001)


def test_the_real_teacher_neither_learns_nor_counts_statistics() -> None:
    network = tiny().train()
    before = copy.deepcopy(network.real_teacher.state_dict())
    learned(network, batch_of(0, 1, 0, 1))
    assert not network.real_teacher.training and all(p.grad is None for p in network.real_teacher.parameters())
    assert all(torch.equal(before[name], value) for name, value in network.real_teacher.state_dict().items())


@pytest.fixture
def imagenet(real_data: Path) -> dict[str, object]:
    """Options of a trunk with published weights."""
    weights = {"trunk": "mobilenetv2_100", "pretrained": str(real_data / MOBILENET)}
    return {**weights, "trunk_options": {"pad_type": "same"}, "width": 32}


def test_a_pretrained_trunk_is_the_real_teacher_and_stays_so(imagenet: dict[str, object]) -> None:
    network = tiny(**imagenet)
    stored = torch.load(str(imagenet["pretrained"]), weights_only=True)
    learned(network, batch_of(0, 1, 0, 1))
    network.before_step()
    trunk = network.real_teacher.trunk
    assert torch.equal(trunk.stages[0][0].weight, stored["conv_stem.weight"])
    assert torch.equal(trunk.stages[-1][-2].weight, stored["conv_head.weight"])  # the whole trunk, its head included
    mix = network.real_teacher.mix.weight.flatten(1)
    torch.testing.assert_close(mix @ mix.T, torch.eye(32), atol=1e-4, rtol=0)  # turned, not distorted
    blank = detectors.build("lsda", network.options, blank=True)
    blank.load_state_dict(network.state_dict())
    faces = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(blank.eval()(faces).logits, network.eval()(faces).logits)


def test_the_identity_term_teaches_the_last_stage_of_the_real_teacher(imagenet: dict[str, object]) -> None:
    network = tiny(**imagenet, identity_weight=1.0, reenactments=["reenactment"], swaps=["swap"], methods=METHODS)
    paid(network, batch_of(0, 1, 0, 2))["identity"].backward()
    stages = network.real_teacher.trunk.stages
    assert all(p.grad is None for stage in stages[:-1] for p in stage.parameters())
    assert all(p.grad is not None for p in stages[-1].parameters())
    batch = batch_of(0, 1, 0, 2, 0, 3)
    images = batch.faces * 2 - 1
    with torch.no_grad():
        seen = network._real_features(images)
        far = latent_space.cosine(seen[::2], seen[1::2]).mean(dim=(1, 2))
        torch.testing.assert_close(network._identity(images, batch), far[1] - far[0])  # mesh is neither
        assert network._identity(images[:4], batch_of(1, 0, 0, 0)) == 0  # no pair


def test_a_face_recogniser_is_read_under_its_published_names(tmp_path: Path, imagenet: dict[str, object]) -> None:
    path = tmp_path / "arcface.pt"
    options = {**imagenet, "real_encoder": "iresnet18", "real_pretrained": str(path)}
    with pytest.raises(MissingWeights, match=r"face recogniser 'iresnet18' at .*arcface"):
        tiny(**options)
    torch.save(published_iresnet18(), path)
    network = tiny(**options)
    stored = torch.load(path, weights_only=True)
    trunk = network.real_teacher.trunk
    assert torch.equal(trunk.stages[0][0].weight, stored["conv1.weight"])
    assert torch.equal(trunk.stages[3][0][1].prelu.weight, stored["layer4.1.prelu.weight"])
    assert all(term.isfinite() for term in learned(network, batch_of(0, 1, 0, 1)).values())
    path.unlink()
    detectors.build("lsda", network.options, blank=True).load_state_dict(network.state_dict())


def published_iresnet18() -> dict[str, Tensor]:
    """What a file of ArcFace's iResNet-18 holds, its last layers left out."""
    state = {"conv1.weight": torch.randn(64, 3, 3, 3) / 5, "prelu.weight": torch.full((64,), 0.25)}
    norms = {"bn1": 64, "bn2": 512}
    before = 64
    for level, C in enumerate((64, 128, 256, 512), 1):
        for block in range(2):
            place = f"layer{level}.{block}"
            state[f"{place}.conv1.weight"] = torch.randn(C, before, 3, 3) / (9 * before) ** 0.5
            state[f"{place}.conv2.weight"] = torch.randn(C, C, 3, 3) / (9 * C) ** 0.5
            state[f"{place}.prelu.weight"] = torch.rand(C)
            norms |= {f"{place}.bn1": before, f"{place}.bn2": C, f"{place}.bn3": C}
            if not block:
                state[f"{place}.downsample.0.weight"] = torch.randn(C, before, 1, 1) / before**0.5
                norms[f"{place}.downsample.1"] = C
            before = C
    for name, C in norms.items():
        state |= {f"{name}.weight": torch.ones(C), f"{name}.bias": torch.zeros(C)}
        state |= {f"{name}.running_mean": torch.zeros(C), f"{name}.running_var": torch.ones(C)}
        state[f"{name}.num_batches_tracked"] = torch.tensor(0)
    return state


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"pretrained": "", "real_encoder": "imagenet"}, "`pretrained` weights with real_encoder 'imagenet'"),
        ({"pretrained": "a.pt", "real_encoder": "iresnet100"}, "`real_pretrained` to name a file"),
        ({"pretrained": "a.pt", "real_pretrained": "b.pt"}, "`real_pretrained` to name a file"),
        ({"pretrained": "", "identity_weight": 1}, "a real_encoder of its own"),
    ],
)
def test_options_that_contradict_one_another_are_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(BadParams, match=complaint):
        detectors.options("lsda", options)


def test_who_knows_genuine_faces_follows_from_what_is_pretrained() -> None:
    for raw in ({"pretrained": ""}, {"size": "tiny"}):
        assert detectors.options("lsda", raw).model_dump()["real_encoder"] == "self"
    for raw in ({}, {"size": "tiny", "trunk": "resnet18", "pretrained": "a1_in1k"}):
        assert detectors.options("lsda", raw).model_dump()["real_encoder"] == "imagenet"


# -- around it ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["paper", "tiny"])
def test_the_recipe_can_be_followed(size: str) -> None:
    options = detectors.options("lsda", {"size": size})
    params = TrainingOptions.model_validate(detectors.paper_training("lsda", options))
    assert params.pairs and set(params.augment) <= set(augmentations.KNOWN)
