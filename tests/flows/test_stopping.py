"""Told to stop, a command ends with one line, whatever still holds it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HELD = """\
import sys, threading, time
from flows import dvc_process, stopping
stopping.prompt("Stopped; `perennial run` continues.")
threading.Thread(target=time.sleep, args=(600,)).start()   # a thread that waits for a server
try:
    with dvc_process.stoppable():
        print("at work", flush=True)
        time.sleep(600)
except stopping.Stopped as stopped:
    stopping.end(stopped)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_told_to_stop_leaves_whoever_waits_and_says_one_line(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HELD], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "at work\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert said == "Stopped; `perennial run` continues.\n"
    assert process.returncode == 128 + number
