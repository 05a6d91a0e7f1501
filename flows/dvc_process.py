"""DVC as a program: started as a subprocess, heard, waited for, and killed with all that it began.

A stage that is killed, runs out of memory or out of time cannot take the flow along. A flow that is killed takes its stages
along: every stage watches the process named in PERENNIAL_GUARDIAN.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from components import guardian
from components.errors import OUT_OF_MEMORY, StageFailed
from components.settings import SILENCE
from flows import stopping

T = TypeVar("T")
Listener = Callable[[str], None]
NOISE = (
    *("ERROR: failed to reproduce", "Running stage", "> ", "WARNING:", "To track the changes", "To enable auto"),
    *("Updating lock file", "Generating lock file", "Use `dvc push`"),
)
DVC = "dvc"
BUSY = ("is busy", "Unable to acquire lock", "is being blocked", "dvc.lock' validation failed")
"""The last: DVC writes that file in place, and whoever reads it meanwhile meets a part of it."""
KILLED = re.compile(r"^ERROR: failed to reproduce .* exited with (-9|137)$")
"""What DVC says when the stage got a SIGKILL, such as the one by which a system short of memory helps itself: a shell that
waited for it, as `sh` does where SHELL names none, tells that as 137."""
BY_WHOM = f"by somebody, or because memory was short: then {OUT_OF_MEMORY}."
PATIENCE_S = 20.0
_at_work: set[subprocess.Popen[str]] = set()
given_up = threading.Event()


class Busy(StageFailed):
    """Another DVC process holds a file this stage needs; trying again later helps."""


class GivenUp(StageFailed):
    """Somebody told the run to stop: the stage did not fail."""


@contextmanager
def stoppable() -> Iterator[None]:
    """An interrupt or a SIGTERM kills what DVC does and begins no other stage, which threads would go on with."""
    given_up.clear()
    try:
        yield
    except Exception:
        raise
    except BaseException:
        stopping.soon()
        given_up.set()
        for process in list(_at_work):
            _kill(process)
        raise


def patiently(act: Callable[[], T], patience_s: float) -> T:
    """What `act` gives, asked again for so long while another DVC process holds its files; raises Busy after that."""
    waited_until = time.monotonic() + patience_s
    while True:
        try:
            return act()
        except Busy:
            if time.monotonic() >= waited_until:
                raise
            time.sleep(1)


def is_busy(lines: Iterable[str]) -> bool:
    return any(sign in line for line in lines for sign in BUSY)


def must(root: Path, arguments: list[str], *, program: str = DVC) -> None:
    waiting = [] if arguments[0] == "init" or program != DVC else ["--wait-for-lock"]
    exit_code, lines = run(root, [*waiting, *arguments], 24 * 3600, None, program=program)
    if exit_code:
        raise StageFailed(f"dvc {arguments[0]} failed: {last_words(lines)}")


def run(
    root: Path,
    arguments: list[str],
    timeout_s: float,
    listen: Listener | None,
    *,
    is_stage: bool = False,
    environment: Mapping[str, str] | None = None,
    program: str = DVC,
) -> tuple[int, list[str]]:
    """Run dvc in a process group of its own; past the time limit, and where it was given up, the group is killed."""
    lines: deque[str] = deque(maxlen=400)
    late = threading.Event()

    def call_time() -> None:
        late.set()
        _kill(process)

    with subprocess.Popen(
        guardian.command(program, *arguments),
        cwd=root,
        env=_environment() | dict(environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        timer = threading.Timer(timeout_s, call_time)
        timer.start()
        try:
            _at_work.add(process)
            if is_stage and given_up.is_set():  # since it was asked for
                _kill(process)
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.rstrip())
                if listen:
                    listen(line.rstrip())
            exit_code = process.wait()
        except BaseException:
            _kill(process)
            raise
        finally:
            _at_work.discard(process)
            timer.cancel()
    if exit_code == -signal.SIGKILL:
        why = f"because it ran for longer than {timeout_s:.0f} s" if late.is_set() else BY_WHOM
        lines.append(f"killed {why}")
    return exit_code, list(lines)


def _kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def _environment() -> dict[str, str]:
    """The stages' environment: our python first, silence, and whom to outlive: nobody."""
    bin_folder = str(Path(sys.executable).parent)
    return {
        **SILENCE,
        **os.environ,
        "PATH": bin_folder + os.pathsep + os.environ.get("PATH", ""),
        "PERENNIAL_GUARDIAN": str(os.getpid()),
        "PYTHONUNBUFFERED": "1",
    }


def last_words(lines: Iterable[str]) -> str:
    """The stage's own error if it gave one, else the end of what was printed."""
    said = [line for line in lines if line.strip()]
    own = [line for line in said if not line.startswith(NOISE)]
    return "\n".join((own or said)[-12:]) or "it printed nothing"
