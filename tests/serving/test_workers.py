"""A process that is killed costs the task it had, and no other."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.errors import Busy, TooLarge, Unreadable
from components.serving.workers import Workers


def do_one(task: str) -> str:
    """What a test asks a process to do."""
    match task:
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "sleep":
            time.sleep(600)
        case "eat":
            return str(len(bytearray(2**34)))
        case "refuse":
            raise TooLarge("too large")
        case "stumble":
            raise ZeroDivisionError("nobody saw it coming")
    return f"{task} by {os.getpid()}"


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers[str, str]]:
    made: Workers[str, str] = Workers(do_one, 2)
    yield made
    made.close()


def test_a_process_that_dies_costs_its_own_task_and_another_takes_its_place(workers):
    before = workers.replaced
    with ThreadPoolExecutor(2) as pool:
        died, lived = pool.submit(workers.do, "die", within_s=60), pool.submit(workers.do, "work", within_s=60)
        assert lived.result().startswith("work by")
        with pytest.raises(Busy, match=r"exit code -9.*ask again"):
            died.result()
    assert workers.replaced == before + 1
    assert workers.do("work", within_s=60).startswith("work by")


def test_a_process_that_somebody_kills_while_it_is_free_costs_nobody_anything(workers):
    workers.do("warm up", within_s=60)
    for pid in workers.pids():
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}/stat").read_text().split()[2] not in "ZX":
            time.sleep(0.005)
    assert all(workers.do("work", within_s=60) for _ in range(3))


def test_a_task_that_takes_too_long_is_ended_with_its_process(workers):
    workers.do("warm up", within_s=60)
    with pytest.raises(Unreadable, match="takes longer"):
        workers.do("sleep", within_s=0.1)
    assert workers.do("work", within_s=60)


@pytest.mark.parametrize(
    ("task", "error", "words"),
    [
        ("refuse", TooLarge, "too large"),
        ("stumble", Unreadable, "ZeroDivisionError: nobody saw it coming"),
        ("eat", Unreadable, "in the memory there is"),
    ],
)
def test_what_goes_wrong_in_a_process_is_told_and_the_process_goes_on(workers, task, error, words):
    before = workers.replaced
    with pytest.raises(error, match=words):
        workers.do(task, within_s=60)
    assert workers.replaced == before


def test_who_finds_nobody_free_is_told_to_come_again():
    none: Workers[str, str] = Workers(do_one, 0)
    with pytest.raises(Busy, match="nobody"):
        none.do("work", within_s=1, patience_s=0.01)
