"""A store that refuses, truncates or dawdles: one line says so, nothing is half there, and when it is well all goes on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components.errors import StageFailed
from flows import watch as watching
from flows.land import land
from flows.verify import verify
from flows.watch import InboxWatch
from flows.workspace import Workspace
from tests.between import REFUSING, SLOW, TRUNCATING, WELL, Between, between


@pytest.fixture(autouse=True)
def _nobody_to_tell(speak_to: Callable[[str | None], None]) -> None:
    speak_to(None)


@pytest.fixture
def store(bucket: Any, s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Between]:
    """Stands before the S3 server; everybody finds it in place of that one, and asks once."""
    with between(s3_server) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.address)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        yield server


@pytest.fixture
def inbox(store: Between, archive: Path, upload: Callable[[Path, str], str], bucket: Any) -> str:
    """An inbox in the store with one complete arrival."""
    upload(archive, "inbox/swaps")
    bucket.put_object(Key="inbox/swaps/PERENNIAL.json", Body=b'{"layout": "crops"}')
    return f"s3://{bucket.name}/inbox"


def of_pictures(mood: str) -> Callable[[str, str], str]:
    return lambda method, path: mood if method == "GET" and path.endswith(".png") else WELL


def left(workspace: Workspace) -> list[str]:
    """What lies where archives land and arrive, locks apart."""
    folders = (workspace.data("archives"), workspace.root / ".perennial" / "arrivals")
    return [path.name for folder in folders for path in folder.glob("*") if path.suffix != ".lock"]


def test_an_inbox_whose_store_answers_500_is_told_once_and_looked_through_again(
    workspace: Workspace, inbox: str, store: Between, capsys: pytest.CaptureFixture[str]
) -> None:
    store.mood = lambda method, path: REFUSING
    watcher = InboxWatch(workspace, inbox)
    watcher.round()
    watcher.round()
    said = capsys.readouterr().err
    assert said.count("could not be looked through") == 1 and len(said.splitlines()) == 1
    assert "InternalError" in said and "AWS_ENDPOINT_URL" in said
    store.mood = lambda method, path: WELL
    watcher.round()
    assert list(workspace.params().archives) == ["swaps"]


@pytest.mark.parametrize("mood", [pytest.param(REFUSING, marks=pytest.mark.slow), TRUNCATING])
def test_an_arrival_that_its_store_does_not_give_whole_lands_later_though_nobody_changed_it_and_though_it_is_slow(
    workspace: Workspace,
    inbox: str,
    store: Between,
    mood: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(watching, "PAUSE_S", 0)
    store.mood = of_pictures(mood)
    watcher = InboxWatch(workspace, inbox)
    watcher.round()
    (said,) = capsys.readouterr().err.splitlines()
    assert "'swaps' did not land" in said and "cannot be read" in said
    assert not workspace.params().archives and left(workspace) == []
    store.mood = of_pictures(SLOW)
    watcher.round()
    assert list(workspace.params().archives) == ["swaps"]


@pytest.mark.slow
@pytest.mark.parametrize("mood", [REFUSING, TRUNCATING])
def test_a_landing_from_a_store_that_is_not_well_leaves_nothing_and_can_be_done_again(
    workspace: Workspace, archive: Path, upload: Callable[[Path, str], str], store: Between, mood: str
) -> None:
    address, before = upload(archive, "swaps"), workspace.params_file.read_bytes()
    store.mood = of_pictures(mood)
    with pytest.raises(StageFailed) as caught:
        land(workspace, "swaps", address, layout="crops")
    assert "Traceback" not in str(caught.value)
    assert workspace.params_file.read_bytes() == before and left(workspace) == []
    store.mood = lambda method, path: WELL
    assert land(workspace, "swaps", address, layout="crops").clips == 8


@pytest.mark.slow
def test_what_is_spoilt_here_comes_back_when_the_remote_is_well_again(
    workspace: Workspace, archive: Path, bucket: Any, store: Between
) -> None:
    land(workspace, "swaps", str(archive), layout="crops")
    for words in (["remote", "add", "--default", "store", f"s3://{bucket.name}/remote"], ["push"]):
        subprocess.run([sys.executable, "-m", "dvc", *words], cwd=workspace.root, check=True, capture_output=True)
    picture = workspace.data("archives", "swaps") / "real" / "train_0.png"
    before = picture.read_bytes()
    kept = next(
        path
        for path in (workspace.root / ".dvc/cache/files").rglob("*")
        if path.is_file() and path.read_bytes() == before
    )
    for path in (picture, kept):
        path.chmod(0o644)
        path.write_bytes(bytes(len(before)))
    store.mood = lambda method, path: REFUSING
    assert verify(workspace, repair=True).faults
    assert len(picture.read_bytes()) == len(before), "it may be all that is left"
    store.mood = lambda method, path: WELL
    assert verify(workspace, repair=True).faults == ()
    assert picture.read_bytes() == before == kept.read_bytes()
