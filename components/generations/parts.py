"""How a batch passes through a network in parts: some faces on each of several devices, and there a few at a time.

What a network found in the parts is put together again, with its gradients, before anything is made of it. So strategies
and losses see the whole batch on every device, terms that couple its faces (contrasts, relations, uniformity, centres)
are those of one device, and no loss knows of any of this.

    gradient of the loss by what device r found    the whole loss is computed on every device, so r takes its own rows
    gradient of the loss by a weight               mean over devices of (devices x its own rows' share), and of what the
                                                   losses make of the weight directly, which is the same everywhere

Faces in pieces: after Gao et al. 2021 (GradCache, arXiv 2101.06983), by recomputing each piece in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn
from torch.utils.checkpoint import checkpoint

from components.detectors import Detection, Detector
from components.tasks.dataset import Batch
from components.tasks.loading import share_of
from components.vocabulary import Compiled

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Forward = Callable[[Tensor], Detection]


@contextmanager
def in_parts(
    detector: Detector, engine: Fabric, *, micro_batch: int | None = None, compiled: Compiled = "no"
) -> Iterator[None]:
    """While this lasts, `detector(faces)` computes its device's share of the faces, in pieces, and returns what all found.

    micro_batch  faces of a piece; its activations are computed again in the backward pass, one piece at a time.
                 BatchNorm normalises within a piece, and its running statistics see every piece once
    compiled     mode of torch.compile
    """
    forward: Forward = detector.forward
    if compiled != "no":
        forward = torch.compile(forward, mode=compiled)
    if micro_batch is not None:
        forward = partial(_in_pieces, detector, forward, micro_batch)
    if engine.world_size > 1:
        forward = partial(_shared, engine, forward)
    detector.forward = forward  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        del detector.forward  # the class's own is there again


def whole(engine: Fabric, batch: Batch) -> Batch:
    """A batch of which each device has its share of the faces, with all of them."""
    if engine.world_size == 1:
        return batch
    count = len(batch.labels)
    own = torch.zeros(share_of(count, engine.world_size), *batch.faces.shape[1:], device=batch.faces.device)
    own[: len(batch.faces)] = batch.faces
    return replace(batch, faces=_gathered(engine, own)[:count])


def agree(engine: Fabric, parameters: Iterable[nn.Parameter]) -> None:
    """Put the mean over devices in the place of every gradient."""
    if engine.world_size == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    for kind in {gradient.dtype for gradient in gradients}:
        alike = [gradient for gradient in gradients if gradient.dtype == kind]
        mean = engine.all_reduce(torch.cat([gradient.reshape(-1) for gradient in alike]), reduce_op="mean")
        assert isinstance(mean, Tensor)
        for gradient, values in zip(alike, torch.split(mean, [gradient.numel() for gradient in alike]), strict=True):
            gradient.copy_(values.view_as(gradient))


def normalise_together(engine: Fabric, detector: Detector) -> None:
    """Let BatchNorm see the batch of all devices. Its statistics have no such form on the CPU (torch's SyncBatchNorm):
    there each process normalises its own share, and the first one's running statistics are kept."""
    if engine.world_size > 1 and engine.device.type != "cpu":
        nn.SyncBatchNorm.convert_sync_batchnorm(detector)  # type: ignore[no-untyped-call]


def _in_pieces(detector: Detector, forward: Forward, size: int, faces: Tensor) -> Detection:
    pieces = torch.split(faces, size)
    if len(pieces) == 1:
        return forward(faces)
    if not torch.is_grad_enabled() or not any(p.requires_grad for p in detector.parameters()):
        return Detection.joined([forward(piece) for piece in pieces])
    contexts = lambda: (nullcontext(), _statistics_at_rest(detector))  # noqa: E731
    return Detection.joined([checkpoint(forward, piece, use_reentrant=False, context_fn=contexts) for piece in pieces])


@contextmanager
def _statistics_at_rest(detector: Detector) -> Iterator[None]:
    """BatchNorm normalises as it did, and counts nothing: the faces were counted when they were seen first."""
    counting = [
        m for m in detector.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats
    ]
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in counting]  # type: ignore[union-attr]
    for norm in counting:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(counting, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(batches)  # type: ignore[union-attr]


def _shared(engine: Fabric, forward: Forward, faces: Tensor) -> Detection:
    """What all devices found together; where faces do not divide, the last ones are looked at more than once."""
    count, each = len(faces), share_of(len(faces), engine.world_size)
    first = engine.global_rank * each
    mine = torch.arange(first, first + each, device=faces.device).clamp(max=count - 1)
    return forward(faces[mine]).each(lambda values: _Gathered.apply(values, engine)[:count])  # type: ignore[no-untyped-call]


def _gathered(engine: Fabric, mine: Tensor) -> Tensor:
    """Rows of every device, (n, …) -> (devices n, …), in the order of devices."""
    mine = mine.contiguous()
    rows = [torch.empty_like(mine) for _ in range(engine.world_size)]
    distributed.all_gather(rows, mine)
    return torch.cat(rows)


class _Gathered(torch.autograd.Function):
    """`_gathered`, with gradients."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor, engine: Fabric) -> Tensor:
        ctx.engine, ctx.rows = engine, len(mine)
        return _gathered(engine, mine)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        first = ctx.engine.global_rank * ctx.rows
        return gradients[0][first : first + ctx.rows] * ctx.engine.world_size, None
