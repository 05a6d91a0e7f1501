"""What a person sees while a stage works. It shapes no result: what happens here may change without raising anything anew."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn, track

T = TypeVar("T")


class Standing(Protocol):
    """Where a training stands."""

    epoch: int
    step: int
    sums: dict[str, float]
    """Of every named term, over the steps of this epoch."""


OnStep = Callable[[Standing, int, int], None]
"""Called after each step with where the training stands, the epochs in all and the steps of this epoch."""


def shown(items: Iterable[T], title: str, *, total: int | None = None, quiet: bool = False) -> Iterable[T]:
    """`items`, with a bar on standard error while they are gone through, if that is a terminal."""
    count = len(items) if total is None and isinstance(items, Sized) else total
    hidden = quiet or not sys.stderr.isatty()
    return track(items, title, count, console=Console(stderr=True), transient=True, disable=hidden)


@contextmanager
def learning(name: str) -> Iterator[OnStep]:
    """A bar on a terminal; elsewhere a line an epoch with the mean of every term."""
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), transient=True,
        disable=not sys.stdout.isatty(),
    )  # fmt: skip
    line = bar.add_task(name)

    def on_step(now: Standing, epochs: int, steps: int) -> None:
        means = "  ".join(f"{term} {value / now.step:.3f}" for term, value in now.sums.items())
        text = f"{name}  epoch {now.epoch + 1}/{epochs}  {means}"
        bar.update(line, total=epochs * steps, completed=now.epoch * steps + now.step, description=text)
        if now.step == steps and bar.disable:
            print(text, flush=True)

    with bar:
        yield on_step
