"""KoDF: Korean people, swapped and reenacted.

    …/<actor>/<actor>_<3 digits>.mp4                                         genuine; an actor is 20 hex digits, or 6
    …/<method>/<date>/<target>/<target>_<lent>_<code>_<number>.mp4           forged; dfl, dffs, fsgan, fo, audio-driven

The folder audio-driven mixes two models, wav2lip and ATFHP; they are one method here. There is no split for the films as
they are: it is cut by actor, and a forgery needs both on one side. What the target filmed is not told, so the source is the
actor (`kodf:<actor>`).

Source   Kwon et al., ICCV 2021; names as in deepfake-workbench, kodf.py@72816b82
"""

from __future__ import annotations

from typing import Final

from components.archives.layout import Layout, forged, genuine

ACTOR: Final = r"[0-9a-f]{20}|\d{6}"

LAYOUT: Final = Layout(
    title="KoDF",
    faces="retinaface",
    rules=(
        genuine(rf"(?:[^/]+/)*(?P<actor>{ACTOR})/(?P=actor)_\d{{3}}\.mp4", "kodf:{actor}", people=("kodf:{actor}",)),
        forged(
            rf"(?:[^/]+/)*(?P<method>[^/]+)/[^/]+/(?P<actor>{ACTOR})/(?P=actor)_(?P<lent>{ACTOR})_\d+_\d+\.mp4",
            "kodf:{actor}",
            people=("kodf:{actor}", "kodf:{lent}"),
        ),
    ),
    lists="none is read: the AI-Hub copy ships CSVs whose columns we have not seen",
    counts={"genuine": 62166, "forged": 175776},
    unverified=("Names and counts come from second hand.",),
    tells=(rf"(?:[^/]+/)*(?P<actor>{ACTOR})/(?P=actor)_.*",),
)
