"""FaceForensics++ as its authors distribute it.

    original_sequences/youtube/{raw|c23|c40}/videos/033.mp4
    manipulated_sequences/{Deepfakes|Face2Face|FaceSwap|NeuralTextures|FaceShifter}/{raw|c23|c40}/videos/033_097.mp4
    manipulated_sequences/<method>/masks/videos/033_097.mp4     which pixels were manipulated; FaceShifter has none
    original_sequences/actors/…  manipulated_sequences/DeepFakeDetection/…     another archive: layout dfd
    downloaded_videos/…                                         ignored
    train.json  val.json  test.json             optional: lists of pairs [["071", "054"], …]; all three or none

`033_097` shows the person and scene of target 033 with the face, or the expressions, of 097. The two videos of a
pair and both of their forgeries form one source (`033_097`), so a pair never straddles splits; the identity is the
target's id, which ties a forgery to the genuine video it was made from. Without lists at the root the official ones
hold: 360, 70 and 70 pairs, i.e. 720, 140 and 140 of the 1000 videos. One mask serves all three compressions.
In other archives these names are `ffpp:033_097` and `ffpp:033`.

Source   Roessler et al., ICCV 2019; ids of ondyari/FaceForensics@e452f055b6ee, dataset/splits/*.json
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from components.archives.layout import Found, Layout, Place, Survey, forged, genuine, passed, strange
from components.archives.origins import Pairs, by_video, official, official_pairs, two_ids
from components.errors import BadArchive
from components.vocabulary import FORGED, SPLITS

METHODS: Final = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
QUALITY: Final = "(?P<quality>raw|c23|c40)/videos"


def _in_pairs(found: list[Found], place: Place, seen: Survey) -> None:
    """Put every clip into the pair its ids name; a clip of no pair is a fault."""
    pairs = _pairs(place.base)
    kept = []
    for one in found:
        ids = [one.facts[name] for name in ("target", "lent") if name in one.facts]
        places = {pairs.get(video) for video in ids}
        if None in places or len(places) > 1:
            kind = "video id in no split list" if None in places else "forgery of no pair in the lists"
            seen.faults.add(kind, f"'{one.path}'")
            continue
        one.source, one.split = pairs[ids[0]]
        kept.append(one)
    found[:] = kept


def _pairs(root: Path) -> Pairs:
    lists = {split: root / f"{split}.json" for split in SPLITS}
    present = [path.name for path in lists.values() if path.is_file()]
    if present and len(present) < len(lists):
        raise BadArchive(
            f"expected all of {', '.join(p.name for p in lists.values())} in '{root}' or none, "
            f"found {', '.join(present)}. Add the others, or remove these to use the official split."
        )
    if not present:
        return official_pairs()
    return by_video({split: _listed(path) for split, path in lists.items()}, f"'{root}'")


def _listed(path: Path) -> list[tuple[str, str]]:
    try:
        return [two_ids(pair) for pair in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, TypeError) as fault:
        raise BadArchive(
            f"'{path}' is not a list of pairs of three-digit ids: {fault}. Copy the official file again."
        ) from fault


def _whole(found: list[Found]) -> Iterable[str]:
    """Every clip of the methods and compressions of which there is one."""
    pairs = [pair for listed in official().values() for pair in listed]
    for method, quality, label in sorted({(one.method, one.facts["quality"], one.label) for one in found}):
        home = f"manipulated_sequences/{method}" if label == FORGED else "original_sequences/youtube"
        for a, b in pairs:
            stems = (f"{a}_{b}", f"{b}_{a}") if label == FORGED else (a, b)
            yield from (f"{home}/{quality}/videos/{stem}.mp4" for stem in stems)


LAYOUT: Final = Layout(
    title="FaceForensics++",
    faces="retinaface",
    rules=(
        genuine(
            rf"original_sequences/youtube/{QUALITY}/(?P<target>\d{{3}})\.mp4", people=("{target}",), part="{quality}"
        ),
        forged(
            rf"manipulated_sequences/(?P<method>{'|'.join(METHODS)})/{QUALITY}/(?P<target>\d{{3}})_(?P<lent>\d{{3}})\.mp4",
            people=("{target}",),
            part="{quality}",
            mask="manipulated_sequences/{method}/masks/videos/{target}_{lent}.mp4",
        ),
        strange(
            r"(?:original_sequences/actors|manipulated_sequences/DeepFakeDetection)/.*",
            "they are DeepFakeDetection, an archive of its own: land the same folder with --layout dfd",
        ),
        passed(r"downloaded_videos/.*|manipulated_sequences/[^/]+/masks/.*"),
    ),
    lists="train.json, val.json and test.json at the root, else the official 720, 140 and 140 ids, which come with Perennial",
    assign=_in_pairs,
    official=_whole,
    counts={
        "genuine": 1000,
        **dict.fromkeys(METHODS, 1000),
        **{
            f"{what} {split}": n
            for what in ("genuine", *METHODS)
            for split, n in zip(SPLITS, (720, 140, 140), strict=True)
        },
    },
    carves=False,
    namespace="ffpp",
    tells=(r"(?:original_sequences/youtube|manipulated_sequences/(?!DeepFakeDetection)).*",),
)
