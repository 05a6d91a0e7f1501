"""DVC is asked again where another of its processes is at work, and what it says of stages is understood."""

from __future__ import annotations

import json
import threading

import pytest

from components.errors import StageFailed
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


def test_a_stage_ran_however_much_it_printed_and_did_not_where_it_had_nothing_to_do(workspace: Workspace) -> None:
    (workspace.root / "dvc.yaml").write_text("stages:\n  talk:\n    cmd: seq 2000 > said; seq 2000\n    outs: [said]\n")
    heard: list[str] = []
    ran = [pipeline.reproduce(workspace.root, "talk", timeout_s=60, listen=heard.append) for _ in range(2)]
    assert ran == [True, False]
    assert "1999" in heard


@pytest.mark.parametrize("shell", ["/bin/bash", "/bin/sh"])
def test_a_stage_that_is_killed_is_said_to_be_whatever_shell_waited_for_it(workspace: Workspace, shell: str) -> None:
    kill = "python -c 'import os; os.kill(os.getpid(), 9)'; exit $?"
    (workspace.root / "dvc.yaml").write_text(f"stages:\n  end:\n    cmd: {json.dumps(kill)}\n")
    with pytest.raises(StageFailed, match="stage end was killed by somebody, or because memory was short"):
        pipeline.reproduce(workspace.root, "end", timeout_s=60, environment={"SHELL": shell})
