"""FaceForensics++ as its authors distribute it.

    original_sequences/youtube/{raw|c23|c40}/videos/033.mp4
    manipulated_sequences/{Deepfakes|Face2Face|FaceSwap|NeuralTextures|FaceShifter}/{raw|c23|c40}/videos/033_097.mp4
    manipulated_sequences/<method>/masks/videos/033_097.mp4     which pixels were manipulated; FaceShifter has none
    downloaded_videos/…                                         ignored
    train.json  val.json  test.json             optional: lists of pairs [["071", "054"], …]; all three or none

`033_097` shows the person and scene of target 033 with the face, or the expressions, of 097. The two videos of a
pair and both of their forgeries form one source (`033_097`), so a pair never straddles splits; the identity is the
target's id, which ties a forgery to the genuine video it was made from. Without lists at the root the official ones
hold: 360, 70 and 70 pairs, i.e. 720, 140 and 140 of the 1000 videos. One mask serves all three compressions.

Source   Roessler et al., ICCV 2019; ids of ondyari/FaceForensics@e452f055b6ee, dataset/splits/*.json
Differs  the actors of DeepFakeDetection are refused: that part has no official split
"""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Final

from components.archives.listing import VIDEO_SUFFIXES, Clip, Faults, files_under
from components.errors import BadArchive
from components.vocabulary import FORGED, GENUINE, REAL, SPLITS

FACES: Final = "retinaface"
METHODS: Final = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")

_ORIGINAL = re.compile(r"original_sequences/youtube/(?:raw|c23|c40)/videos/(\d{3})\.mp4")
_FORGERY = re.compile(rf"manipulated_sequences/({'|'.join(METHODS)})/(?:raw|c23|c40)/videos/(\d{{3}})_(\d{{3}})\.mp4")
_ACTORS = re.compile(r"(original_sequences/actors|manipulated_sequences/DeepFakeDetection)/")
_MASK = re.compile(r"manipulated_sequences/[^/]+/masks/videos/\d{3}_\d{3}\.mp4")
_IGNORED = re.compile(r"downloaded_videos/|manipulated_sequences/[^/]+/masks/")

Pairs = dict[str, tuple[str, str]]  # video id -> (the pair it belongs to, its split)


def read(root: Path) -> list[Clip]:
    faults = Faults(root, "faceforensics")
    pairs = _pairs(root)
    videos = [name for name in files_under(root, faults) if PurePosixPath(name).suffix.lower() in VIDEO_SUFFIXES]
    masks = {name for name in videos if _MASK.fullmatch(name)}
    clips = [_clip(name, pairs, masks, faults) for name in sorted(videos) if not _IGNORED.match(name)]
    faults.settle()
    if not clips:
        raise BadArchive(
            f"expected videos under '{root}/original_sequences' and '{root}/manipulated_sequences', found none. "
            "Point at the folder that holds these two."
        )
    return [clip for clip in clips if clip is not None]


def _clip(name: str, pairs: Pairs, masks: set[str], faults: Faults) -> Clip | None:
    ids: tuple[str, ...]
    mask = ""
    if original := _ORIGINAL.fullmatch(name):
        label, method, ids = REAL, GENUINE, (original[1],)
    elif forgery := _FORGERY.fullmatch(name):
        label, method, ids = FORGED, forgery[1], (forgery[2], forgery[3])
        mask = f"manipulated_sequences/{method}/masks/videos/{forgery[2]}_{forgery[3]}.mp4"
    else:
        kind = "DeepFakeDetection has no official split; move it out" if _ACTORS.match(name) else "unexpected video"
        faults.add(kind, f"'{name}'")
        return None
    places = {pairs.get(video) for video in ids}
    if None in places or len(places) > 1:
        faults.add("video id in no split list" if None in places else "forgery of no pair in the lists", f"'{name}'")
        return None
    source, split = pairs[ids[0]]
    mask = mask if mask in masks else ""
    return Clip(path=name, label=label, method=method, identity=ids[0], source=source, split=split, mask=mask)


def _pairs(root: Path) -> Pairs:
    lists = {split: root / f"{split}.json" for split in SPLITS}
    present = [path.name for path in lists.values() if path.is_file()]
    if present and len(present) < len(lists):
        raise BadArchive(
            f"expected all of {', '.join(p.name for p in lists.values())} in '{root}' or none, "
            f"found {', '.join(present)}. Add the others, or remove these to use the official split."
        )
    splits = {split: _listed(path) for split, path in lists.items()} if present else _official()
    pairs: Pairs = {}
    for split, listed in splits.items():
        for pair in listed:
            for video in pair:
                if video in pairs:
                    raise BadArchive(f"video '{video}' is in two pairs of the split lists of '{root}'; expected one.")
                pairs[video] = ("_".join(sorted(pair)), split)
    return pairs


def _official() -> dict[str, list[tuple[str, str]]]:
    text = resources.files(__package__).joinpath("faceforensics_splits.json").read_text(encoding="utf-8")
    return {split: [_two(pair.split("_")) for pair in listed] for split, listed in json.loads(text).items()}


def _listed(path: Path) -> list[tuple[str, str]]:
    try:
        return [_two(pair) for pair in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, TypeError) as fault:
        raise BadArchive(
            f"'{path}' is not a list of pairs of three-digit ids: {fault}. Copy the official file again."
        ) from fault


def _two(pair: object) -> tuple[str, str]:
    match pair:
        case [str(a), str(b)] if a != b and re.fullmatch(r"\d{3}", a) and re.fullmatch(r"\d{3}", b):
            return a, b
    raise ValueError(f"found {pair!r}")
