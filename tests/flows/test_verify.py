"""What is not what was written down of it is found, whatever DVC thinks of it, and brought back from where it still is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from components.registry import ledger
from components.registry.ledger import Decision, Holder
from flows.land import land
from flows.verify import verify
from flows.workspace import Workspace

CUT = 10


@pytest.fixture
def landed(workspace: Workspace, archive: Path) -> Workspace:
    land(workspace, "swaps", str(archive), layout="crops")
    return workspace


@pytest.fixture
def picture(landed: Workspace) -> Path:
    return landed.data("archives", "swaps") / "real" / "train_0.png"


@pytest.fixture
def kept(landed: Workspace, picture: Path) -> Path:
    """The picture in DVC's cache."""
    files = (path for path in (landed.root / ".dvc/cache/files").rglob("*") if path.is_file())
    return next(path for path in files if path.read_bytes() == picture.read_bytes())


@pytest.fixture
def dvc(landed: Workspace) -> Callable[..., None]:
    def run(*words: str) -> None:
        subprocess.run([sys.executable, "-m", "dvc", *words], cwd=landed.root, check=True, capture_output=True)

    return run


def spoil(path: Path) -> None:
    """The same size, at the same time, as a disk does it."""
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-CUT] + bytes(CUT))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def said(workspace: Workspace, **how: bool) -> list[str]:
    return [f"{fault.what} {fault.words}" for fault in verify(workspace, **how).faults]


def test_a_whole_workspace_has_no_fault(landed: Workspace) -> None:
    assert said(landed) == []


def test_what_dvc_had_begun_to_write_into_its_cache_is_no_fault(landed: Workspace, kept: Path) -> None:
    (kept.parent / ".JgDfSOBTTNliBhCJIzFb0w.tmp").write_bytes(kept.read_bytes()[:9])
    assert verify(landed).faults == ()


def test_a_spoilt_file_is_brought_back_from_the_cache(landed: Workspace, picture: Path) -> None:
    before = picture.read_bytes()
    spoil(picture)
    assert [str(picture) in words for words in said(landed)] == [True]
    done = verify(landed, repair=True)
    assert (done.faults, len(done.repaired)) == ((), 1)
    assert picture.read_bytes() == before


def test_a_spoilt_cache_is_mended_by_the_workspace(landed: Workspace, picture: Path, kept: Path) -> None:
    spoil(kept)
    assert any(str(kept) in words for words in said(landed))
    assert verify(landed, repair=True).faults == ()
    assert kept.read_bytes() == picture.read_bytes()


def test_what_is_spoilt_here_and_in_the_cache_comes_back_from_the_remote(
    landed: Workspace, picture: Path, kept: Path, dvc: Callable[..., None], tmp_path: Path
) -> None:
    before = picture.read_bytes()
    spoil(kept)
    spoil(picture)
    without = verify(landed, repair=True).faults
    assert any("neither here nor in the cache" in fault.words for fault in without)
    (remote,) = (fault.words for fault in without if fault.what == "remote")
    assert remote.startswith("expected to fetch what is lacking, found: ") and "No remote provided" in remote
    assert len(picture.read_bytes()) == len(before), "it may be all that is left"
    picture.write_bytes(before)
    verify(landed, repair=True)
    dvc("remote", "add", "--default", "store", str(tmp_path / "store"))
    dvc("push")
    spoil(kept)
    spoil(picture)
    assert verify(landed, repair=True).faults == ()
    assert picture.read_bytes() == before == kept.read_bytes()


def test_a_changed_ledger_is_a_fault_that_nothing_repairs(landed: Workspace) -> None:
    first = Holder("small-M1", "1" * 64)
    for to, came_from in ((first, None), (Holder("small-M2", "2" * 64), first)):
        ledger.append(landed.ledger, Decision("2026", "ada", ledger.PROMOTE, "small", came_from, to, "the gate opened"))
    assert said(landed) == []
    landed.ledger.write_text(landed.ledger.read_text().replace("ada", "eve", 1))
    (words,) = said(landed, repair=True)
    assert words.startswith("ledger ") and "found that line 2 follows others" in words
