"""What a step does without need, counted rather than timed: values it waits for, maps it keeps, operators it calls."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from components import detectors, strategies, torchvision_ops
from components.detectors import Detector
from components.detectors.m2tr import CrossModalityFusion
from components.detectors.masm import MASM
from components.detectors.parts import backbones
from components.detectors.parts.clip.blocks import Attention, QuickGELU
from components.losses import distillation, prototypes, sphere
from components.tasks.dataset import Batch

METHODS = ("swap", "mesh")
READING = {"tolist", "numpy", "cpu", "new_tensor", "tensor", "as_tensor"}
"""Functions that bring values from the device, or bring some there and wait until it has taken them."""
SEARCHING = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal", "bincount"}
"""Operators whose answer, or the size of it, the next line needs."""

every_detector = pytest.mark.parametrize("name", detectors.names())


class Waits(TorchFunctionMode):
    """Functions by which a step would wait for the device, did its tensors lie on one."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in READING:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


class Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operators by name, those of the backward pass too."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name.startswith("index") and any(
            index is not None and index.dtype == torch.bool
            for index in (args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ())
        )
        self.count["nonzero" if by_mask else name] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def watched() -> Iterator[Callable[[], list[str]]]:
    """Yields what answers with everything that was waited for."""
    waits, operators = Waits(), Operators()
    with waits, operators:
        yield lambda: waits.found + [name for name in operators.count.elements() if name in SEARCHING]


@contextmanager
def kept() -> Iterator[list[Tensor]]:
    """Yields a list of what is kept for the backward pass."""
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield found


