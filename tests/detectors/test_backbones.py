"""Trunks by name and the weights they start from."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file
from torch import Tensor

from components import detectors, torchvision_ops
from components.detectors.parts import backbones
from components.errors import BadParams, MissingWeights, UnknownName

torchvision_ops.complete()  # before any test imports timm

MOBILENET = "weights/mobilenetv2_100_imagenet.pt"


@pytest.mark.parametrize("name", ["mobilenetv2_050", "resnet10t"])
def test_stages_in_a_row_are_what_timm_calls_features(name: str) -> None:
    import timm

    reference = timm.create_model(name, features_only=True, out_indices=(1, 2, 3, 4)).eval()
    trunk = backbones.build(name).eval()
    assert trunk.channels == tuple(reference.feature_info.channels())
    own = dict(zip(reference.state_dict(), trunk.state_dict().values(), strict=True))
    reference.load_state_dict(own)
    faces = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for level, expected in zip(trunk(faces), reference(faces), strict=True):
            torch.testing.assert_close(level, expected)


def test_a_trunk_nobody_knows_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'resnet18'"):
        backbones.build("resnet_18")


def test_a_trunk_without_stages_is_refused() -> None:
    with pytest.raises(BadParams, match="'vit_tiny_patch16_224'"):
        backbones.build("vit_tiny_patch16_224")


def test_published_weights_are_loaded_from_a_file(real_data: Path) -> None:
    path = real_data / MOBILENET
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    trunk = backbones.build("mobilenetv2_100", pretrained=str(path), sha256=digest, trunk_options={"pad_type": "same"})
    stored = torch.load(path, weights_only=True)
    assert torch.equal(trunk.stages[0][0].weight, stored["conv_stem.weight"])
    assert torch.equal(next(reversed(trunk.state_dict().values())), stored["blocks.6.0.bn3.num_batches_tracked"])


def test_weights_of_another_trunk_are_refused(real_data: Path) -> None:
    with pytest.raises(BadParams, match="weights of this trunk"):
        backbones.build("resnet18", pretrained=str(real_data / MOBILENET))


def test_a_classifier_may_be_absent_from_a_safetensors_file(tmp_path: Path) -> None:
    import timm

    network = timm.create_model("resnet18")
    state = {name: value for name, value in network.state_dict().items() if not name.startswith("fc.")}
    save_file(state, tmp_path / "trunk.safetensors")
    trunk = backbones.build("resnet18", pretrained=str(tmp_path / "trunk.safetensors"))
    assert torch.equal(trunk.stages[0][0].weight, state["conv1.weight"])


def test_a_stage_may_not_be_absent(tmp_path: Path) -> None:
    import timm

    state = timm.create_model("resnet18").state_dict()
    del state["layer3.0.conv1.weight"]
    save_file(state, tmp_path / "trunk.safetensors")
    with pytest.raises(BadParams, match=r"1 missing.*layer3\.0\.conv1\.weight"):
        backbones.build("resnet18", pretrained=str(tmp_path / "trunk.safetensors"))


def test_a_changed_file_is_refused_by_its_digest(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "trunk.safetensors")
    with pytest.raises(MissingWeights, match=r"SHA-256 .* to begin with 'abc'"):
        backbones.build("resnet18", pretrained=str(tmp_path / "trunk.safetensors"), sha256="abc")


def test_an_absent_file_is_an_advice_with_its_size_and_both_ways() -> None:
    with pytest.raises(
        MissingWeights, match=r"'/nowhere/x\.pt' \(about 47 MB\).*name its path.*where there is a network"
    ):
        backbones.build("resnet18", pretrained="/nowhere/x.pt")


def test_a_tag_without_network_is_an_advice_naming_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MissingWeights, match=r"'resnet18_a1_0-d63eafa0\.pth'.*SHA-256 d63eafa0"):
        backbones.build("resnet18", pretrained="a1_in1k")


def test_a_cached_file_that_is_not_the_published_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "resnet18_a1_0-d63eafa0.pth"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"half a file")
    with pytest.raises(MissingWeights, match="begin with 'd63eafa0'"):
        backbones.build("resnet18", pretrained="a1_in1k")


def test_a_tag_nobody_published_is_refused_with_those_that_are() -> None:
    with pytest.raises(UnknownName, match="a1_in1k"):
        backbones.build("resnet18", pretrained="a1_in1j")


def test_a_tag_of_the_hub_without_network_is_an_advice_naming_repository_and_file() -> None:
    with pytest.raises(MissingWeights, match=r"'model\.safetensors' \(convnext_nano\.in12k\) in the hub's cache or from the "
                       r"hub's repository 'timm/convnext_nano\.in12k'.*MB.*`pretrained`.*network"):  # fmt: skip
        backbones.build("convnext_nano", pretrained="in12k")


def test_a_release_that_nothing_vouches_for_is_taken_from_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its classifier knows other classes, and another layer: neither is needed."""
    import timm

    state = timm.create_model("convnext_atto", num_classes=3).state_dict() | {"head.other.bias": torch.zeros(2)}
    monkeypatch.setattr(backbones, "published", lambda *_: backbones.Published("timm/a.b", "https://x.org/a.pth", ""))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    in_cache(tmp_path, "timm/a.b", "model.safetensors", state)
    trunk = backbones.build("convnext_atto", pretrained="b")
    assert torch.equal(next(trunk.parameters()), state["stem.0.weight"])


def in_cache(cache: Path, repository: str, file: str, state: dict[str, Tensor]) -> None:
    """As the hub's cache keeps it: the blob is named by its digest, and a link by its name points there."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    link = folder / "snapshots" / ("1" * 40) / file
    for made in (folder / "blobs", folder / "refs", link.parent):
        made.mkdir(parents=True)
    (folder / "refs" / "main").write_text("1" * 40)
    content = save(state)
    blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
    blob.write_bytes(content)
    link.symlink_to(blob)


def test_every_tag_of_timm_is_loaded_from_a_vouched_place_or_told_where_it_lies() -> None:
    import timm

    kinds = Counter()
    for model in timm.list_pretrained():
        name, _, tag = model.partition(".")
        where = backbones.published(name, tag)
        places = str(where)
        kinds[(where.by_release, bool(where.repository))] += 1
        assert where.file.rpartition(".")[2] in {"safetensors", "pth", "tar"} and "None" not in places
        assert (where.url in places) and (where.repository in places) and (where.url or where.repository)
        assert not where.by_release or (where.url.startswith("https://") and f"-{where.digest}." in where.file)
    assert kinds[True, True] > 300 and kinds[False, True] > 1000
    assert kinds[False, False] < 10  # of no digest and on no hub: fetched by hand


@pytest.mark.parametrize("detector", ["lsda", "m2tr", "rsia_net"])
def test_no_detector_starts_its_paper_from_random_weights_in_silence(
    detector: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MissingWeights, match=r"'efficientnet_b4_ra2_320-7eb33cd5\.pth'.*random"):
        detectors.build(detector, detectors.options(detector, {}))
    with pytest.raises(BadParams, match=r"`pretrained` beside the trunk 'resnet18'.*random"):
        detectors.options(detector, {"trunk": "resnet18"})
    for said in ({"pretrained": ""}, {"trunk": "resnet18", "pretrained": ""}, {"trunk": "small"}, {"size": "tiny"}):
        assert detectors.options(detector, said).pretrained == ""
