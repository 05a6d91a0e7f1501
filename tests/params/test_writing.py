"""Files are replaced at once; what is temporary is swept when its owner is gone, and never before."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.writing import replace_text, replacing, room, sweep

ROOT = Path(__file__).parents[2]
OWNER = """\
import sys, time
from pathlib import Path
from components.writing import replacing, room
folder = Path(sys.argv[1])
with room(folder, "archive") as place, replacing(folder / "lineage.yaml") as file:
    (place / "half").write_text("half")
    print("holds", flush=True)
    time.sleep(600)
"""
Owner = Callable[[], subprocess.Popen[str]]


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    """Start a process that holds a room and a half-written file."""
    started = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", OWNER, str(tmp_path)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == "holds\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_holds_stays(owner: Owner, tmp_path: Path) -> None:
    process = owner()
    held = set(tmp_path.iterdir())
    assert len(held) == 2
    sweep(tmp_path)
    with room(tmp_path, "archive") as mine:
        assert set(tmp_path.iterdir()) == held | {mine}
    process.kill()
    process.wait()
    sweep(tmp_path, "other")
    assert set(tmp_path.iterdir()) == held
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "params.yaml"
    assert replace_text(path, "a: 1\n")
    assert not replace_text(path, "a: 1\n")
    with pytest.raises(OSError, match="no room"), replacing(path) as file:
        file.write(b"a: 2")
        raise OSError("no room")
    assert path.read_text() == "a: 1\n"
    assert list(path.parent.iterdir()) == [path]
