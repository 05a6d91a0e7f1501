"""Work done ahead of whoever waits for it: by worker processes, or by a thread where there are none."""

from __future__ import annotations

import multiprocessing
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from components.errors import StageFailed

Asked = TypeVar("Asked")
Made = TypeVar("Made")
AHEAD = 2  # pieces that lie ready, of each worker


def ahead(
    make: Callable[[Asked], Made], asked: Iterable[Asked], *, processes: int = 0, pinned: bool = False
) -> Iterator[Made]:
    """`make` of each of `asked`, in their order; at most two pieces a worker are made before they are wanted.

    make       with processes, what can be pickled
    processes  0: one thread, which works while this one waits for a device or leaves Python
    pinned     whether pieces, which then have a ``pin_memory``, are put where a device reads by itself
    Raises what `make` raises, and StageFailed where a process was killed.
    """
    return _by_processes(make, asked, processes, pinned) if processes else _by_a_thread(make, asked)


def _by_a_thread(make: Callable[[Asked], Made], asked: Iterable[Asked]) -> Iterator[Made]:
    waiting: deque[Future[Made]] = deque()
    coming = iter(asked)
    with ThreadPoolExecutor(1, "ahead", torch.set_num_threads, (torch.get_num_threads(),)) as thread:
        try:
            waiting.extend(thread.submit(make, piece) for piece in islice(coming, AHEAD))
            while waiting:
                made = waiting.popleft().result()
                waiting.extend(thread.submit(make, piece) for piece in islice(coming, 1))
                yield made
        finally:
            thread.shutdown(wait=False, cancel_futures=True)


def _by_processes(
    make: Callable[[Asked], Made], asked: Iterable[Asked], processes: int, pinned: bool
) -> Iterator[Made]:
    loader = DataLoader(
        _Made(make),
        batch_size=None,
        sampler=asked,
        num_workers=processes,
        prefetch_factor=AHEAD,
        pin_memory=pinned,
        multiprocessing_context=_context(),
        collate_fn=_as_it_is,
        worker_init_fn=_alone,
        generator=torch.Generator(),  # torch's own is the training's
    )
    try:
        yield from loader
    except RuntimeError as fault:
        if "DataLoader worker" not in str(fault):
            raise
        raise StageFailed(
            f"expected {processes} processes that load faces to live, found one killed: {fault}. Memory is short, or "
            "shared memory is small (containers: --shm-size). Lower PERENNIAL_LOADERS, or set it to 0, and run again."
        ) from fault


class _Made(Dataset[Made], Generic[Asked, Made]):
    def __init__(self, make: Callable[[Asked], Made]) -> None:
        self.make = make

    def __getitem__(self, asked: Any) -> Made:
        return self.make(asked)


def _as_it_is(made: Any) -> Any:
    return made


def _alone(_: int) -> None:
    torch.set_num_threads(1)


def _context() -> Any:
    """Processes that inherit no threads: forked from a server that has imported what they need, or spawned."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["components.tasks.loading"])
    return context
