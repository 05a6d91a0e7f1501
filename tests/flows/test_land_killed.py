"""A landing that is killed at any moment and done again ends as if it had been left alone, and nothing is left over."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

ROOT = Path(__file__).parents[2]
PATIENCE_S = 240
STILLS = 240
OWN_TO_DVC = (".dvc/tmp/", ".perennial/landing.lock")
"""Locks, and when a file was last looked at."""


def many(root: Path) -> Path:
    """An archive of layout crops whose files take a moment to copy."""
    lines = ["file,label,method,source,split"]
    for number in range(STILLS):
        label, split = number % 2, "test" if number % 3 == 0 else "train"
        file = f"{('real', 'fake')[label]}/{number}.png"
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / file), np.full((8, 8), number, np.uint8))
        lines.append(f"{file},{label},{('genuine', 'swap')[label]},{number},{split}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


def start(root: Path, source: str) -> psutil.Popen:
    words = ["land", "swaps", source, "--layout", "crops", "-C", str(root)]
    with root.with_suffix(".log").open("ab") as log:
        return psutil.Popen([sys.executable, "-m", "flows.cli", *words], cwd=ROOT, stdout=log, stderr=log)


def said(root: Path) -> str:
    return root.with_suffix(".log").read_text()


def power_cut(process: psutil.Popen) -> None:
    """The landing, DVC and its stage are gone at once."""
    for one in [*process.children(recursive=True), process]:
        if one.is_running():
            one.kill()
    process.wait()


def alone(process: psutil.Popen) -> None:
    """``kill -9`` of the landing; the DVC it had started goes on."""
    process.kill()
    process.wait()


def killed(root: Path, source: str, trace: str, kill: Callable[[psutil.Popen], None]) -> None:
    """Land, and kill the landing as soon as it writes a file like `trace`."""
    since, deadline = time.time(), time.monotonic() + PATIENCE_S
    process = start(root, source)
    while not any(written(path) > since for path in root.glob(trace)):
        assert process.poll() is None, f"ended before it could be killed\n{said(root)}"
        assert time.monotonic() < deadline, said(root)
        time.sleep(0.002)
    kill(process)


def written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # it was taken away meanwhile
        return 0.0


def finished(root: Path, source: str) -> Path:
    assert start(root, source).wait(PATIENCE_S) == 0, said(root)
    return root


def content(root: Path) -> dict[str, bytes]:
    """Every file of a workspace, the cache's apart, which may have been linked: name and bytes."""
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in sorted(files.items()) if not name.startswith(OWN_TO_DVC)}


FETCHED, ANNOUNCED = "data/archives/swaps/*/*", "params.yaml"
MOMENTS = {
    "folder": (("data/archives/.swaps.*/swaps/*/*", power_cut), ("data/archives/swaps.dvc", alone), (ANNOUNCED, alone)),
    "s3": ((FETCHED, power_cut), (FETCHED, alone), (ANNOUNCED, power_cut)),
}
"""What is written when a landing is killed, one after the other in one workspace, and how it is killed."""


@pytest.mark.slow
@pytest.mark.parametrize("store", MOMENTS)
def test_a_landing_that_is_killed_again_and_again_ends_like_one_left_alone(
    workspace, store, tmp_path, request, monkeypatch
):
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    source = str(many(tmp_path / "archive"))
    if store == "s3":
        source = request.getfixturevalue("upload")(Path(source), "sets/swaps")
    peace = Path(shutil.copytree(workspace.root, tmp_path / "peace", symlinks=True))
    for trace, kill in MOMENTS[store]:
        killed(workspace.root, source, trace, kill)
    assert content(finished(workspace.root, source)) == content(finished(peace, source))
    left, undisturbed = (
        sorted(path.name for path in (root / "data/archives").iterdir()) for root in (workspace.root, peace)
    )
    assert left == undisturbed
