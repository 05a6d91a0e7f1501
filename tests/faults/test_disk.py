"""A disk that is full or may not be written: one line says so, nothing is lost, and when it is mended all goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows import pipeline
from flows.verify import verify
from flows.workspace import Workspace

ROOT = Path(__file__).parents[2]
APART = ["unshare", "--map-root-user", "--mount"]
FULL = """\
mount -t tmpfs -o size=$1 none "$2" && cp -a "$3/." "$2" || exit 99
shift 3
"$@" > "$SAID/first" 2>&1; echo $? > "$SAID/first.code"
(cd "$PLACE" && find . -name '.*.partial' -o -name '.*.fresh') > "$SAID/left"
mount -o remount,size=400m "$PLACE"
"$@" > "$SAID/second" 2>&1; echo $? > "$SAID/second.code"
cp -a "$PLACE/." "$SAID/after"
"""
READ_ONLY = """\
mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 99
shift
exec "$@"
"""


def may(command: list[str]) -> bool:
    """Whether this machine lets us run that."""
    return shutil.which(command[0]) is not None and subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def _mounts() -> None:
    if not may([*APART, "mount", "-t", "tmpfs", "-o", "size=1m", "none", "/tmp"]):
        pytest.skip("nobody may mount a small disk here: neither root nor a user namespace")


@pytest.fixture
def running() -> Callable[[Path], list[str]]:
    """The command that raises what is pending in a workspace."""
    return lambda root: [sys.executable, "-m", "flows.cli", "run", "-C", str(root)]


def outside(**variables: str) -> dict[str, str]:
    return {"PERENNIAL_DEVICE": "cpu", "PERENNIAL_WORKERS": "2", **os.environ, "PYTHONPATH": str(ROOT), **variables}


def kib(root: Path) -> int:
    return int(subprocess.run(["du", "-sk", str(root)], capture_output=True, text=True, check=True).stdout.split()[0])


@pytest.mark.slow
@pytest.mark.usefixtures("_mounts")
@pytest.mark.parametrize("room_kib", [200, 2000], ids=["for nothing", "for faces alone"])
def test_a_run_on_a_disk_that_gets_full_says_so_and_goes_on_when_there_is_room(workspace, tmp_path, running, room_kib):
    place, said = tmp_path / "small", tmp_path / "said"
    place.mkdir()
    said.mkdir()
    size = f"{kib(workspace.root) + room_kib}k"
    command = [*APART, "sh", "-c", FULL, "sh", size, str(place), str(workspace.root), *running(place)]
    done = subprocess.run(command, cwd=ROOT, env=outside(SAID=str(said), PLACE=str(place)), capture_output=True)
    assert done.returncode == 0, done.stderr
    first, second = ((said / name).read_text() for name in ("first", "second"))
    assert (said / "first.code").read_text() == "1\n", first
    assert "No space left on device" in first and "make room" in first
    assert "Traceback" not in first
    assert (said / "left").read_text() == ""
    assert (said / "second.code").read_text() == "0\n", second
    after = Workspace.at(said / "after")
    assert (after.data("verdicts", "cffd-M1") / "verdict.json").is_file()
    assert verify(after).faults == ()


@pytest.mark.usefixtures("_mounts")
def test_a_workspace_on_a_read_only_disk_is_one_line_with_advice(workspace, running):
    command = [*APART, "sh", "-c", READ_ONLY, "sh", str(workspace.root), *running(workspace.root)]
    done = subprocess.run(command, cwd=ROOT, env=outside(), capture_output=True, text=True)
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr and "mounted read-only: choose another place" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_folder_that_may_not_be_written_stops_its_stage_with_one_line_and_goes_on_when_it_may(
    workspace, running, content
):
    """Root may write everywhere, unless it has laid that power down."""
    humble = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if os.getuid() == 0 else []
    if humble and not may([*humble, "true"]):
        pytest.skip("root cannot lay down its powers here")
    folder = workspace.data("validation")
    folder.mkdir(exist_ok=True)
    folder.chmod(0o555)
    try:
        command = [*humble, *running(workspace.root)]
        done = subprocess.run(command, cwd=ROOT, env=outside(), capture_output=True, text=True)
    finally:
        folder.chmod(0o755)
    assert done.returncode == 1
    assert "Permission denied" in done.stderr and "give this user the right" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert pipeline.reproduce(workspace.root, "validate@swaps", timeout_s=120)
