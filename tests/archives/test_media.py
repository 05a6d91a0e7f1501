"""One reader of media: what is measured is what is cropped, what is shown is what counts, and no name is believed."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from components.archives import media
from components.archives.files import UnreadableError, troubles_with, walk
from components.archives.landing import stage_copy
from components.archives.listing import Faults, files_under, read_table
from components.errors import BadArchive
from components.faces import frames

FPS = 25


def film(
    path: Path, n: int = 30, *, codec: str = "libx264", skip: tuple[int, ...] = (), size: int = 64, **options: str
) -> Path:
    """`n` frames of noise, each brighter than the last; those in `skip` are left out and their time stays empty."""
    noise = np.random.default_rng(0).integers(0, 60, (n, size, size, 3))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for number in range(n):
            if number not in skip:
                picture = (noise[number] + 190 * number // n).astype(np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, FPS)
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def pieces(path: Path, into: Path, kept: Callable[[int, Any], bool], last: bytes | None = None) -> Path:
    """A film cut without encoding: the packets that are `kept` (number, packet), and perhaps one more with these bytes."""
    with av.open(str(path)) as whole, av.open(str(into), "w") as cut:
        stream = cut.add_stream_from_template(whole.streams.video[0])
        packet = None
        for number, packet in enumerate(p for p in whole.demux(video=0) if p.size):
            if kept(number, packet):
                packet.stream = stream
                cut.mux(packet)
        if last is not None:
            assert packet is not None
            extra = av.Packet(last)
            extra.stream, extra.time_base = stream, packet.time_base
            extra.pts = extra.dts = packet.dts + 4 * (packet.duration or 1)
            cut.mux(extra)
    return into


def trimmed(folder: Path, begin: int, end: int) -> Path:
    """A film of 30 frames whose edit list shows only those from `begin` to `end`, as phones and editors cut."""
    path = film(folder / "trimmed.mp4", g="60")
    content = bytearray(path.read_bytes())
    at = content.index(b"elst") + 12
    _, first = struct.unpack(">ii", content[at : at + 8])
    length_ms, tick = (end - begin) * 1000 // FPS, 512  # of 12800 a second
    content[at : at + 8] = struct.pack(">ii", length_ms, first + begin * tick)
    path.write_bytes(content)
    return path


def decoded(path: Path) -> int:
    """Pictures in a file; what the decoder cannot make one of is passed over, as players do."""
    pictures = 0
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            with suppress(av.error.InvalidDataError):
                pictures += len(packet.decode())
    return pictures


# --- frames that are shown

MADE: dict[str, tuple[int, Callable[[Path], Path]]] = {
    "an edit list that cuts the beginning": (20, lambda at: trimmed(at, 10, 30)),
    "an edit list that cuts the end": (12, lambda at: trimmed(at, 0, 12)),
    "an edit list that cuts both": (11, lambda at: trimmed(at, 9, 20)),
    "empty packets in an AVI": (26, lambda at: film(at / "a.avi", codec="mpeg4", skip=(5, 6, 7, 20))),
    "empty packets at the end of an AVI": (
        30,
        lambda at: pieces(film(at / "w.avi", codec="mpeg4"), at / "a.avi", lambda *_: True, last=b""),
    ),
    "a delimiter without a picture at the end": (
        30,
        lambda at: pieces(film(at / "w.mp4", bf="0"), at / "a.mp4", lambda *_: True, last=b"\0\0\0\2\x09\xf0"),
    ),
    "pictures whose reference was cut away": (
        10,
        lambda at: pieces(
            film(at / "w.mkv", codec="libx265", **{"x265-params": "log-level=none:open-gop=1:keyint=10:min-keyint=10"}),
            at / "a.mkv",
            lambda number, _: number >= 17,
        ),
    ),
    "hidden pictures of VP8": (
        30,
        lambda at: film(at / "a.webm", codec="libvpx", **{"auto-alt-ref": "1", "lag-in-frames": "16", "g": "30"}),
    ),
    "a transport stream": (30, lambda at: film(at / "a.ts")),
    "a variable rate": (27, lambda at: film(at / "a.mp4", skip=(3, 4, 11))),
}


@pytest.mark.parametrize("kind", MADE)
def test_the_frames_of_a_clip_are_those_that_are_shown(kind: str, tmp_path: Path) -> None:
    expected, make = MADE[kind]
    path = make(tmp_path)
    assert decoded(path) == expected, "the clip is what the test says"
    assert media.measure(path).frames == expected
    assert [index for index, _ in frames.read(path, 100)] == list(range(expected))


@pytest.mark.parametrize("wanted", [[0], [29], [0, 7, 8, 20], [3, 29], [28, 30]])
def test_frames_that_are_passed_over_change_none_that_are_wanted(tmp_path: Path, wanted: list[int]) -> None:
    whole = film(tmp_path / "whole.mp4", bf="3", g="12")
    every = dict(media.pixels_at(whole, range(30)))
    assert sorted(every) == list(range(30))
    cut = pieces(
        whole, tmp_path / "cut.mp4", lambda number, packet: number > 0
    )  # its first pictures lost their reference
    for path in (whole, cut):
        all_of = list(_sequential(path))
        for index, pixels in media.pixels_at(path, [i for i in wanted if i < len(all_of)]):
            np.testing.assert_array_equal(pixels, all_of[index])


def _sequential(path: Path) -> Iterator[np.ndarray]:
    with av.open(str(path)) as container, suppress(av.FFmpegError):
        for picture in container.decode(video=0):
            yield picture.to_ndarray(format="rgb24")


def test_a_trimmed_clip_shows_its_own_frames(tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.mp4", g="60")
    first = next(frames.read_at(trimmed(tmp_path, 10, 30), [0]))[1]
    np.testing.assert_array_equal(first, next(frames.read_at(whole, [10]))[1])


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "song.mp4"), "w") as container:
        sound = container.add_stream("aac", rate=16000, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 32
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame(32, 32, "yuvj420p")))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        samples.sample_rate = 16000
        container.mux(sound.encode(samples))
        container.mux(sound.encode(None))
    with pytest.raises(UnreadableError, match="no video among them"):
        media.measure(tmp_path / "song.mp4")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the highest use of memory")
def test_memory_does_not_grow_with_the_size_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "large.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 1024, 1024, "yuv420p"
        grey = av.VideoFrame.from_ndarray(np.full((1536, 1024), 128, np.uint8), format="yuv420p")
        for number in range(40):
            grey.pts = number
            container.mux(stream.encode(grey))
    size = path.stat().st_size
    assert size > 60e6
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_bytes()
    assert media.measure(path).frames == 40
    assert peak_bytes() - before < size / 2


def peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


# --- upright: EXIF orientation beside the display matrix (a, b, c, d) that says the same

TURNS = {
    1: ((1, 0, 0, 1), (0, 0)),
    2: ((-1, 0, 0, 1), (0, -1)),
    3: ((-1, 0, 0, -1), (-1, -1)),
    4: ((1, 0, 0, -1), (-1, 0)),
    5: ((0, 1, 1, 0), (0, 0)),
    6: ((0, 1, -1, 0), (0, -1)),
    7: ((0, -1, -1, 0), (-1, -1)),
    8: ((0, -1, 1, 0), (-1, 0)),
}  # the number of EXIF: the matrix, and in which corner the first stored pixel is seen


def corner_picture() -> np.ndarray:
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:8, :8] = 255
    return picture


@pytest.mark.parametrize("orientation", TURNS)
def test_a_still_is_upright_and_unmirrored(tmp_path: Path, orientation: int) -> None:
    image = Image.fromarray(corner_picture())
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    looks_upright(tmp_path / "a.png", orientation)


@pytest.mark.parametrize("orientation", TURNS)
def test_a_video_is_upright_and_unmirrored(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(corner_picture(), format="rgb24")))
        container.mux(stream.encode(None))
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    a, b, c, d = TURNS[orientation][0]
    content[at : at + 20] = struct.pack(">5i", a << 16, b << 16, 0, c << 16, d << 16)
    path.write_bytes(content)
    looks_upright(path, orientation)


def test_a_damaged_block_of_exif_turns_nothing(tmp_path: Path) -> None:
    Image.fromarray(corner_picture()).save(tmp_path / "a.jpg", exif=b"Exif\0\0no exif at all")
    assert (media.measure(tmp_path / "a.jpg").width, media.measure(tmp_path / "a.jpg").height) == (64, 32)
    assert next(frames.read(tmp_path / "a.jpg", 1))[1].shape == (32, 64, 3)


def test_a_damaged_still_is_whole_or_unreadable_wherever_the_damage_is(tmp_path: Path) -> None:
    generator, path = np.random.default_rng(0), tmp_path / "still.avif"
    Image.fromarray(generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    whole, said = path.read_bytes(), set()
    for _ in range(60):
        spoilt = bytearray(whole)
        for place in generator.integers(0, 400, 6):
            spoilt[place] = generator.integers(256)
        path.write_bytes(spoilt)
        try:
            media.measure(path)
        except UnreadableError as fault:
            said.add(type(fault.__cause__))
    assert len(said) > 1


def looks_upright(path: Path, orientation: int) -> None:
    ((_, pixels),) = frames.read(path, 1)
    height, width = (64, 32) if orientation >= 5 else (32, 64)
    assert pixels.shape == (height, width, 3)
    assert (media.measure(path).height, media.measure(path).width) == (height, width)
    lit = {(y, x) for y in (0, -1) for x in (0, -1) if pixels[y, x].min() > 200}
    assert lit == {TURNS[orientation][1]}


# --- 8-bit RGB


def test_of_sixteen_bits_the_upper_eight_count(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint16) * 257, (16, 1))
    Image.fromarray(ramp).save(tmp_path / "g.png")
    ((_, pixels),) = frames.read(tmp_path / "g.png", 1)
    np.testing.assert_array_equal(pixels, np.tile(np.arange(256)[None, :, None], (16, 1, 3)))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_black_whatever_colour_hides_there(tmp_path: Path, mode: str) -> None:
    hidden = np.full((16, 16, 4), 200, np.uint8)
    hidden[:, :8, 3] = 0
    hidden[:, 8:, 3] = 255
    Image.fromarray(hidden).convert(mode).save(tmp_path / "a.png")
    ((_, pixels),) = frames.read(tmp_path / "a.png", 1)
    assert pixels[:, :8].max() == 0
    np.testing.assert_allclose(pixels[:, 8:], 200, atol=8)  # a palette rounds


def test_a_transparent_video_is_laid_on_black(tmp_path: Path) -> None:
    picture = np.full((32, 32, 4), 200, np.uint8)
    picture[:, :16, 3] = 0
    picture[:, 16:, 3] = 255
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=FPS)
        stream.width = stream.height = 32
        stream.pix_fmt = "bgra"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgba")))
        container.mux(stream.encode(None))
    ((_, pixels),) = frames.read(tmp_path / "a.mkv", 1)
    assert pixels[:, :16].max() == 0
    assert pixels[:, 16:].min() == 200


# --- by content, never by name


def test_a_still_called_a_video_is_a_still_and_a_video_called_a_still_a_video(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4").rename(tmp_path / "a.png")
    Image.new("RGB", (20, 10)).save(tmp_path / "b.mp4", format="PNG")
    assert (media.measure(tmp_path / "a.png").kind, media.measure(tmp_path / "a.png").frames) == ("clip", 30)
    assert (media.measure(tmp_path / "b.mp4").kind, media.measure(tmp_path / "b.mp4").frames) == ("image", 1)
    assert len(list(frames.read(tmp_path / "a.png", 4))) == 4
    assert len(list(frames.read(tmp_path / "b.mp4", 4))) == 1


def test_a_name_that_means_another_file_means_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    film(Path("other.mp4"), 5)
    film(Path("own.mp4"), 9).rename("concat:other.mp4")
    assert media.measure(Path("concat:other.mp4")).frames == 9


@pytest.mark.parametrize("name", ["a.avif", "a.webp", "a.bmp", "a.jpg"])
def test_stills_of_every_format_are_measured_and_read(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (40, 30), (10, 200, 10)).save(tmp_path / name)
    assert (media.measure(tmp_path / name).width, media.measure(tmp_path / name).height) == (40, 30)
    ((_, pixels),) = frames.read(tmp_path / name, 1)
    np.testing.assert_allclose(pixels[5, 5], (10, 200, 10), atol=12)


def saved(form: str, **options: Any) -> bytes:
    content = io.BytesIO()
    Image.effect_noise((32, 32), 50).convert("RGB").save(content, format=form, **options)
    return content.getvalue()


def animated(form: str) -> bytes:
    return saved(form, save_all=True, append_images=[Image.new("RGB", (32, 32))], duration=100)


REFUSED = {
    "a playlist of HLS": (b"#EXTM3U\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n", "playlist.*put the video itself"),
    "a playlist of concat": (b"ffconcat version 1.0\nfile other.mp4\n", "playlist.*put the video itself"),
    "a manifest of DASH": (b"\xef\xbb\xbf<?xml version='1.0'?>\n<MPD></MPD>", "web page or a playlist"),
    "a web page": (b"\n<!DOCTYPE html><html>404</html>", "web page or a playlist.*fetch it again"),
    "a pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git lfs pull"),
    "a pointer of git-annex": (b"/annex/objects/MD5E-s5--0.mp4\n", "git annex get"),
    "nothing": (b"", "empty"),
    "words": (b"not a video at all", "begins like no still and no video"),
    "a GIF": (saved("GIF"), "a GIF"),
    "a TIFF": (saved("TIFF"), "a TIFF"),
    "a HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100), "HEIC.*save it as JPEG or PNG"),
    "an animated WebP": (animated("WEBP"), "animation"),
    "an animated PNG": (animated("PNG"), "animation"),
    "an animated AVIF": (animated("AVIF"), "animation"),
}


@pytest.mark.parametrize("suffix", [".mp4", ".png"])
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_read_is_refused_alike_wherever_it_is_read(tmp_path: Path, kind: str, suffix: str) -> None:
    content, words = REFUSED[kind]
    film(tmp_path / "other.mp4", 2)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(UnreadableError, match=words):
        media.measure(path)
    with pytest.raises(BadArchive, match=rf"a{suffix}.*{words}"):
        list(frames.read(path, 4))


@pytest.mark.parametrize("name", ["a.mp4", "a.png"])
def test_more_pixels_than_are_read_are_refused_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    film(tmp_path / "a.mp4", 2)
    Image.new("L", (64, 64)).save(tmp_path / "a.png")
    monkeypatch.setattr(media, "MAX_PIXELS", 64 * 64 - 1)
    with pytest.raises(UnreadableError, match="64x64 pixels, more than the 4,095 that are read"):
        media.measure(tmp_path / name)
    with pytest.raises(BadArchive, match="64x64 pixels, more than the 4,095 that are read"):
        list(frames.read_at(tmp_path / name, [0]))


def test_a_photograph_of_96_megapixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    content = bytearray(saved("BMP"))
    content[18:26] = struct.pack("<ii", 12000, 8000)
    (tmp_path / "a.bmp").write_bytes(content)
    with pytest.raises(UnreadableError, match="more than the 89,478,485 pixels that are read: make it smaller"):
        media.measure(tmp_path / "a.bmp")


# --- what the system says against a file


@contextmanager
def nobody() -> Iterator[None]:
    """As a user without rights, where these tests run as root."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_that_may_not_be_read_is_named_with_advice(archive: Path, tmp_path: Path) -> None:
    (archive / "real/train_0.jpg").chmod(0)
    with nobody(), pytest.raises(UnreadableError, match=r"Permission denied: .*give this user the right"):
        media.measure(archive / "real/train_0.jpg")


