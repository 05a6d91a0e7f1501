"""ForgeryNet: pictures and videos forged in fifteen ways.

    …/image*/….jpg   …/video*/….mp4        of Training.tar, Validation_with_real.tar and Test_with_real.tar, unpacked
    …/spatial_localize/…                   masks, which are passed over
    {train|val|test}_list/….txt            one line a file, of pictures: <path> <binary> <three-way> <sixteen-way>
                                           of videos: <number of segments> <path> [<start> <frames> <label>]… and the same three

The binary label is believed where the sixteen-way one agrees that 0 is genuine. A video's forged segments become a clip
each (`….mp4#frames=12-40`). Nothing in the lists ties files together: each is its own source.

Source   He et al., CVPR 2021; yinanhe/ForgeryNet@54c4f3fcaa82, Readme.txt
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from components.archives import fragments
from components.archives.layout import FRAGMENT, STILL, VIDEO, Facts, Layout, Place, Survey, either, passed
from components.errors import BadArchive

METHODS: Final = (
    *(
        "genuine",
        "FaceShifter",
        "FS-GAN",
        "DeepFakes",
        "BlendFace",
        "MMReplacement",
        "DeepFakes-StarGAN",
        "Talking Head",
    ),
    *("ATVG-Net", "StarGAN-BlendFace", "First Order Motion", "StyleGAN2", "MaskGAN", "StarGAN2"),
)
CLIPS: Final = r"(?!(?:[^/]+/)*spatial_localize/).*"
WORDS: Final = ("real", "fake")


def _index(place: Place, seen: Survey) -> Mapping[str, list[Facts]]:
    lists = place.named(r"(?:.*/)?(?:train|val|test)[^/]*(?:/[^/]*)*\.txt")
    if not lists:
        raise BadArchive(
            f"expected train_list, val_list or test_list below '{place.base}', found none. Unpack the official lists."
        )
    rows: dict[str, list[Facts]] = {}
    for name in lists:
        split = next(word for word in ("train", "val", "test") if word in name.casefold())
        for number, line in enumerate(place.lines(name), start=1):
            try:
                path, clips = _line(line.split())
            except (ValueError, IndexError) as fault:
                seen.faults.add("line that is no line of ForgeryNet", f"{name}:{number} ({fault})")
                continue
            rows[place.ending(path, near=name, among=CLIPS)] = [clip | {"split": split} for clip in clips]
    return rows


def _line(words: list[str]) -> tuple[str, list[Facts]]:
    """The path of a line and its clips; raises ValueError where its numbers contradict each other."""
    binary, sixteen = int(words[-3]), int(words[-1])
    if binary not in (0, 1) or (binary == 0) != (sixteen == 0):
        raise ValueError(f"binary label {binary} with sixteen-way label {sixteen}")
    method = METHODS[sixteen] if sixteen < len(METHODS) else f"method {sixteen}"
    facts = {"label": WORDS[binary], "method": method}
    if len(words) == 4:
        return words[0], [facts]
    if len(words) != 5 + 3 * int(words[0]):
        raise ValueError(f"{len(words)} words where {words[0]} segments need {5 + 3 * int(words[0])}")
    forged = list(_forged(words[2:-3])) if binary else []
    return words[1], [facts | {FRAGMENT: fragment} for fragment in forged] or [facts]


def _forged(words: list[str]) -> Iterable[str]:
    for start, count, label in zip(words[::3], words[1::3], words[2::3], strict=True):
        if label == "1" and int(count) > 0:
            yield fragments.frames(int(start), int(start) + int(count) - 1)


LAYOUT: Final = Layout(
    title="ForgeryNet",
    faces="retinaface",
    rules=(
        passed(r"(?:[^/]+/)*spatial_localize/.*"),
        either(rf"(?P<stem>(?:[^/]+/)+[^/]+)(?:{STILL}|{VIDEO})", "forgerynet:{stem}", split="{split}", listed=True),
    ),
    lists="train_list.tar, val_list.tar and test_list.tar, unpacked beside the files",
    index=_index,
    unverified=(
        "Names of the sixteen classes, and that segment label 1 is forged, come from second hand.",
        "Where its lists lie, and how their names say the split.",
    ),
    carves=False,
    tells=(r"(?:.*/)?(?:train|val|test)_list.*\.txt",),
)
