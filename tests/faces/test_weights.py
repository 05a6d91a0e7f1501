"""Which weights found the faces of an archive is written down before they are cropped, and stays with them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.errors import BadArchive
from components.faces import weights
from components.params import Archive, Params
from components.settings import settings

Point = Callable[[bytes | None], str]


@pytest.fixture
def point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Point]:
    """Let the variable name weights of these bytes, or none; returns their digest."""

    def to(content: bytes | None) -> str:
        monkeypatch.delenv("PERENNIAL_YUNET_WEIGHTS", raising=False)
        if content is not None:
            (tmp_path / "yunet.onnx").write_bytes(content)
            monkeypatch.setenv("PERENNIAL_YUNET_WEIGHTS", str(tmp_path / "yunet.onnx"))
        settings.cache_clear()
        return hashlib.sha256(content or b"").hexdigest()

    yield to
    settings.cache_clear()


def landed(**faces: str) -> Params:
    return Params(archives={name: Archive(layout="lab", faces=found) for name, found in faces.items()})


def said(data: Path, archive: str) -> str:
    return weights.file_of(data, archive).read_text().strip()


def test_an_archive_is_told_the_weights_of_the_day(tmp_path: Path, point: Point) -> None:
    digest = point(b"one")
    weights.resolve(tmp_path, landed(clips="yunet", crops="none"))
    assert (said(tmp_path, "clips"), said(tmp_path, "crops")) == (digest, "none")


def test_other_weights_are_told_until_there_are_faces_and_never_after(tmp_path: Path, point: Point) -> None:
    archives = landed(clips="yunet")
    point(None)
    weights.resolve(tmp_path, archives)
    assert said(tmp_path, "clips") == "absent"
    digest = point(b"one")
    weights.resolve(tmp_path, archives)
    assert said(tmp_path, "clips") == digest
    (tmp_path / "faces" / "clips").mkdir(parents=True)
    (tmp_path / "faces" / "clips" / "faces.json").write_text("{}")
    for content in (b"two", None):
        point(content)
        weights.resolve(tmp_path, archives)
        assert said(tmp_path, "clips") == digest


def test_a_crop_with_other_weights_than_those_named_is_refused_with_both_ways_out(tmp_path: Path, point: Point) -> None:
    digest = point(b"one")
    weights.tell(tmp_path, "clips", "yunet")
    file = weights.file_of(tmp_path, "clips")
    weights.expect(file, "yunet", digest)
    with pytest.raises(BadArchive, match=rf"expected the weights {digest[:12]} .* found ffff.*delete that file"):
        weights.expect(file, "yunet", "f" * 64)


def test_weights_that_were_absent_may_be_any(tmp_path: Path, point: Point) -> None:
    point(None)
    weights.tell(tmp_path, "clips", "yunet")
    weights.expect(weights.file_of(tmp_path, "clips"), "yunet", "f" * 64)
