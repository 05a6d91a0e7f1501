"""Celeb-DF v1: as v2, and smaller.

    Celeb-real/id3_0001.mp4              158 interviews of 13 celebrities
    YouTube-real/00170.mp4               250 of other people
    Celeb-synthesis/id3_id9_0001.mp4     795
    List_of_testing_videos.txt           100 lines `<label> <folder>/<file>.mp4`, where 1 is REAL and 0 is FAKE

Its clips are clips of v2 under their names there: `celebdf:id3_0001` is the same video in both.

Source   Li et al., 2019; yuezunli/celeb-deepfakeforensics README of v1
"""

from __future__ import annotations

import re
from typing import Final

from components.archives import celebdf
from components.archives.layout import Layout

LAYOUT: Final = Layout(
    title="Celeb-DF v1",
    faces="retinaface",
    rules=(*celebdf.REALS, celebdf.SWAPS),
    lists=f"{celebdf.LIST}, which comes with the archive",
    assign=celebdf.by_test_list,
    counts={"genuine": 408, "forged": 795, "genuine test": 38, "forged test": 62},
    notes=(celebdf.BY_VIDEO,),
    unverified=(
        "38 genuine and 62 forged test clips, and that v1 and v2 share their numbering, come from second hand.",
    ),
    carves=False,
    tells=(r"Celeb-synthesis/(?:videos/)?[^/]*", re.escape(celebdf.LIST)),
)
