"""What people say the truth was gathers as an archive that can land."""

from __future__ import annotations

from components.archives.layouts import crops
from components.digests import file_digest
from components.serving.truths import Truths
from components.vocabulary import FORGED, REAL


def test_what_was_told_is_an_archive_in_layout_crops(media, tmp_path):
    truths = Truths(tmp_path / "told")
    told = truths.tell(media / "a.png", file_digest(media / "a.png"), "forged", method="face swap", source="event 7")
    truths.tell(media / "b.mp4", file_digest(media / "b.mp4"), "genuine", method="face swap")
    forged, genuine = sorted(crops.read(tmp_path / "told"), key=lambda clip: clip.path)
    assert (forged.path, forged.label, forged.method, forged.source) == (told.file, FORGED, "face swap", "event 7")
    assert (genuine.label, genuine.method) == (REAL, "genuine")
    assert (tmp_path / "told" / genuine.path).read_bytes() == (media / "b.mp4").read_bytes()


def test_a_file_told_again_is_there_once_with_what_was_said_last(media, tmp_path):
    truths, digest = Truths(tmp_path), file_digest(media / "a.png")
    assert truths.tell(media / "a.png", digest, "forged").changed
    assert not truths.tell(media / "a.png", digest, "forged").changed
    again = truths.tell(media / "a.png", digest, "genuine")
    assert again.changed and again.known == 1
    (clip,) = crops.read(tmp_path)
    assert clip.label == REAL and not list((tmp_path / "fake").iterdir())


def test_a_method_that_means_genuine_does_not_make_a_forgery_contradict_itself(media, tmp_path):
    Truths(tmp_path).tell(media / "a.png", "ab" * 32, "forged", method=" Genuine\n", source='"\n,=1+1')
    (clip,) = crops.read(tmp_path)
    assert clip.method == "unknown" and clip.label == FORGED
