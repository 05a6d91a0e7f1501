"""UADFV: 49 videos and a forgery of each.

    real/0000.mp4        fake/0000_fake.mp4

There is no split: it is cut by video (`uadfv:0000`).

Source   Yang, Li and Lyu, ICASSP 2019; names as SCLBD/DeepfakeBench@8a4a7bf reads them
"""

from __future__ import annotations

from typing import Final

from components.archives.layout import Layout, forged, genuine

LAYOUT: Final = Layout(
    title="UADFV",
    faces="retinaface",
    rules=(
        genuine(r"real/(?P<video>\d{4})\.mp4", "uadfv:{video}"),
        forged(r"fake/(?P<video>\d{4})_fake\.mp4", "uadfv:{video}", method="FakeApp"),
    ),
    lists="none is published",
    counts={"genuine": 49, "forged": 49},
    tells=(r"fake/\d{4}_fake\.mp4",),
)
