"""What a detector costs, before a day is spent on it: its parameters, its arithmetic, its memory.

count("lsda", options)                           the network's shape alone: no weights, a few seconds
measure("lsda", options, batch=8, device="cpu")  the same, and what scoring a batch and learning from it took here
"""

from __future__ import annotations

import importlib
import re
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from components import detectors
from components.detectors import Detector
from components.params import Section
from components.tasks.dataset import Batch

METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
"""The forgeries of FaceForensics++, which the papers learn from: a detector that grows with its tasks has met them all."""

WRITTEN = 2**16  # numbers of the largest tensor that `count` lets a network fill: what it looks at itself is smaller


@dataclass(frozen=True)
class Measured:
    """What one batch of noise took."""

    device: str
    precision: str
    batch: int
    step_flops: int
    """Of a training step, as `Cost.face_flops` counts."""
    scoring_bytes: int
    """Most bytes that tensors held while a batch was scored: weights, buffers, faces, maps."""
    step_bytes: int
    """The same in training, with gradients and Adam's moments. On CUDA: the most that torch's allocator handed out. On the
    CPU: the most that operators returned and somebody still held. There the process takes more, by what kernels need
    within themselves and by its libraries (0.5 GB): RSIA-Net at paper size, learning from two faces, held 1.9 GB in
    tensors and 2.4 GB in all."""


@dataclass(frozen=True)
class Cost:
    """A detector of one size, having met METHODS."""

    detector: str
    paper: str
    input_px: int
    pretrained: str
    """The weights its options name; "" where it starts from nothing."""
    parameters: int
    trained: int
    """Parameters that an optimiser is given."""
    answering: int
    """Parameters the logits depend on: the others serve training alone."""
    weights_bytes: int
    """Of a generation's weights: parameters and buffers."""
    face_flops: int
    """Of one face in evaluation: convolutions, matrix products and attention. A multiplication and its addition are two;
    Fourier transforms and operations on single elements are not counted."""
    measured: Measured | None = None


def count(name: str, options: Section) -> Cost:
    """The cost without measurements; raises UnknownName, BadParams.

    Large parameters are reserved, never written, and take no memory.
    """
    with _Unwritten():  # type: ignore[no-untyped-call]
        detector = built(name, options, torch.device("cpu")).eval()
    trained = _numbers(p for p in detector.parameters() if p.requires_grad)
    face = noise(1, detector.input_px, torch.device("cpu")).faces
    # Gradients keep attention out of torch's fused inference kernels, which the counter does not know.
    detector.requires_grad_(True)
    with torch.enable_grad(), _arithmetic() as flops:
        reached = _leaves(detector(face).logits)
    return Cost(
        detector=name,
        paper=_paper(name),
        input_px=detector.input_px,
        pretrained=str(getattr(options, "pretrained", "")),
        parameters=_numbers(detector.parameters()),
        trained=trained,
        answering=_numbers(p for p in detector.parameters() if id(p) in reached),
        weights_bytes=sum(value.numel() * value.element_size() for value in detector.state_dict().values()),
        face_flops=flops.get_total_flops(),
    )


def measure(name: str, options: Section, *, batch: int, device: str | torch.device) -> Cost:
    """The cost with what `batch` faces take on `device`; raises UnknownName, BadParams."""
    return replace(count(name, options), measured=took(name, options, batch=batch, device=torch.device(device)))


def took(
    name: str, options: Section, *, batch: int, device: torch.device, precision: torch.dtype = torch.float32
) -> Measured:
    """What scoring a batch of noise and learning from it takes; weights are drawn at random.

    PeakMemory is that of the second step: from then on gradients and Adam's moments are there.
    """
    with memory(device) as held, torch.random.fork_rng():
        detector = built(name, options, device)
        faces = noise(batch, detector.input_px, device)
        held.restart()
        answers(detector.eval(), faces, precision=precision)
        scoring = held.peak
        optimiser = Adam([p for p in detector.train().parameters() if p.requires_grad])
        torch.manual_seed(0)
        with _arithmetic() as flops:
            step(detector, optimiser, faces, precision=precision)
        held.restart()
        step(detector, optimiser, faces, precision=precision)
        learning = held.peak
    kind = str(precision).removeprefix("torch.")
    return Measured(str(device), kind, batch, flops.get_total_flops(), scoring, learning)


# -- what measurements share -------------------------------------------------------------------------------------------------


