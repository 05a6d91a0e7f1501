"""IDForge v1: films of 54 people, forged in picture, sound and words.

    main/<type>/<idNN>/<idNN_MM>/<idNN_scene_####_k_method>.mp4      some names end .mp3.mp4
    {train|val|test}.csv                                             no header, one path a line; also below IDForge_v1/

Of the eleven types, pristine is genuine; face_* and lip_* are forged in picture; rvc_* and tts_* are forged in sound or words
alone, and are left out. The method of a face_* is the last part of its name (simswap, infoswap, roop). The source is what was
filmed (`idforge:id07_scene_0001`); one is in several types. v2 and the reference set are other archives.

Source   Xu et al., 2024; xyyandxyy/IDForge@94731216
Differs  types are told by their beginning, the longer first: face_tts_textgen is no face_tts
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from components.archives.layout import Facts, Layout, Place, Survey, aside, forged, genuine
from components.errors import BadArchive
from components.vocabulary import SPLITS

CLIP: Final = r"(?P<who>id\d+)/[^/]+/(?P<stem>[^/]+?)(?:\.mp3)?\.mp4"


def _index(place: Place, seen: Survey) -> Mapping[str, Facts]:
    rows: dict[str, Facts] = {}
    for split in SPLITS:
        tables = place.named(rf"(?:.*/)?{split}\.csv")
        if not tables:
            raise BadArchive(f"expected '{split}.csv' below '{place.base}', found none. It comes with the archive.")
        for line in place.lines(tables[0]):
            path = line.strip().strip('"').replace("\\", "/")
            if (known := place.ending(path)) in rows and rows[known]["split"] != split:
                seen.faults.add("in two split lists", f"'{path}'")
            rows[known] = {"split": split}
    return rows


def _scene(facts: Facts) -> str:
    """What was filmed: the name without its number of takes and its method."""
    scene = re.match(r"id\d+_.+?_\d{4}", facts["stem"])
    return f"idforge:{scene[0] if scene else facts['stem']}"


def _method(facts: Facts) -> str:
    last = facts["stem"].rpartition("_")[2]
    return last if facts["type"].startswith("face_") else facts["type"]


LAYOUT: Final = Layout(
    title="IDForge v1",
    faces="retinaface",
    rules=(
        genuine(rf"(?:[^/]+/)*pristine/{CLIP}", _scene, split="{split}", listed=True),
        forged(
            rf"(?:[^/]+/)*(?P<type>(?:face|lip)_[^/]+)/{CLIP}",
            _scene,
            method=_method,
            split="{split}",
            listed=True,
        ),
        aside(
            rf"(?:[^/]+/)*(?:rvc|tts)_[^/]+/{CLIP}",
            "they are forged in sound or words alone, and their picture is genuine",
        ),
        aside(r"(?:unprocessed_ref|ref)[^/]*/.*", "they are the reference set"),
    ),
    lists="train.csv, val.csv and test.csv, which come with the archive",
    index=_index,
    unverified=(
        "That a name is <id>_<scene>_<4 digits>_<take>_<method>: shown in its documentation, not counted by us.",
    ),
    carves=False,
    tells=(r"(?:[^/]+/)*pristine/.*|(?:[^/]+/)*face_[^/]+/.*", r"(?:.*/)?train\.csv"),
)
