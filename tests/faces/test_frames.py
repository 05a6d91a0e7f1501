"""Frames: the right ones, upright, or a message that says how far the file could be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.errors import BadArchive
from components.faces import frames

Film = Callable[..., Path]
Grey = Callable[..., np.ndarray]


@pytest.mark.parametrize(
    ("n_frames", "count", "expected"),
    [(9, 3, [0, 4, 8]), (300, 2, [0, 299]), (5, 32, [0, 1, 2, 3, 4]), (1, 32, [0]), (7, 1, [0]), (0, 4, [])],
)
def test_frames_are_spread_over_the_whole_clip(n_frames: int, count: int, expected: list[int]) -> None:
    assert frames.evenly_spaced(n_frames, count) == expected


def test_thirty_two_frames_lie_at_equal_distances() -> None:
    steps = np.diff(frames.evenly_spaced(751, 32))
    assert len(steps) == 31
    assert steps.max() - steps.min() <= 1


def test_a_clip_gives_the_frames_asked_for(tmp_path: Path, film: Film, grey: Grey) -> None:
    path = film(tmp_path / "clip.mkv", [grey(2 * i) for i in range(50)])
    read = list(frames.read(path, 8))
    assert frames.length(path) == 50
    assert [index for index, _ in read] == frames.evenly_spaced(50, 8)
    for index, pixels in read:
        np.testing.assert_array_equal(pixels, grey(2 * index))


def test_a_clip_shorter_than_asked_for_gives_all_its_frames(tmp_path: Path, film: Film, grey: Grey) -> None:
    path = film(tmp_path / "clip.mp4", [grey(i) for i in range(3)])
    assert [index for index, _ in frames.read(path, 32)] == [0, 1, 2]


def test_a_still_is_a_clip_of_one_frame(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    path = tmp_path / "still.PNG"
    Image.fromarray(pixels).save(path)
    ((index, read),) = frames.read(path, 32)
    assert index == 0
    np.testing.assert_array_equal(read, pixels)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_stills_of_every_mode_are_read_as_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("still.jpg" if mode == "CMYK" else "still.png")
    Image.new("RGB", (40, 30), (200, 10, 10)).convert(mode).save(path)
    assert next(frames.read(path, 1))[1].shape == (30, 40, 3)


def test_a_photograph_taken_sideways_is_turned_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 30))
    exif = image.getexif()
    exif[0x0112] = 6  # turn clockwise to view
    image.save(tmp_path / "sideways.jpg", exif=exif)
    assert next(frames.read(tmp_path / "sideways.jpg", 1))[1].shape == (40, 30, 3)


def test_a_video_taken_sideways_is_turned_upright(tmp_path: Path, film: Film) -> None:
    sky_on_the_left = np.zeros((64, 96, 3), np.uint8)
    sky_on_the_left[:, :48] = 255
    path = film(tmp_path / "sideways.mp4", [sky_on_the_left] * 3)
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40  # 9 fixed-point numbers: x' = a x + c y, y' = b x + d y
    content[matrix : matrix + 20] = b"".join(n.to_bytes(4, "big", signed=True) for n in (0, 1 << 16, 0, -(1 << 16), 0))
    path.write_bytes(content)
    _, pixels = next(frames.read(path, 1))
    assert pixels.shape == (96, 64, 3)
    assert pixels[:40].min() > 200, "a quarter turn clockwise brings the left side up"
    assert pixels[56:].max() < 50


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_video_is_refused_with_how_far_it_goes(
    tmp_path: Path, film: Film, grey: Grey, share: float
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 64, 64, 3), np.uint8)
    path = film(tmp_path / "clip.mp4", noise, movflags="faststart")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BadArchive, match=r"clip\.mp4', decoding got as far as (frame \d+ of 60|nothing)"):
        list(frames.read(path, 4))


def test_a_video_without_its_index_is_refused(tmp_path: Path, film: Film, grey: Grey) -> None:
    path = film(tmp_path / "clip.mp4", [grey(i) for i in range(50)])
    path.write_bytes(path.read_bytes()[:-400])  # the index lies at the end
    with pytest.raises(BadArchive, match="Fetch the file again"):
        list(frames.read(path, 4))


def test_a_video_damaged_inside_is_refused(tmp_path: Path, film: Film) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 64, 64, 3), np.uint8)
    path = film(tmp_path / "clip.mp4", noise)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20000] = bytes(20000)
    path.write_bytes(content)
    with pytest.raises(BadArchive, match=r"decoding got as far as frame \d+, frame 59 was wanted"):
        list(frames.read(path, 4))


@pytest.mark.parametrize("name", ["words.mp4", "words.png", "words.jpg"])
def test_a_file_that_is_no_picture_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("no picture" * 100)
    with pytest.raises(BadArchive, match="expected a readable clip"):
        list(frames.read(tmp_path / name, 4))


def test_a_truncated_photograph_is_refused_instead_of_painted_grey(tmp_path: Path) -> None:
    path = tmp_path / "half.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(BadArchive, match=r"half\.jpg"):
        list(frames.read(path, 1))


def test_sound_without_pictures_is_refused(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        samples.sample_rate = 16000
        container.mux(stream.encode(samples))
        container.mux(stream.encode(None))
    with pytest.raises(BadArchive, match="there is no video among them"):
        list(frames.read(tmp_path / "sound.mp4", 4))