def test_a_folder_that_may_not_be_read_is_not_taken_for_an_empty_one(archive: Path) -> None:
    (archive / "real").chmod(0)
    try:
        with nobody(), pytest.raises(BadArchive, match=r"cannot be read or written: Permission denied"):
            list(walk(archive))
    finally:
        (archive / "real").chmod(0o755)


@pytest.mark.parametrize(
    ("target", "words"), [("nowhere", "a link leads nowhere"), ("a.png", "a link leads to itself")]
)
def test_a_link_that_leads_to_no_file_is_named_with_advice(tmp_path: Path, target: str, words: str) -> None:
    (tmp_path / "a.png").symlink_to(target)
    with pytest.raises(UnreadableError, match=f"{words}: put the file itself in its place"):
        media.measure(tmp_path / "a.png")


def test_a_pipe_is_refused_in_place_of_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(UnreadableError, match="no regular file"):
        media.measure(tmp_path / "a.mp4")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_a_full_disk_is_said_with_advice() -> None:
    full = Path("/dev/full")
    with pytest.raises(BadArchive, match="No space left on device: the disk is full: make room"), troubles_with(full):
        full.write_text("words")


def test_a_name_in_another_code_page_is_refused_in_letters_that_can_be_printed(archive: Path, tmp_path: Path) -> None:
    odd = os.fsencode(archive) + b"/real/caf\xe9.jpg"
    Path(os.fsdecode(odd)).write_bytes(b"")
    faults = Faults(archive, "crops")
    files_under(archive, faults)
    with pytest.raises(BadArchive, match=r"another code page than UTF-8.*real/caf\\xe9\.jpg") as caught:
        faults.settle()
    assert str(caught.value).isprintable() or str(caught.value).encode()
    with pytest.raises(BadArchive, match=r"real/caf\\xe9\.jpg.*Rename it"):
        stage_copy(archive, tmp_path / "data/swaps")


# --- lists


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n\n3,4\n\n",
        "\na,b\n1,2\n,\n3,4\n , \n",
        "\ufeffa,b\r\n1,2\r\n\r\n3,4\r\n,\r\n",
        '"a","b"\n"1","2"\n"",""\n"3","4"\n',
    ],
)
def test_blank_lines_and_empty_rows_of_a_list_are_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "list.csv").write_bytes(text.encode())
    assert read_table(tmp_path / "list.csv", ("a", "b")) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


def test_a_row_is_named_by_the_line_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text('a,b\n\n"x\ny",2\n3,4\n')
    assert [row.line for row in read_table(tmp_path / "list.csv", ("a", "b"))] == [4, 5]
