"""Work ahead of who waits: in order, by a thread or by processes, and not further ahead than agreed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from components.errors import BadArchive, StageFailed
from components.tasks.ahead import AHEAD, ahead


def squared(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def choosy(number: int) -> int:
    if number == 3:
        raise BadArchive("expected another number, found 3.")
    return number


def fatal(number: int) -> int:
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("processes", [0, 2])
def test_pieces_come_in_the_order_in_which_they_were_asked_for(processes: int) -> None:
    made = list(ahead(squared, range(20), processes=processes))
    assert [value for value, _ in made] == [number * number for number in range(20)]
    workers = {worker for _, worker in made}
    assert workers == {os.getpid()} if not processes else len(workers) == 2 and os.getpid() not in workers


@pytest.mark.parametrize("processes", [0, 2])
def test_an_error_reaches_who_waits_after_the_pieces_before_it(processes: int) -> None:
    found: list[int] = []
    with pytest.raises(BadArchive, match="found 3"):
        found.extend(ahead(choosy, range(6), processes=processes))
    assert found == [0, 1, 2]


def test_a_killed_process_is_told_with_advice() -> None:
    with pytest.raises(StageFailed, match=r"2 processes .* found one killed.*PERENNIAL_LOADERS"):
        list(ahead(fatal, range(40), processes=2))


def test_no_more_is_made_than_a_worker_may_be_ahead() -> None:
    asked = 0

    def asking() -> Iterator[int]:
        nonlocal asked
        for number in range(100):
            asked += 1
            yield number

    pieces = ahead(squared, asking())
    next(pieces)
    time.sleep(0.2)
    assert asked == AHEAD + 1
    pieces.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("processes", [0, 2])
def test_who_stops_early_leaves_nobody_at_work(processes: int) -> None:
    pieces = ahead(squared, range(1000), processes=processes)
    _, worker = next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    if processes:
        _until(lambda: not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE)
    else:
        _until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")])


def test_the_next_piece_is_made_while_the_one_before_is_used(tmp_path: Path) -> None:
    began = [threading.Event() for _ in range(3)]

    def make(number: int) -> int:
        began[number].set()
        return number

    for number in ahead(make, range(3)):
        assert number == 2 or began[number + 1].wait(10)


def _until(true: object) -> None:
    deadline = time.monotonic() + 20
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)
