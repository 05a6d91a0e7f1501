"""Told to stop (Ctrl-C, SIGTERM), a command ends within seconds, with one line that says how to go on.

    stopping.prompt("Stopped; `perennial run` continues.")
    try:
        ...                                 # Stopped is raised here
    except stopping.Stopped as stopped:
        stopping.end(stopped)

Everything may be killed at any moment and goes on when it is run again. So whatever does not end by itself within
`GRACE_S`, such as a thread that waits for a server, is left where it stands.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from components.texts import say

GRACE_S = 2.0
SHOW_CURSOR = "\x1b[?25h"
_said, _well = "", False
_once = threading.Lock()
_ending = threading.Event()


class Stopped(BaseException):
    """Somebody told this process to stop; no Exception, so that nobody takes it for a failure."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.code = 0 if _well else 128 + number


def prompt(words: str, *, well: bool = False) -> None:
    """From now on a signal to stop ends this process, and `words` are the last ones it says; `well`, a service, with 0."""
    global _said, _well
    _said, _well = words, well
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a shell's `&`
            signal.signal(number, _told)


def soon(stopped: Stopped | None = None) -> None:
    """A stop is under way: if this process is prompt, it ends after `GRACE_S` at the latest."""
    if _said and not _ending.is_set():
        _ending.set()
        timer = threading.Timer(GRACE_S, _leave, [(stopped or Stopped()).code])
        timer.daemon = True
        timer.start()


def end(stopped: Stopped) -> NoReturn:
    """Say the last words and end."""
    soon(stopped)
    _say()
    sys.exit(stopped.code)


def _told(number: int, _: FrameType | None) -> None:
    stopped = Stopped(number)
    if _ending.is_set():  # who asks twice is in a hurry
        _leave(stopped.code)
    soon(stopped)
    raise stopped


def _leave(code: int) -> None:
    _say()
    os._exit(code)


def _say() -> None:
    if _once.acquire(blocking=False):
        with suppress(OSError, ValueError):
            if sys.stdout.isatty():
                sys.stdout.write(SHOW_CURSOR)
                sys.stdout.flush()
            say(_said, file=sys.stderr, flush=True)
