"""Processes that do one thing at a time and may be killed: what kills one costs the task that it had, and no other.

    do(task) -> a process that is free, or the next -> what it returned | what it raised | Busy where it died or took too long

A pool of `concurrent.futures` breaks as a whole when one of its processes dies, and its tasks share one pipe; here each process
has a pipe of its own, and another process takes the place of one that is gone.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import resource
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, TypeVar

from components.errors import Busy, PerennialError, Unreadable

T = TypeVar("T")
R = TypeVar("R")

STARTING_S = 120.0  # a new process imports what it needs, on a machine that may be busy
MEMORY_BYTES = 6 * 2**30
"""That one process may ask for: enough for any file within the limits."""
_SPAWN = multiprocessing.get_context("spawn")  # a fork would copy threads and locks in the middle of their work


class Workers(Generic[T, R]):
    """`count` processes that call `do_one` (of a module's top level) with whatever comes."""

    def __init__(self, do_one: Callable[[T], R], count: int, *, memory_bytes: int = MEMORY_BYTES) -> None:
        self._do_one, self._memory_bytes = do_one, memory_bytes
        self._free: queue.LifoQueue[_Worker[T, R]] = queue.LifoQueue()
        self.replaced = 0
        """Processes that another took the place of."""
        for _ in range(count):
            self._free.put(self._new())

    def do(self, task: T, *, within_s: float, patience_s: float = 60.0) -> R:
        """What `do_one` returns, or the PerennialError that it raises.

        Raises Busy where nobody is free for `patience_s`, or the process dies; Unreadable where it takes longer than
        `within_s`, and is killed.
        """
        try:
            worker = self._free.get(timeout=patience_s)
        except queue.Empty:
            raise Busy(
                f"expected somebody to be free within {patience_s:.0f} s, found nobody. Ask again later."
            ) from None
        try:
            if not worker.is_well():  # somebody killed it while it was free: that costs nobody anything
                worker = self._replace(worker)
            return worker.do(task, within_s)
        finally:
            self._free.put(worker if worker.is_well() else self._replace(worker))

    def pids(self) -> list[int]:
        """Of the processes that are free."""
        return [worker.pid for worker in list(self._free.queue)]

    def close(self) -> None:
        """End them; one at work when its task is done."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._free.get_nowait().end()

    def _new(self) -> _Worker[T, R]:
        return _Worker(self._do_one, self._memory_bytes)

    def _replace(self, worker: _Worker[T, R]) -> _Worker[T, R]:
        worker.end()
        self.replaced += 1
        return self._new()


class _Worker(Generic[T, R]):
    def __init__(self, do_one: Callable[[T], R], memory_bytes: int) -> None:
        self._here, there = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(there, do_one, memory_bytes), daemon=True)
        self._process.start()
        there.close()
        self._ready = False

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def is_well(self) -> bool:
        return self._process.is_alive()

    def do(self, task: T, within_s: float) -> R:
        try:
            if not self._ready:
                self._receive(STARTING_S)
                self._ready = True
            self._here.send(task)
            returned, raised = self._receive(within_s)
        except (EOFError, OSError) as fault:
            self._process.join(1)
            code = self._process.exitcode
            raise Busy(
                f"expected an answer from the process that reads files, found that it ended (exit code {code}). Another "
                "took its place: ask again. If the same file ends it again, the file is at fault."
            ) from fault
        if raised is not None:
            raise raised
        return returned

    def _receive(self, within_s: float) -> Any:
        if not wait([self._here, self._process.sentinel], within_s):
            self.end()
            raise Unreadable(
                f"expected to read the file within {within_s:.0f} s, found that it takes longer. Send less of it."
            )
        return self._here.recv()

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self._here.close()


def _serve(pipe: Connection, do_one: Callable[[T], R], memory_bytes: int) -> None:
    """The life of a process: it ends when nobody is at the other end of its pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who answers
    if not Path("/dev/nvidiactl").exists():  # its driver maps more than a process will ever hold
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    with contextlib.suppress(OSError):
        os.nice(5)  # who answers comes before who reads
    pipe.send(None)
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        pipe.send(_done(do_one, task))


def _done(do_one: Callable[[T], R], task: T) -> tuple[R | None, PerennialError | None]:
    try:
        return do_one(task), None
    except PerennialError as fault:
        return None, fault
    except MemoryError:
        return None, Unreadable(
            "expected a file that can be read in the memory there is, found one that cannot. Make it smaller."
        )
    except Exception as fault:  # a reader's own fault is the file's: the process lives on
        return None, Unreadable(
            f"expected a file that can be read, found that reading it fails: {type(fault).__name__}: {fault}"
        )
