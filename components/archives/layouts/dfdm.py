"""DFDM: five swapping networks on the celebrities of Celeb-DF v2.

    DFDM_{crf0|crf10|crf23}/{DFaker|DFL-H128|FaceSwap|IAE|LightWeight}/<target>_<lent>_<take>_<tag>.mp4
    Celeb-real/<target>_<take>.mp4       the genuine class: copy it here from Celeb-DF v2

The three compressions are the same clips: one source (`celebdf:id3_0001`). There is no split: it is cut by celebrity, and a
forgery needs both on one side.

Source   Jia et al., 2022; names as in deepfake-workbench, dfdm.py@135fa4d8
"""

from __future__ import annotations

from typing import Final

from components.archives.layout import Layout, forged, genuine

LAYOUT: Final = Layout(
    title="DFDM",
    faces="retinaface",
    rules=(
        forged(
            r"DFDM_(?P<quality>crf\d+)/(?P<method>[^/]+)/(?P<target>id\d+)_(?P<lent>id\d+)_(?P<take>\d+)_[^/]+\.mp4",
            "celebdf:{target}_{take}",
            people=("celebdf:{target}", "celebdf:{lent}"),
        ),
        genuine(
            r"(?:[^/]+/)*Celeb-real/(?:videos/)?(?P<target>id\d+)_(?P<take>\d{4})\.mp4",
            "celebdf:{target}_{take}",
            people=("celebdf:{target}",),
        ),
    ),
    lists="none is published",
    counts={"forged": 6450},
    notes=("It has no genuine clips of its own: those of Celeb-DF v2, copied beside it, are the genuine class.",),
    unverified=("The form of names comes from second hand, and whether 6,450 counts the three compressions.",),
    tells=(r"DFDM_crf\d+/.*",),
)
