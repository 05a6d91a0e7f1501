"""DeepSpeak v1 and v1.1.

    …/<identity>-<recording>.mp4                                                            genuine
    …/<engine>--<lent>-<target>--<lent recording>-<target recording>--<n>.mp4               forged
    annotations-split-def.csv        identity,split (train or test)

Folders are taken as they come. The split is by identity; a forgery needs both its people on one side. The source is what the
target recorded (`deepspeak_v1:<identity>-<recording>`).

Source   Barrington et al., 2024; names as in deepfake-workbench, deepspeak.py@495c5d78
"""

from __future__ import annotations

from typing import Final

from components.archives.deepspeak import GENUINE_NAME, SPLITS_FILE, by_identity
from components.archives.layout import Layout, forged, genuine

LAYOUT: Final = Layout(
    title="DeepSpeak v1",
    faces="retinaface",
    rules=(
        forged(
            r"(?:[^/]+/)*(?P<method>[^-/]+)--(?P<lent>[^-/]+)-(?P<target>[^-/]+)--[^-/]+-(?P<take>[^-/]+)--[^/]+\.mp4",
            "deepspeak_v1:{target}-{take}",
            people=("deepspeak_v1:{target}", "deepspeak_v1:{lent}"),
        ),
        genuine(GENUINE_NAME, "deepspeak_v1:{target}-{take}", people=("deepspeak_v1:{target}",)),
    ),
    lists=f"{SPLITS_FILE}, which comes with the archive",
    assign=by_identity,
    counts={"genuine": 6667, "forged": 6796},
    unverified=("Names and counts (of v1.1) come from second hand; the archive is gated.",),
    carves=False,
    tells=(rf"(?:.*/)?{SPLITS_FILE}", r"(?:[^/]+/)*[^-/]+--[^/]+\.mp4"),
)