def met(name: str) -> Detector:
    """The tiny detector, about to learn its second method."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        detector = detectors.build(name, detectors.options(name, {"size": "tiny"}))
        for task in range(1, len(METHODS) + 1):
            detector.begin_task(METHODS[:task])
    return detector


def some_batch() -> Batch:
    methods = torch.tensor([0, 1, 0, 2, 0, 1])
    return Batch.of(torch.rand(6, 3, 96, 96, generator=torch.Generator().manual_seed(0)), methods.clamp(max=1), methods)


def take_a_step(student: Detector, strategy: strategies.Strategy, teacher: Detector | None, batch: Batch) -> None:
    terms = strategy.losses(student, teacher, batch)
    torch.stack(list(terms.values())).sum().backward()
    student.before_step()


@pytest.mark.parametrize("strategy", ["finetune", "er", "joint", "ewc", "dfil", "cored"])
@every_detector
def test_a_step_waits_for_no_value_of_the_device(name: str, strategy: str) -> None:
    """But once where the labels of a batch decide the shapes: whose teacher sees how many faces, who has a partner."""
    student, batch = met(name), some_batch()
    teacher = copy.deepcopy(student).eval().requires_grad_(False)
    method = strategies.build(strategy, strategies.options(strategy, {}))
    springs = {f"fisher.{n}": torch.ones_like(p) for n, p in student.named_parameters() if p.requires_grad}
    if strategy == "cored":
        method.means, method.met = cored_means(teacher, batch)
    else:
        method.prepare(student, teacher, None, springs)
    take_a_step(student, method, teacher, batch)  # the first one may look about
    with watched() as waited:
        take_a_step(student, method, teacher, batch)
    assert waited() == (["tolist"] if name in ("lsda", "lnclip") else [])


def cored_means(teacher: Detector, batch: Batch) -> tuple[Tensor, Tensor]:
    from components.strategies.cored import _pooled

    with torch.no_grad():
        features = _pooled(teacher(batch.faces))
    means, count = distillation.binned_means(features, torch.arange(len(features)), bins=10)
    return means, count > 0


@every_detector
def test_a_step_takes_channels_last_and_gives_the_same_gradients(name: str) -> None:
    plain, batch = met(name), some_batch()
    other = copy.deepcopy(plain).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    finetune = strategies.build("finetune", strategies.options("finetune", {}))
    for student, faces in ((plain, batch.faces), (other, batch.faces.contiguous(memory_format=torch.channels_last))):
        torch.manual_seed(0)
        take_a_step(student, finetune, None, replace(batch, faces=faces))
    one, two = (
        torch.cat([p.grad.flatten() for p in student.parameters() if p.grad is not None]) for student in (plain, other)
    )
    assert (one - two).norm() < 1e-3 * one.norm()  # together: some are nought but for rounding


def test_a_watched_wait_is_seen() -> None:
    values, chosen = torch.rand(3), torch.tensor([True, False, True])
    with watched() as waited:
        values.tolist()
        values[chosen].sum().item()
        torch.tensor([1.0])
    assert sorted(waited()) == ["_local_scalar_dense", "nonzero", "tensor", "tolist"]


def test_the_nearest_prototype_is_found_without_a_wait() -> None:
    points, classes = sphere.unit(torch.randn(5, 4)), torch.tensor([0, 1, 0, 1, 1])
    with watched() as waited:
        prototypes.nearest_mean(torch.randn(3, 4), points, classes)
    assert waited() == []


def test_m2tr_keeps_no_matrix_of_positions_by_positions_for_the_backward_pass() -> None:
    fuse, side = CrossModalityFusion(32), 24
    s, f = torch.randn(2, 2, 32, side, side).requires_grad_().unbind()
    with kept() as tensors:
        fuse(s, f)
    assert tensors and max(tensor.numel() for tensor in tensors) < 2 * side**4


@pytest.mark.parametrize("name", ["lnclip", "masm"])
def test_no_tower_keeps_a_matrix_of_tokens_by_tokens_or_multiplies_token_by_token(name: str) -> None:
    detector, batch = met(name), some_batch()
    tokens = 1 + detector.tower.grid[0] * detector.tower.grid[1]
    with kept() as tensors, Operators() as operators:
        detector.tower(detector.tower.normalised(batch.faces))[0].sum().backward()
    assert not any(tensor.shape[-2:] == (tokens, tokens) for tensor in tensors)
    assert not operators.count["bmm"]


def test_attention_answers_as_torchs_own_and_copies_no_tokens() -> None:
    torch.manual_seed(0)
    own = nn.MultiheadAttention(24, 4, batch_first=True)
    nn.init.normal_(own.in_proj_bias)
    ours, x = Attention(own), torch.randn(2, 7, 24)
    assert {*ours.state_dict()} == {*own.state_dict()}
    expected, _ = own(x, x, x, need_weights=False)
    with Operators() as operators:
        found, _ = ours(x, x, x)
    torch.testing.assert_close(found, expected)
    assert not operators.count["clone"] + operators.count["copy_"] + operators.count["_to_copy"]


def test_the_activation_answers_as_open_clips_and_keeps_one_map() -> None:
    torchvision_ops.complete()
    from open_clip.transformer import QuickGELU as Own

    x = torch.randn(5, 7).requires_grad_()
    with kept() as tensors:
        found = QuickGELU()(x)
    expected = Own()(x)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(y.sum(), x)[0] for y in (found, expected)))
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors if tensor.numel() == x.numel()}) == 1


def test_no_trunk_copies_what_an_activation_is_given() -> None:
    trunk = backbones.build("efficientnet_b0")
    assert any(isinstance(part, nn.SiLU) for part in trunk.modules())
    assert not any(part.inplace for part in trunk.modules() if isinstance(part, nn.SiLU))


def test_masms_layers_share_the_work_on_their_factors() -> None:
    """Operators on factors do not grow with the layers of one shape, but for the products with each W_p."""
    detector, batch = met("masm"), some_batch()
    assert isinstance(detector, MASM)
    layers = len(detector.layers())
    with Operators() as operators:
        take_a_step(detector, strategies.build("finetune", strategies.options("finetune", {})), None, batch)
    assert operators.count["cat"] + operators.count["stack"] < 2 * layers
    assert all(layer.lent is None for layer in detector.layers())


def test_masm_asks_again_what_is_on_after_other_weights_were_loaded() -> None:
    detector, batch = met("masm"), some_batch()
    assert isinstance(detector, MASM)
    strategy = strategies.build("finetune", strategies.options("finetune", {}))
    take_a_step(detector, strategy, None, batch)
    assert all(p.grad is not None for layer in detector.layers() for p in layer.parameters() if p.requires_grad)
    state = copy.deepcopy(detector.state_dict())
    state["mask.on"][:, 1] = False
    detector.load_state_dict(state)
    take_a_step(detector, strategy, None, batch)
    for layer in detector.layers():
        assert [u.grad is None for u in layer.u] == [k == 1 for k in range(len(layer.u))]
