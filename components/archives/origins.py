"""Where genuine faces come from that several archives show: names of their sources that all agree on.

`ffpp:033_097` is the pair of videos 033 and 097 of FaceForensics++, `ffpp:033` whoever is in the first; `celebdf:id3_0001` is
a video of Celeb-DF v2.

Source   ids of ondyari/FaceForensics@e452f055b6ee, dataset/splits/*.json
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources

from components.errors import BadArchive

Pairs = dict[str, tuple[str, str]]
"""Video id -> (the pair it belongs to, its split)."""


def pair_of(video: str) -> tuple[str, str]:
    """(source, split) of a video by the official lists, under the names every archive knows; raises KeyError."""
    pair, split = official_pairs()[video]
    return f"ffpp:{pair}", split


def source_of(name: str, video: str) -> str:
    """The source of a video of a data set, under the name every archive knows it by, if there is one."""
    if re.fullmatch(r"\d{3}(_\d{3})?", video) and name.casefold().startswith(("ff", "faceforensics", "faceshifter")):
        return pair_of(video[:3])[0]
    if name.casefold().startswith(("celeb", "cdf")):
        swap = re.fullmatch(r"(id\d+)_id\d+_(\d{4})", video)
        return f"celebdf:{swap[1]}_{swap[2]}" if swap else f"celebdf:{video}"
    return f"{name.casefold()}:{video}"


@cache
def official_pairs() -> Pairs:
    """By the official 360, 70 and 70 pairs."""
    return by_video(official(), "FaceForensics++")


def by_video(splits: dict[str, list[tuple[str, str]]], where: str) -> Pairs:
    """Raises BadArchive where a video is in two pairs."""
    pairs: Pairs = {}
    for split, listed in splits.items():
        for pair in listed:
            for video in pair:
                if video in pairs:
                    raise BadArchive(f"video '{video}' is in two pairs of the split lists of {where}; expected one.")
                pairs[video] = ("_".join(sorted(pair)), split)
    return pairs


def official() -> dict[str, list[tuple[str, str]]]:
    """Split -> its pairs, as published."""
    text = resources.files(__package__).joinpath("faceforensics_splits.json").read_text(encoding="utf-8")
    return {split: [two_ids(pair.split("_")) for pair in listed] for split, listed in json.loads(text).items()}


def two_ids(pair: object) -> tuple[str, str]:
    """Two different ids of three digits; raises ValueError."""
    match pair:
        case [str(a), str(b)] if a != b and re.fullmatch(r"\d{3}", a) and re.fullmatch(r"\d{3}", b):
            return a, b
    raise ValueError(f"found {pair!r}")


def stands_for(name: str) -> tuple[str, ...]:
    """Whom a name that holds in every archive means: itself, and of a pair (`ffpp:033_097`) its two members."""
    pair = re.fullmatch(r"ffpp:(\d{3})_(\d{3})", name)
    return (f"ffpp:{pair[1]}", f"ffpp:{pair[2]}") if pair else tuple(filter(None, (name,)))
