"""Celeb-DF v2.

    Celeb-real/id3_0001.mp4              590 interviews of 59 celebrities
    YouTube-real/00170.mp4               300 of other people
    Celeb-synthesis/id3_id9_0001.mp4     video 0001 of id3 with the face of id9
    List_of_testing_videos.txt           518 lines `<label> <folder>/<file>.mp4`, where 1 is REAL and 0 is FAKE

A level `videos/` below each folder is read too. There is no list of training clips: it is the rest. The official test is
drawn by video, not by person: nearly all celebrities are in both splits, so nobody is named as identity, and only the
source (the filmed video, `celebdf:id3_0001`) is kept in one split. Training clips of a video of which any test clip was made
are set aside.

Source   Li et al., CVPR 2020; yuezunli/celeb-deepfakeforensics README and List_of_testing_videos.txt; its issue 6 for names
"""

from __future__ import annotations

import re
from typing import Final

from components.archives import celebdf
from components.archives.layout import Layout

LAYOUT: Final = Layout(
    title="Celeb-DF v2",
    faces="retinaface",
    rules=(*celebdf.REALS, celebdf.SWAPS),
    lists=f"{celebdf.LIST}, which comes with the archive",
    assign=celebdf.by_test_list,
    counts={"genuine": 890, "forged": 5639, "genuine test": 178, "forged test": 340},
    notes=(celebdf.BY_VIDEO,),
    carves=False,
    tells=(r"Celeb-synthesis/(?:videos/)?[^/]*", re.escape(celebdf.LIST)),
)
