"""Children end with their parent: a process that works for another one ends when that one is gone, however it went.

    python -m components.guardian PARENT MODULE ARGUMENT …     # run a module that knows nothing of this

It is asked twice a second whether the parent lives, which every system answers; of a SIGKILL nobody is told.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
import time
from collections.abc import Callable

EVERY_S = 0.5
GONE = 137
"""The exit code of a child whose parent is gone."""


def end_unless(lives: Callable[[], bool]) -> None:
    """End this process at once, from now on and as soon as `lives()` is false."""

    def watch() -> None:
        while lives():
            time.sleep(EVERY_S)
        os._exit(GONE)

    threading.Thread(target=watch, daemon=True, name="guardian").start()


def end_with_parent(parent: int | None = None) -> None:
    """End with the process that started this one; `parent` is its id, where it may be gone by now."""
    who = os.getppid() if parent is None else parent
    end_unless(lambda: os.getppid() == who)


def command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module as a child which ends with this process."""
    return [sys.executable, "-m", "components.guardian", str(os.getpid()), module, *arguments]


def main(parent: int, module: str) -> None:
    """Run `module` with the arguments that are left, guarded."""
    end_with_parent(parent)
    del sys.argv[1:3]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
