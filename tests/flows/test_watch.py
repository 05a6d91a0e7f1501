"""An inbox is watched: what is complete lands once, what is faulty is told once, and nobody is told in vain."""

from __future__ import annotations

import io
import shutil

import pytest
from PIL import Image

from components.errors import BadParams
from flows.watch import InboxWatch, watch


@pytest.fixture
def inbox(tmp_path):
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def drop(inbox, crops_at):
    def put(name: str, seed: int, marker: str | None = '{"layout": "crops"}') -> None:
        crops_at(inbox / name, seed)
        if marker is not None:
            (inbox / name / "PERENNIAL.json").write_text(marker)

    return put


@pytest.fixture(autouse=True)
def _nobody_to_tell(speak_to):
    speak_to(None)


def test_each_complete_arrival_lands_once_and_a_faulty_one_is_told_once(workspace, inbox, drop, capsys):
    drop("first", 1)
    drop("second", 2, marker='{"layout": "crop"}')
    drop("third", 3, marker=None)  # still being written
    drop("fourth", 4, marker='{"layout": "lab"}')  # not what it says
    watcher = InboxWatch(workspace, str(inbox))
    watcher.round()
    watcher.round()
    said = capsys.readouterr()
    assert said.out.count("'first' landed: 8 clips") == 1
    assert said.err.count("'second' cannot land") == 1
    assert "Did you mean 'crops'?" in said.err
    assert said.err.count("'fourth' did not land") == 1
    assert "third" not in said.out + said.err
    assert list(workspace.params().archives) == ["first"]

    watch(workspace, str(inbox), once=True, every_s=1)  # a new process
    said = capsys.readouterr()
    assert "landed" not in said.out
    assert said.err.count("'fourth' did not land") == 1


def test_a_refused_arrival_lands_after_it_was_mended(workspace, inbox, drop, capsys):
    drop("first", 1, marker='{"layout": "lab"}')
    watcher = InboxWatch(workspace, str(inbox))
    watcher.round()
    assert not workspace.params().archives
    (inbox / "first" / "PERENNIAL.json").write_text('{"layout": "crops", "role": "benchmark"}')
    watcher.round()
    assert workspace.params().archives["first"].role == "benchmark"


def test_killed_before_it_was_seen_to_have_landed_it_is_announced_again_and_nothing_doubles(workspace, inbox, drop):
    drop("first", 1)
    killed = InboxWatch(workspace, str(inbox)).look()
    assert not next(killed).already
    killed.close()  # here the process ended
    again = list(InboxWatch(workspace, str(inbox)).look())
    assert [(landed.name, landed.already) for landed in again] == [("first", True)]
    assert list(InboxWatch(workspace, str(inbox)).look()) == []


def test_what_no_server_heard_is_kept_and_told_again(workspace, inbox, drop, speak_to, capsys):
    speak_to("http://127.0.0.1:9/api")
    drop("first", 1)
    watcher = InboxWatch(workspace, str(inbox))
    watcher.round()
    watcher.round()
    assert [landed.name for landed in watcher.unheard] == ["first"]
    assert capsys.readouterr().err.count("has not heard of archive.landed") == 1


def test_an_inbox_that_goes_away_is_told_once_and_waited_for(workspace, inbox, drop, capsys):
    watcher = InboxWatch(workspace, str(inbox))
    shutil.rmtree(inbox)
    watcher.round()
    watcher.round()
    assert capsys.readouterr().err.count("expected an inbox folder") == 1
    inbox.mkdir()
    drop("first", 1)
    watcher.round()
    assert list(workspace.params().archives) == ["first"]


@pytest.mark.parametrize("address", ["", "no/such/folder"])
def test_an_inbox_that_never_was_is_refused_at_once(workspace, address):
    with pytest.raises(BadParams, match="inbox"):
        watch(workspace, address, once=False, every_s=1)


def test_an_inbox_may_be_a_prefix_of_a_bucket(workspace, archive, upload, bucket, capsys):
    upload(archive, "inbox/swaps")
    address = f"s3://{bucket.name}/inbox"
    watch(workspace, address, once=True, every_s=1)
    assert not workspace.params().archives
    bucket.put_object(Key="inbox/swaps/PERENNIAL.json", Body=b'{"layout": "crops"}')
    for _ in range(2):
        watch(workspace, address, once=True, every_s=1)
    assert capsys.readouterr().out.count("'swaps' landed: 8 clips") == 1


def test_whatever_an_arrival_is_made_of_is_its_own_fault_and_what_sorts_behind_it_lands(workspace, inbox, drop, capsys):
    drop("a_bracket", 1, marker="[" * 60_000)
    drop("b_folder", 1, marker=None)
    (inbox / "b_folder" / "PERENNIAL.json").mkdir()
    drop("c_marks", 1, marker=None)
    (inbox / "c_marks" / "lab.json").write_text('{"format": 1}')
    (inbox / "c_marks" / "clips.csv").write_text("file,label,method,identity,source,split,frames\n")
    (inbox / "c_marks" / "landmarks.parquet").write_bytes(b"")
    (inbox / "c_marks" / "PERENNIAL.json").write_text('{"layout": "lab"}')
    drop("d_card", 1, marker='{"layout": "lab"}')
    (inbox / "d_card" / "lab.json").write_text('{"format": ' + "[" * 60_000)
    drop("e_still", 1)
    still = inbox / "e_still" / "real" / "train_0.png"
    Image.open(still).save(whole := io.BytesIO(), "AVIF")
    still.write_bytes(whole.getvalue()[:600] + bytes(600))
    drop("f_whole", 6)
    InboxWatch(workspace, str(inbox)).round()
    said = capsys.readouterr()
    assert [
        name for name in ("a_bracket", "b_folder", "c_marks", "d_card", "e_still") if f"'{name}'" not in said.err
    ] == []
    assert list(workspace.params().archives) == ["f_whole"]


def test_an_arrival_that_another_watcher_is_landing_is_left_to_it(workspace, inbox, drop, capsys):
    drop("first", 1)
    drop("second", 2)
    one, other = InboxWatch(workspace, str(inbox)), InboxWatch(workspace, str(inbox))
    looking = one.look()
    assert next(looking).name == "first"
    assert [landed.name for landed in other.look()] == ["second"]
    assert list(looking) == []
    assert capsys.readouterr().err == ""


def test_a_prefix_is_text_and_no_url(workspace, archive, upload, bucket, capsys):
    address = upload(archive, "in#box?50%/swaps").removesuffix("/swaps")
    upload(archive, "in/elsewhere")
    bucket.put_object(Key="in/elsewhere/PERENNIAL.json", Body=b'{"layout": "crops"}')
    bucket.put_object(Key="in#box?50%/swaps/PERENNIAL.json", Body=b'{"layout": "crops"}')
    watch(workspace, address, once=True, every_s=1)
    assert list(workspace.params().archives) == ["swaps"]
