"""The vision tower of CLIP and the weights it starts from."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from components import torchvision_ops
from components.detectors.parts import clip
from components.detectors.parts.clip import weights
from components.errors import BadParams, MissingWeights, UnknownName

torchvision_ops.complete()  # before any test imports open_clip


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def reference() -> nn.Module:
    """open_clip's own network of the small shape, projection and all."""
    return clip.vision_transformer(clip.SMALL_CONFIG).eval()


def state_of(vision: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in vision.state_dict().items()}


def as_transformers_names_it(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights as the transformers library stores them: q, k and v apart."""
    named = {
        "vision_model.embeddings.class_embedding": state["class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": state["conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": state["positional_embedding"],
        "vision_model.embeddings.position_ids": torch.arange(len(state["positional_embedding"]))[None],
        "visual_projection.weight": state["proj"].T.contiguous(),
        "text_model.embeddings.token_embedding.weight": torch.zeros(3, 4),
        "logit_scale": torch.tensor(4.6),
    }
    parts = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    parts |= {"attn.out_proj": "self_attn.out_proj"}
    for kind in ("weight", "bias"):
        named[f"vision_model.pre_layrnorm.{kind}"] = state[f"ln_pre.{kind}"]
        named[f"vision_model.post_layernorm.{kind}"] = state[f"ln_post.{kind}"]
        for number in range(clip.SMALL_CONFIG["vision_cfg"]["layers"]):
            ours, theirs = f"transformer.resblocks.{number}", f"vision_model.encoder.layers.{number}"
            for here, there in parts.items():
                named[f"{theirs}.{there}.{kind}"] = state[f"{ours}.{here}.{kind}"]
            for letter, part in zip("qkv", state[f"{ours}.attn.in_proj_{kind}"].chunk(3), strict=True):
                named[f"{theirs}.self_attn.{letter}_proj.{kind}"] = part.clone()
    return named


def assert_same_weights(eye: clip.Tower, vision: nn.Module) -> None:
    expected = clip.Tower(copy.deepcopy(vision)).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in eye.state_dict().items())


# -- the tower -----------------------------------------------------------------------------------------------------------


def test_the_large_tower_has_the_parameters_of_the_design() -> None:
    with torch.device("meta"):
        eye = clip.tower("ViT-L-14-quickgelu")
    norms = [module for module in eye.modules() if isinstance(module, nn.LayerNorm)]
    assert sum(p.numel() for p in eye.parameters()) == 303_179_776
    assert len(norms) == 50 and sum(p.numel() for norm in norms for p in norm.parameters()) == 102_400
    assert (eye.width, len(eye.blocks), eye.input_px, eye.grid) == (1024, 24, 224, (16, 16))
    assert sorted(eye.shown) == [6, 12, 18, 23]


def test_the_class_token_is_what_open_clip_would_project(reference: nn.Module, images: Tensor) -> None:
    eye = clip.Tower(reference).eval()
    with torch.no_grad():
        cls, _ = eye(images)
        torch.testing.assert_close(cls @ reference.proj, reference(images))


def test_levels_are_the_patches_that_enter_the_blocks(reference: nn.Module, images: Tensor) -> None:
    eye = clip.Tower(reference).eval()
    with torch.no_grad():
        _, levels = eye(images)
        leaving = reference.forward_intermediates(images)["image_intermediates"]
    assert len(levels) == len(eye.shown)
    for depth, level in zip(sorted(eye.shown), levels, strict=True):
        torch.testing.assert_close(level, leaving[depth - 1])


def test_every_level_has_slopes_to_the_class_token(reference: nn.Module, images: Tensor) -> None:
    cls, levels = clip.Tower(reference)(images)
    slopes = torch.autograd.grad(cls[:, 0].sum(), levels)
    assert all(slope.shape == level.shape and slope.any() for slope, level in zip(slopes, levels, strict=True))


def test_checkpointing_changes_neither_answers_nor_gradients(reference: nn.Module, images: Tensor) -> None:
    def seen(*, checkpointing: bool) -> tuple[Tensor, list[Tensor]]:
        eye = clip.Tower(copy.deepcopy(reference), checkpointing=checkpointing)
        cls, levels = eye(images)
        (cls.square().sum() + sum(level.sum() for level in levels)).backward()
        return cls, [p.grad for p in eye.parameters() if p.grad is not None]

    (plain, slopes), (again, slopes_again) = seen(checkpointing=False), seen(checkpointing=True)
    torch.testing.assert_close(again, plain, rtol=0, atol=0)
    assert len(slopes) == len(slopes_again) > 0
    torch.testing.assert_close(slopes_again, slopes)


def test_faces_are_normalised_as_clip_saw_its_images() -> None:
    grey = torch.full((1, 3, 50, 40), 0.5)
    seen = clip.tower("small").normalised(grey)
    expected = (0.5 - torch.tensor(clip.MEAN)) / torch.tensor(clip.DEVIATION)
    torch.testing.assert_close(seen, expected[None, :, None, None].expand(1, 3, 96, 96))


def test_no_pixel_leaves_its_range_at_a_hard_edge() -> None:
    edge, eye = torch.zeros(1, 3, 40, 40), clip.tower("small")
    edge[..., 20:] = 1
    lowest, highest = eye.normalised(torch.zeros(1, 3, 96, 96)), eye.normalised(torch.ones(1, 3, 96, 96))
    seen = eye.normalised(edge)
    assert (seen >= lowest).all() and (seen <= highest).all()


def test_a_model_nobody_knows_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'ViT-L-14'"):
        clip.tower("ViT-L14")


@pytest.mark.parametrize("name", ["RN50", "coca_ViT-L-14", "ViT-B-16-SigLIP"])
def test_a_model_that_is_no_plain_vision_transformer_is_refused(name: str) -> None:
    with pytest.raises(BadParams, match="plain vision transformer"):
        clip.tower(name)


# -- weights -------------------------------------------------------------------------------------------------------------


def test_the_shipped_weights_are_the_recorded_ones() -> None:
    data = weights.LAB_WEIGHTS.read_bytes()
    record = json.loads(weights.LAB_RECORD.read_bytes())
    assert len(data) <= 2_000_000
    assert hashlib.sha256(data).hexdigest() == record["sha256"]
    assert {"seed", "steps", "seconds", "people", "versions"} <= set(record)
    assert record["first_person"] >= 100_000  # nobody whom an archive shows


def test_the_small_tower_starts_from_the_shipped_weights() -> None:
    eye, stored = clip.tower("small", pretrained="lab"), load_file(weights.LAB_WEIGHTS)
    assert torch.equal(eye.conv1.weight, stored["conv1.weight"].float())
    assert torch.equal(eye.ln_post.weight, stored["ln_post.weight"].float())


def test_a_shipped_file_that_was_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tmp_path / "small.safetensors"
    save_file({"a": torch.zeros(1)}, changed)
    monkeypatch.setattr(weights, "LAB_WEIGHTS", changed)
    with pytest.raises(MissingWeights, match="SHA-256"):
        clip.tower("small", pretrained="lab")


@pytest.mark.parametrize("layout", ["whole model", "tower", "transformers"])
def test_weights_are_read_in_any_of_three_layouts(layout: str, reference: nn.Module, tmp_path: Path) -> None:
    own = state_of(reference)
    state = {
        "whole model": {f"visual.{name}": value for name, value in own.items()} | {"logit_scale": torch.tensor(4.6)},
        "tower": own,
        "transformers": as_transformers_names_it(own),
    }[layout]
    save_file(state, tmp_path / "clip.safetensors")
    assert_same_weights(clip.tower("small", pretrained=str(tmp_path / "clip.safetensors")), reference)


def test_half_precision_weights_and_torch_files_are_read_too(reference: nn.Module, tmp_path: Path) -> None:
    torch.save({name: value.half() for name, value in state_of(reference).items()}, tmp_path / "clip.pt")
    eye = clip.tower("small", pretrained=str(tmp_path / "clip.pt"))
    assert eye.conv1.weight.dtype == torch.float32
    assert_same_weights(eye, reference.half().float())


def test_positions_are_interpolated_to_another_side(reference: nn.Module, tmp_path: Path) -> None:
    save_file(state_of(reference), tmp_path / "clip.safetensors")
    eye = clip.tower("small", pretrained=str(tmp_path / "clip.safetensors"), input_px=144)
    positions, stored = eye.positional_embedding, reference.positional_embedding
    side, cells = eye.grid[0], reference.grid_size[0]
    assert side == cells * 3 // 2 and positions.shape == (1 + side**2, eye.width)
    assert torch.equal(positions[0], stored[0])
    torch.testing.assert_close(positions[1:].mean(0), stored[1:].mean(0), atol=0.02, rtol=0)
    assert eye(torch.zeros(1, 3, 144, 144))[1][0].shape[2:] == (side, side)


def test_weights_of_another_model_are_refused(reference: nn.Module, tmp_path: Path) -> None:
    state = state_of(reference)
    del state["transformer.resblocks.1.ln_2.bias"]
    save_file(state, tmp_path / "clip.safetensors")
    with pytest.raises(BadParams, match=r"1 missing and 0 unknown.*resblocks\.1\.ln_2\.bias"):
        clip.tower("small", pretrained=str(tmp_path / "clip.safetensors"))


def test_weights_of_another_width_are_refused(reference: nn.Module, tmp_path: Path) -> None:
    state = {name: value[..., :1].contiguous() for name, value in state_of(reference).items()}
    save_file(state, tmp_path / "clip.safetensors")
    with pytest.raises(BadParams, match="weights of this tower"):
        clip.tower("small", pretrained=str(tmp_path / "clip.safetensors"))


def test_a_changed_file_is_refused_by_its_digest(reference: nn.Module, tmp_path: Path) -> None:
    save_file(state_of(reference), tmp_path / "clip.safetensors")
    with pytest.raises(MissingWeights, match="begin with 'abc'"):
        clip.tower("small", pretrained=str(tmp_path / "clip.safetensors"), sha256="abc")


def test_weights_with_another_activation_are_refused_with_the_model_they_are_of() -> None:
    with torch.device("meta"), pytest.raises(BadParams, match="Name the model 'ViT-L-14-quickgelu'"):
        clip.tower("ViT-L-14", pretrained="openai")


def test_a_tag_nobody_published_is_refused_with_those_that_are() -> None:
    with torch.device("meta"), pytest.raises(UnknownName, match="Did you mean 'openai'"):
        clip.tower("ViT-L-14-quickgelu", pretrained="openia")


def test_the_small_tower_has_one_tag() -> None:
    with pytest.raises(UnknownName, match="known: lab"):
        clip.tower("small", pretrained="openai")


def test_an_absent_file_is_an_advice_with_its_size_and_both_ways() -> None:
    with (
        torch.device("meta"),
        pytest.raises(MissingWeights, match=r"'/nowhere/x\.pt' \(about 1710 MB.*`pretrained`.*SHA-256.*network"),
    ):
        clip.tower("ViT-L-14-quickgelu", pretrained="/nowhere/x.pt")


def test_a_tag_without_network_is_an_advice_naming_file_and_repository() -> None:
    with (
        torch.device("meta"),
        pytest.raises(
            MissingWeights, match=r"'open_clip_model\.safetensors'.*'timm/vit_large_patch14_clip_224\.openai'"
        ),
    ):
        clip.tower("ViT-L-14-quickgelu", pretrained="openai")


def test_a_cached_file_is_taken_and_held_against_the_digest_in_its_name(
    reference: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = in_cache(tmp_path, state_of(reference))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert weights.find("ViT-L-14-quickgelu", {"quick_gelu": True}, "openai").samefile(path)
    path.resolve().write_bytes(b"half a file")
    with pytest.raises(MissingWeights, match="SHA-256"):
        weights.find("ViT-L-14-quickgelu", {"quick_gelu": True}, "openai")


def in_cache(cache: Path, state: dict[str, Tensor]) -> Path:
    """A file as the hub's cache keeps it: the blob is named by its digest, and a link by its name points there."""
    repository = cache / "models--timm--vit_large_patch14_clip_224.openai"
    (repository / "blobs").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("1" * 40)
    link = repository / "snapshots" / ("1" * 40) / "open_clip_model.safetensors"
    link.parent.mkdir(parents=True)
    save_file(state, cache / "fetched")
    blob = repository / "blobs" / hashlib.sha256((cache / "fetched").read_bytes()).hexdigest()
    (cache / "fetched").rename(blob)
    link.symlink_to(blob)
    return link
