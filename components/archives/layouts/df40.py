"""DF40: forty ways to forge, as face crops.

    DF40_train/<method>/ff/…/<video>/<frame>.png         train, made from FaceForensics++
    DF40/<method>/{ff|cdf}/…/<video>/<frame>.png         test, made from FaceForensics++ or Celeb-DF v2
    DF40/<method>/{fake|real}/…                          test of nine further methods, with genuine faces of their own
    FaceForensics++/original_sequences/youtube/…/<video>/<frame>.png      the genuine faces of `ff`, a separate download
    Celeb-DF-v2/{Celeb-real|YouTube-real}/…/<video>/<frame>.png           and of `cdf`

Point at the folder that holds these. Sources are those of the archives it was made from: `ffpp:033_097`,
`celebdf:id3_0001`. Each frame is a still; frames of a video share a source.

Source   Yan et al., 2024; YZY-stack/DF40@ce808160, README.md
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final

from components.archives.layout import STILL, Facts, Layout, either, forged, genuine
from components.archives.origins import pair_of
from components.vocabulary import TRAIN

FRAME: Final = rf"(?:[^/]+/)*(?P<video>[^/]+)/[^/]+{STILL}"


def _source(facts: Facts) -> str:
    """The genuine video a clip was made from; one of DF40's own where the name is no such video."""
    video = facts["video"]
    if facts.get("domain", "").casefold() == "cdf":
        swap = re.fullmatch(r"(id\d+)_id\d+_(\d{4})", video)
        return f"celebdf:{swap[1]}_{swap[2]}" if swap else f"celebdf:{video}"
    try:
        return pair_of(video[:3])[0] if re.fullmatch(r"\d{3}(_\d{3})?", video) else _own(facts)
    except KeyError:
        return _own(facts)


def _own(facts: Facts) -> str:
    return f"df40:{facts['method']}/{facts.get('domain', 'own')}/{facts['video']}"


def _face(facts: Facts) -> str:
    """Whose video it is, where it is one of FaceForensics++."""
    return f"ffpp:{facts['video'][:3]}" if _source(facts).startswith("ffpp:") else ""


def _split(facts: Facts) -> str:
    return pair_of(facts["video"])[1]


def _alone(facts: Facts) -> str:
    """A still in a folder of its own video has that video's source, one among others its own."""
    path = PurePosixPath(facts["rest"])
    return f"df40:{facts['method']}/{path.parent if len(path.parts) > 1 else path.stem}"


LAYOUT: Final = Layout(
    title="DF40",
    faces="none",
    rules=(
        forged(rf"DF40_train/(?P<method>[^/]+)/(?P<domain>ff|cdf)/{FRAME}", _source, people=(_face,), split=TRAIN),
        forged(rf"DF40/(?P<method>[^/]+)/(?P<domain>ff|cdf)/{FRAME}", _source, people=(_face,), split="test"),
        either(rf"DF40/(?P<method>[^/]+)/(?P<label>fake|real)/(?P<rest>(?:[^/]+/)*[^/]+{STILL})", _alone, split="test"),
        genuine(
            rf"FaceForensics\+\+/original_sequences/youtube/(?:[^/]+/)*(?P<video>\d{{3}})/[^/]+{STILL}",
            lambda facts: pair_of(facts["video"])[0],
            people=("ffpp:{video}",),
            split=_split,
        ),
        genuine(rf"Celeb-DF-v2/(?:Celeb-real|YouTube-real)/{FRAME}", "celebdf:{video}", split="test"),
    ),
    lists="none is needed: DF40_train is learned, DF40 examined; its released JSON has val equal to test",
    unverified=("Levels between `ff` or `cdf` and the folder of a video are taken as they come.",),
    carves=False,
    tells=(r"DF40(?:_train)?/.*",),
)