def built(name: str, options: Section, device: torch.device) -> Detector:
    """The detector on `device`, with random weights that are always the same, having met METHODS."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        detector = detectors.build(name, options, blank=True)
        detector.begin_task(METHODS)
    return detector.to(device)


def noise(faces: int, side_px: int, device: torch.device) -> Batch:
    """A batch of noise, genuine and forged taking turns, the forged ones of every one of METHODS in turn."""
    labels = torch.arange(faces) % 2
    methods = labels * (1 + torch.arange(faces) // 2 % len(METHODS))
    pixels = torch.rand(faces, 3, side_px, side_px, generator=torch.Generator().manual_seed(0))
    return Batch.of(pixels, labels, methods).to(device)


def answers(detector: Detector, batch: Batch, *, precision: torch.dtype = torch.float32) -> Tensor:
    """The logits of a batch, (B, 2), without a graph; lower precisions by autocast."""
    with torch.inference_mode(), _autocast(batch, precision):
        return detector(batch.faces).logits


def step(detector: Detector, optimiser: Optimizer, batch: Batch, *, precision: torch.dtype = torch.float32) -> None:
    """One training step in the order of `components.generations.training`; lower precisions by autocast."""
    with _autocast(batch, precision):
        terms = detector.losses(detector(batch.faces), batch)
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    detector.before_step()
    optimiser.step()


def _autocast(batch: Batch, precision: torch.dtype) -> torch.autocast:
    return torch.autocast(batch.faces.device.type, precision, enabled=precision != torch.float32)


@contextmanager
def memory(device: torch.device) -> Iterator[PeakMemory]:
    """Watches what tensors made inside hold on `device`."""
    if device.type == "cuda":
        yield _CudaPeak(device)
    else:
        with _HostPeak() as held:
            yield held


class PeakMemory:
    """`peak`: most bytes held at once since `restart`, without what was there before the watch began."""

    peak: int

    def restart(self) -> None:
        raise NotImplementedError


class _CudaPeak(PeakMemory):
    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.before = torch.cuda.memory_allocated(device)

    def restart(self) -> None:
        torch.cuda.reset_peak_memory_stats(self.device)

    @property
    def peak(self) -> int:  # type: ignore[override]
        return torch.cuda.max_memory_allocated(self.device) - self.before


class _HostPeak(TorchDispatchMode, PeakMemory):  # type: ignore[no-untyped-call]
    """Counts every storage an operator returns until nobody holds it any more."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)  # type: ignore[no-untyped-call]
        self.alive = self.peak = 0
        self._known: set[int] = set()

    def restart(self) -> None:
        self.peak = self.alive

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        returned = func(*args, **(kwargs or {}))
        for value in tree_leaves(returned):
            if isinstance(value, Tensor):
                self._see(value.untyped_storage())
        return returned

    def _see(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._known:  # else a view, or an operator that works in place
            self._known.add(key)
            self.alive += storage.nbytes()
            self.peak = max(self.peak, self.alive)
            weakref.finalize(storage, self._forget, key, storage.nbytes())

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.alive -= size


# -- arithmetic ------------------------------------------------------------------------------------------------------------


def _arithmetic() -> FlopCounterMode:
    """torch's counter, and attention as the CPU computes it, which it does not know."""
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    return FlopCounterMode(display=False, custom_mapping={attention: _attended, backward: _attended_backward})


def _attended(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


def _attended_backward(slope: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(slope, query, key, value))  # type: ignore[no-untyped-call]


# -- the network's shape -----------------------------------------------------------------------------------------------------


class _Unwritten(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Leaves out whatever would change a large tensor in place, such as drawing its values.

    The values in it are then arbitrary, so a search among them finds nothing: otherwise `trunc_normal_`, which draws until
    no value is out of bounds, would never end.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if args and isinstance(args[0], Tensor) and args[0].numel() > WRITTEN:
            if func.overloadpacket.__name__.endswith("_") and torch.Tag.inplace_view not in func.tags:
                return args[0]  # what turns a tensor, as `orthogonal_` does, writes nothing
            if func is torch.ops.aten.any.default:
                return args[0].new_zeros((), dtype=torch.bool)
        return func(*args, **(kwargs or {}))


def _leaves(result: Tensor) -> set[int]:
    """Identities of the tensors that `result` would hand a gradient to."""
    leaves, seen, left = set(), set(), [result.grad_fn]
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            left += [before for before, _ in node.next_functions]
            leaves |= {id(node.variable)} if hasattr(node, "variable") else set()
    return leaves


def _numbers(parameters: Iterable[Tensor]) -> int:
    return sum(p.numel() for p in parameters)


def _paper(name: str) -> str:
    """What the file says of its paper: the title of its first line, and its source up to the first comment on it."""
    told = importlib.import_module(f"{detectors.__name__}.{name}").__doc__ or ""
    source = re.search(r"^Source +(.+?)(?:[;:]|\.?\n)", told, re.MULTILINE)
    return ", ".join([told.partition(":")[0], *([source[1]] if source else [])])
