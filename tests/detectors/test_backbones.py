"""Trunks by name and the weights they start from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from components import torchvision_ops
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


def test_a_file_that_runs_code_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"conv1.weight": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(BadParams):
        backbones.build("resnet18", pretrained=str(tmp_path / "trap.pt"))
    assert not (tmp_path / "sprung").exists()
