"""An archive comes in whole or not at all, from a folder and from S3."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest

from components.archives import landing
from components.archives.landing import FolderInbox, S3Inbox, stage_copy
from components.archives.listing import MARKER
from components.archives.manifest import tree_digest
from components.errors import BadArchive, BadParams, NameTaken

GOOD = json.dumps({"layout": "crops", "role": "task"})


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def inside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def complete(folder: Path, marker: str = GOOD) -> None:
    (folder / MARKER).write_text(marker)


def upload(bucket: Any, archive: Path, prefix: str, marker: str | None = GOOD) -> None:
    for name in sorted(files(archive)):
        bucket.upload_file(str(archive / name), f"{prefix}/{name}")
    if marker is not None:
        bucket.put_object(Key=f"{prefix}/{MARKER}", Body=marker.encode())


# --- a copy


def test_a_copy_holds_every_file_but_the_marker(archive: Path, tmp_path: Path) -> None:
    before = tree_digest(archive)
    complete(archive)
    stage_copy(archive, tmp_path / "data/swaps")
    assert tree_digest(tmp_path / "data/swaps") == before
    assert inside(tmp_path / "data") == ["swaps"]


def test_copying_the_same_archive_again_changes_nothing(archive: Path, tmp_path: Path) -> None:
    stage_copy(archive, tmp_path / "data/swaps")
    before = (tmp_path / "data/swaps/labels.csv").stat()
    stage_copy(archive, tmp_path / "data/swaps")
    after = (tmp_path / "data/swaps/labels.csv").stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )


def test_a_name_that_holds_other_bytes_is_refused_and_kept(archive: Path, tmp_path: Path) -> None:
    stage_copy(archive, tmp_path / "data/swaps")
    before = tree_digest(tmp_path / "data/swaps")
    shutil.copy(archive / "real/train_0.jpg", archive / "real/train_1.jpg")
    with pytest.raises(NameTaken, match="'swaps' has already landed with other files"):
        stage_copy(archive, tmp_path / "data/swaps")
    assert tree_digest(tmp_path / "data/swaps") == before


def test_a_copy_that_fails_leaves_nothing_behind(archive: Path, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # as on a disk that is full
    try:
        with pytest.raises(BadArchive, match=r"partial/swaps/.*File too large: .*choose another place"):
            stage_copy(archive, tmp_path / "data/swaps")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert inside(tmp_path / "data") == []


@pytest.mark.parametrize("target", ["/etc/hostname", "/etc", "nowhere", "real"])
def test_a_link_that_is_no_file_of_the_archive_is_refused(archive: Path, tmp_path: Path, target: str) -> None:
    (archive / "fake/link.jpg").symlink_to(target)
    with pytest.raises(BadArchive, match=r"link.jpg' is a link out of the archive"):
        stage_copy(archive, tmp_path / "data/swaps")
    assert not (tmp_path / "data/swaps").exists()


def test_a_link_to_a_file_of_the_archive_becomes_that_file(archive: Path, tmp_path: Path) -> None:
    (archive / "fake/link.jpg").symlink_to("train_0.jpg")
    stage_copy(archive, tmp_path / "data/swaps")
    copy = tmp_path / "data/swaps/fake/link.jpg"
    assert not copy.is_symlink()
    assert copy.read_bytes() == (archive / "fake/train_0.jpg").read_bytes()


def test_a_pipe_is_refused(archive: Path, tmp_path: Path) -> None:
    os.mkfifo(archive / "fake/pipe.jpg")
    with pytest.raises(BadArchive, match="no regular file"):
        stage_copy(archive, tmp_path / "data/swaps")


def test_an_empty_folder_a_missing_one_and_one_around_its_copy_are_refused(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    complete(tmp_path / "empty")
    with pytest.raises(BadArchive, match="found no file"):
        stage_copy(tmp_path / "empty", tmp_path / "data/empty")
    with pytest.raises(BadArchive, match="found none"):
        stage_copy(tmp_path / "missing", tmp_path / "data/missing")
    with pytest.raises(BadArchive, match="lies inside"):
        stage_copy(archive, archive / "data/swaps")


def test_what_a_killed_copy_left_is_swept_a_day_later(archive: Path, tmp_path: Path) -> None:
    old, young = tmp_path / "data/.swaps.old.partial", tmp_path / "data/.swaps.young.partial"
    for left in (old, young):
        (left / "swaps").mkdir(parents=True)
    os.utime(old, (0, 0))
    stage_copy(archive, tmp_path / "data/swaps")
    assert inside(tmp_path / "data") == [".swaps.young.partial", "swaps"]


# --- a folder


def test_only_an_arrival_with_a_marker_waits(archive: Path, tmp_path: Path) -> None:
    box = FolderInbox(tmp_path)
    assert box.pending({}).arrivals == ()
    complete(archive)
    (arrival,) = box.pending({}).arrivals
    assert (arrival.name, arrival.marker.layout, arrival.marker.role) == ("swaps", "crops", "task")


def test_an_arrival_lands_once_and_again_only_if_it_changed(archive: Path, tmp_path: Path) -> None:
    complete(archive)
    box = FolderInbox(tmp_path)
    (arrival,) = box.pending({}).arrivals
    box.fetch(arrival, tmp_path / "data/swaps")
    assert MARKER not in files(tmp_path / "data/swaps")
    landed = {arrival.name: arrival.fingerprint}
    assert box.pending(landed).arrivals == ()
    (archive / "labels.csv").write_text("other")
    assert len(box.pending(landed).arrivals) == 1


def test_an_arrival_that_changes_while_it_lands_is_refused(archive: Path, tmp_path: Path) -> None:
    complete(archive)
    box = FolderInbox(tmp_path)
    (arrival,) = box.pending({}).arrivals
    (archive / "real/late.jpg").write_bytes(b"late")
    with pytest.raises(BadArchive, match="changed while it was landing"):
        box.fetch(arrival, tmp_path / "data/swaps")
    assert inside(tmp_path / "data") == []


BAD_MARKERS = [
    ("{", "is not JSON"),
    ("[]", "cannot be followed"),
    ("{}", "layout: Field required"),
    ('{"layout": "crop"}', "no layout 'crop'; known: .*Did you mean 'crops'"),
    ('{"layout": "crops", "role": "exam"}', "role: Input should be 'both', 'task' or 'benchmark'; found 'exam'"),
    ('{"layout": "crops", "faces": "mtcnn"}', "faces: Input should be"),
    ('{"layout": "crops", "rolle": "task"}', "rolle: unknown key.*Did you mean 'role'"),
    ('{"layout": "../crops"}', "layout: String should match pattern"),
    (" " * 100_000, "has 100000 bytes; expected a short JSON object"),
]


@pytest.mark.parametrize(("marker", "advice"), BAD_MARKERS)
def test_a_bad_marker_is_a_problem_of_that_arrival_alone(
    archive: Path, tmp_path: Path, marker: str, advice: str
) -> None:
    complete(archive, marker)
    shutil.copytree(archive, tmp_path / "other")
    complete(tmp_path / "other")
    waiting = FolderInbox(tmp_path).pending({})
    assert [arrival.name for arrival in waiting.arrivals] == ["other"]
    (problem,) = waiting.problems
    assert problem.name == "swaps"
    assert re.search(advice, problem.advice, re.S)


def test_a_name_no_archive_can_have_is_a_problem(archive: Path, tmp_path: Path) -> None:
    complete(archive)
    archive.rename(tmp_path / "Celeb-DF v2")
    (problem,) = FolderInbox(tmp_path).pending({}).problems
    assert "'Celeb-DF v2' cannot name an archive; expected a-z, 0-9 and _" in problem.advice


@pytest.mark.parametrize("address", ["nowhere", "ftp://host/x", "s3://"])
def test_an_inbox_that_is_not_there_is_refused(address: str) -> None:
    with pytest.raises(BadParams, match="expected a"):
        landing.inbox(address)


def test_an_address_names_the_kind_of_inbox(tmp_path: Path) -> None:
    assert isinstance(landing.inbox(str(tmp_path)), FolderInbox)
    assert isinstance(landing.inbox("s3://bucket/prefix"), S3Inbox)


# --- S3


def test_an_archive_lands_from_s3_byte_for_byte(archive: Path, tmp_path: Path, bucket: Any) -> None:
    upload(bucket, archive, "in/box/swaps")
    bucket.put_object(Key="in/box/", Body=b"")
    bucket.put_object(Key="in/box/swaps/real/", Body=b"")
    upload(bucket, archive, "in/box/unfinished", marker=None)
    upload(bucket, archive, "in/boxes/elsewhere")
    box = landing.inbox(f"s3://{bucket.name}/in/box/")
    (arrival,) = box.pending({}).arrivals
    assert (arrival.name, arrival.where) == ("swaps", f"s3://{bucket.name}/in/box/swaps")
    box.fetch(arrival, tmp_path / "data/swaps")
    assert tree_digest(tmp_path / "data/swaps") == tree_digest(archive)
    assert box.pending({arrival.name: arrival.fingerprint}).arrivals == ()
    box.fetch(arrival, tmp_path / "data/swaps")


def test_a_whole_bucket_can_be_an_inbox_and_a_bad_marker_stops_no_other(archive: Path, bucket: Any) -> None:
    upload(bucket, archive, "swaps")
    upload(bucket, archive, "bad", marker='{"layout": "nobody"}')
    waiting = S3Inbox(f"s3://{bucket.name}").pending({})
    assert [arrival.name for arrival in waiting.arrivals] == ["swaps"]
    assert [problem.name for problem in waiting.problems] == ["bad"]


def test_a_large_object_in_parts_lands_whole(tmp_path: Path, bucket: Any) -> None:
    from boto3.s3.transfer import TransferConfig

    content = os.urandom(6 << 20)
    (tmp_path / "large").write_bytes(content)
    parts = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    bucket.upload_file(str(tmp_path / "large"), "swaps/large.mp4", Config=parts)
    bucket.put_object(Key=f"swaps/{MARKER}", Body=GOOD.encode())
    box = S3Inbox(f"s3://{bucket.name}")
    (arrival,) = box.pending({}).arrivals
    box.fetch(arrival, tmp_path / "data/swaps")
    assert (tmp_path / "data/swaps/large.mp4").read_bytes() == content


def test_a_prefix_that_changed_since_it_was_listed_is_refused(archive: Path, tmp_path: Path, bucket: Any) -> None:
    upload(bucket, archive, "swaps")
    box = S3Inbox(f"s3://{bucket.name}")
    (arrival,) = box.pending({}).arrivals
    bucket.put_object(Key="swaps/labels.csv", Body=b"other")
    with pytest.raises(BadArchive, match="changed while it was landing"):
        box.fetch(arrival, tmp_path / "data/swaps")
    assert len(box.pending({arrival.name: arrival.fingerprint}).arrivals) == 1


def test_an_object_replaced_during_the_download_is_refused(archive: Path, tmp_path: Path, bucket: Any) -> None:
    upload(bucket, archive, "swaps")
    box = S3Inbox(f"s3://{bucket.name}")
    stored = box._stored()["swaps"]["labels.csv"]
    bucket.put_object(Key="swaps/labels.csv", Body=b"other")
    with pytest.raises(BadArchive, match=r"cannot be read: .*PreconditionFailed"):
        box._download(stored, tmp_path)


@pytest.mark.parametrize("key", ["../escape.jpg", "a/../../escape.jpg", "/etc/escape.jpg", "a\\..\\escape.jpg"])
def test_an_object_that_would_leave_its_archive_is_refused(tmp_path: Path, bucket: Any, key: str) -> None:
    box = S3Inbox(f"s3://{bucket.name}")
    stored = landing.Stored(f"swaps/{key}", key, 1, "0")
    with pytest.raises(BadArchive, match="would leave its archive"):
        box._download(stored, tmp_path / "data")
    assert not list(tmp_path.rglob("escape*"))


def test_a_name_that_holds_other_bytes_is_refused_from_s3_too(archive: Path, tmp_path: Path, bucket: Any) -> None:
    stage_copy(archive, tmp_path / "data/swaps")
    (archive / "labels.csv").write_text("other")
    upload(bucket, archive, "swaps")
    box = S3Inbox(f"s3://{bucket.name}")
    (arrival,) = box.pending({}).arrivals
    with pytest.raises(NameTaken, match="already landed with other files"):
        box.fetch(arrival, tmp_path / "data/swaps")
    assert inside(tmp_path / "data") == ["swaps"]


def test_a_bucket_that_is_not_there_is_said(bucket: Any) -> None:
    with pytest.raises(BadParams, match=r"cannot be read: .*NoSuchBucket"):
        S3Inbox("s3://nobody-has-this").pending({})
