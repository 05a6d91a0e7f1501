"""Reading goes on while others work: the next few things are made by a thread, and no more of them than are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Generator[T], *, ready: int = 1) -> Iterator[T]:
    """`items` in their order, of which at most `ready` lie made before they are wanted; raises what they raise."""
    with ThreadPoolExecutor(1, "ahead") as thread:
        waiting: deque[Future[list[T]]] = deque()

        def ask() -> None:
            waiting.append(thread.submit(lambda: list(islice(items, 1))))

        try:
            for _ in range(ready):
                ask()
            while waiting:
                made = waiting.popleft().result()
                if not made:
                    return
                ask()
                yield made[0]
        finally:
            thread.shutdown(cancel_futures=True)
            items.close()
