"""DeepFakeDetection (DFD), which the official "all" download writes into the tree of FaceForensics++.

    original_sequences/actors/{raw|c23|c40}/videos/<actor>__<scene>.mp4
    manipulated_sequences/DeepFakeDetection/{raw|c23|c40}/videos/<target>_<lent>__<scene>__<8 characters>.mp4
    manipulated_sequences/DeepFakeDetection/masks/videos/…      which pixels were manipulated
    original_sequences/youtube/…  manipulated_sequences/…       another archive: layout faceforensics

28 paid actors in 16 scenes. `01_02__walking` shows actor 01, walking, with the face of 02. There is no official split
(ondyari/FaceForensics#63): it is cut by actor, and a forgery needs both its actors on one side. The source is what the
target filmed in a scene (`dfd:01__walking`).

Source   Google and Jigsaw, 2019; names as in ondyari/FaceForensics@e452f055b6ee, dataset/README.md
"""

from __future__ import annotations

from typing import Final

from components.archives.layout import Layout, forged, genuine, passed, strange

QUALITY: Final = "(?P<quality>raw|c23|c40)/videos"
SCENE: Final = r"(?P<scene>[^/]+?)"

LAYOUT: Final = Layout(
    title="DeepFakeDetection",
    faces="retinaface",
    rules=(
        genuine(
            rf"original_sequences/actors/{QUALITY}/(?P<actor>\d\d)__{SCENE}\.mp4",
            "dfd:{actor}__{scene}",
            people=("dfd:{actor}",),
            part="{quality}",
        ),
        forged(
            rf"manipulated_sequences/DeepFakeDetection/{QUALITY}/(?P<name>(?P<actor>\d\d)_(?P<lent>\d\d)__{SCENE}__\w{{8}})\.mp4",
            "dfd:{actor}__{scene}",
            method="DeepFakeDetection",
            people=("dfd:{actor}", "dfd:{lent}"),
            part="{quality}",
            mask="manipulated_sequences/DeepFakeDetection/masks/videos/{name}.mp4",
        ),
        strange(
            r"original_sequences/youtube/.*|manipulated_sequences/(?!DeepFakeDetection/)[^/]+/.*",
            "they are FaceForensics++, an archive of its own: land the same folder with --layout faceforensics",
        ),
        passed(r"downloaded_videos/.*|manipulated_sequences/[^/]+/masks/.*"),
    ),
    lists="none is published",
    counts={"genuine": 363, "forged": 3068},
    unverified=("3,068 forgeries is the publisher's count; one mirror has 3,066.",),
    tells=(r"(?:original_sequences/actors|manipulated_sequences/DeepFakeDetection)/.*",),
)
