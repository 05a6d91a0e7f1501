"""What the releases of Celeb-DF share: names of files, and a list of test clips."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final

from components.archives.layout import Found, Place, Rule, Survey, forged, genuine
from components.errors import BadArchive
from components.vocabulary import FORGED, REAL, TEST

LIST: Final = "List_of_testing_videos.txt"
REALS: Final = (
    genuine(r"Celeb-real/(?:videos/)?(?P<video>id\d+_\d{4})\.mp4", "celebdf:{video}"),
    genuine(r"YouTube-real/(?:videos/)?(?P<video>\d{5})\.mp4", "celebdf:{video}"),
)
SWAPS: Final[Rule] = forged(
    r"Celeb-synthesis/(?:videos/)?(?P<target>id\d+)_(?P<lent>id\d+)_(?P<take>\d{4})\.mp4",
    "celebdf:{target}_{take}",
    method="Celeb-DF",
)
BY_VIDEO: Final = "The official test is drawn by video: people are in both splits, so no identity is named."

_LABELS: Final = {"1": REAL, "0": FORGED}


def by_test_list(found: list[Found], place: Place, seen: Survey) -> None:
    """Clips of the list are test clips; its label must be that of the clip's folder."""
    lists = place.named(re.escape(LIST))
    if not lists:
        raise BadArchive(
            f"expected the official list '{LIST}' in '{place.base}', found none: without it test clips would be learned. "
            "It comes with the archive; copy it there."
        )
    listed: dict[str, tuple[str, str]] = {}
    for number, line in enumerate(place.lines(lists[0]), start=1):
        label, _, name = line.strip().partition(" ")
        if label not in _LABELS or not name:
            seen.faults.add("line that is not '<0 or 1> <file>'", f"{LIST}:{number} '{line.strip()}'")
            continue
        listed[_key(name)] = (label, name.strip())
    for one in found:
        label, _ = listed.pop(_key(one.path), ("", ""))
        if label:
            one.split = TEST
            if _LABELS[label] != one.label:
                seen.contradict(one, _LABELS[label])
    seen.missing += sorted(name for _, name in listed.values())


def _key(name: str) -> str:
    """The last two folders' worth of a name, `videos/` and case apart."""
    parts = [part for part in PurePosixPath(name.strip().casefold().replace("\\", "/")).parts if part != "videos"]
    start = next((n for n, part in enumerate(parts) if part.startswith(("celeb-real", "youtube-real", "celeb-syn"))), 0)
    return "/".join(parts[start:])
