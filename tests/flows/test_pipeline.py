"""DVC is asked again where another of its processes is at work."""

from __future__ import annotations

import threading

from flows import pipeline
from flows.workspace import Workspace


def test_a_lock_file_that_is_being_written_is_read_once_it_is_whole(workspace: Workspace) -> None:
    lock = workspace.root / "dvc.lock"
    whole = lock.read_text() if lock.is_file() else "schema: '2.0'\nstages: {}\n"
    stale = pipeline.stale(workspace.root)
    lock.write_text("schema: '2.0'\nstages:\n  code:\n")  # as far as DVC has come
    later = threading.Timer(3, lock.write_text, (whole,))
    later.start()
    try:
        assert pipeline.stale(workspace.root) == stale
    finally:
        later.join()
