"""What a person sees while a stage works. It shapes no result: what happens here may change without raising anything anew."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn, track

from components.printing import Console

T = TypeVar("T")
NOTE = "NOTE: "
"""Begins a line that whoever runs the stage is shown whatever else it says."""
EPOCH = "EPOCH: "
"""Begins a line for the flow that runs the stage: JSON with the number of an epoch that ended and the mean of every term."""
EVERY_S = 0.5  # a bar asks how the training stands


class Standing(Protocol):
    """Where a training stands."""

    epoch: int
    step: int

    def means(self) -> dict[str, float]:
        """Of every named term, over the steps of this epoch; asking waits for the device."""


OnStep = Callable[[Standing, int, int], None]
"""Called after each step with where the training stands, the epochs in all and the steps of this epoch."""


def shown(items: Iterable[T], title: str, *, total: int | None = None, quiet: bool = False) -> Iterable[T]:
    """`items`, with a bar on standard error while they are gone through, if that is a terminal."""
    count = len(items) if total is None and isinstance(items, Sized) else total
    hidden = quiet or not sys.stderr.isatty()
    return track(items, escape(title), count, console=Console(stderr=True), transient=True, disable=hidden)


@contextmanager
def learning(name: str) -> Iterator[OnStep]:
    """A bar on a terminal; elsewhere a line an epoch with the mean of every term."""
    bar = Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        transient=True, console=Console(), disable=not sys.stdout.isatty(),
    )  # fmt: skip
    line = bar.add_task(name)

    told = 0.0

    def on_step(now: Standing, epochs: int, steps: int) -> None:
        nonlocal told
        last = now.step == steps
        if not last and (bar.disable or time.monotonic() - told < EVERY_S):
            return
        told = time.monotonic()
        means = "  ".join(f"{term} {value:.3f}" for term, value in now.means().items())
        text = f"{name}  epoch {now.epoch + 1}/{epochs}  {means}"
        bar.update(line, total=epochs * steps, completed=now.epoch * steps + now.step, description=text)
        if last and bar.disable:
            print(text, flush=True)
            if "PERENNIAL_GUARDIAN" in os.environ:
                rounded = {term: float(f"{value:.9g}") for term, value in now.means().items()}  # as on disk
                print(EPOCH + json.dumps({"epoch": now.epoch + 1, **rounded}), flush=True)

    with bar:
        yield on_step
