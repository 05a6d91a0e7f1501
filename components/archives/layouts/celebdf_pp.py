"""Celeb-DF++ (v3): the genuine clips of v2, and 22 ways to forge them.

    Celeb-real/  YouTube-real/           as in v2
    Celeb-synthesis/FaceSwap/<method>/<target>_<lent>_<take>.mp4        full frames
    Celeb-synthesis/FaceReenact/<method>/<target>_<lent>_<take>.mp4     face crops, but for LivePortrait
    Celeb-synthesis/TalkingFace/<method>/<target>_<take>_test_<ref>.mp4     face crops
    List_of_testing_videos.txt           `<label> <file>`, where 1 is REAL and 0 is FAKE

Split and sources as in v2; the folder FaceSwap/Celeb-DF keeps its test clips.

Source   OUC-VAS/Celeb-DF-PP@8564a6456538, README.md
"""

from __future__ import annotations

from typing import Final

from components.archives import celebdf
from components.archives.layout import Layout, forged

PAIR: Final = r"(?P<target>id\d+)_(?P<lent>id\d+)_(?P<take>\d{4})\.mp4"

LAYOUT: Final = Layout(
    title="Celeb-DF++",
    faces="retinaface",
    rules=(
        *celebdf.REALS,
        forged(rf"Celeb-synthesis/(?:FaceSwap|FaceReenact)/(?P<method>[^/]+)/{PAIR}", "celebdf:{target}_{take}"),
        forged(
            r"Celeb-synthesis/TalkingFace/(?P<method>[^/]+)/(?P<target>id\d+)_(?P<take>\d{4})_test_[^/]+\.mp4",
            "celebdf:{target}_{take}",
        ),
    ),
    lists=f"{celebdf.LIST}, which comes with the archive",
    assign=celebdf.by_test_list,
    carves=False,
    counts={"genuine": 890, "genuine test": 178},
    notes=(
        celebdf.BY_VIDEO,
        "Most clips of FaceReenact and TalkingFace are face crops already, those of FaceSwap and LivePortrait are not: "
        "the detector is asked for all of them.",
    ),
    unverified=(
        "Lines of its test list are read as those of v2.",
        "Forged test clips are counted from the list alone.",
    ),
    tells=(r"Celeb-synthesis/(?:FaceSwap|FaceReenact|TalkingFace)/[^/]+/[^/]+",),
)
