"""The DFDC preview (DFDC-P).

    original_videos/<actor>/<actor>_<letter>_<number>.mp4
    method_A/<target>/<target>_<letter>/<lent>_<target>_<letter>_<number>.mp4      method_B/…
    dataset.json      {"<path>": {"label": "real"|"fake", "set": "train"|"test", "target_id", "swapped_id",
                      "augmentations": […]}, …}

66 actors; no validation split. A forgery shows the target with the face of another actor; both must be in one split. The
source is what the target filmed: `dfdcp:<target>_<letter>`.

Source   Dolhansky et al., 2019; dataset.json as read by mapooon/SelfBlendedImages and SCLBD/DeepfakeBench@8a4a7bf
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from components.archives.layout import VIDEO, Facts, Layout, Place, Survey, forged, genuine
from components.errors import BadArchive

INDEX: Final = "dataset.json"


def _index(place: Place, seen: Survey) -> Mapping[str, Facts]:
    if INDEX not in place.files:
        raise BadArchive(f"expected '{INDEX}' in '{place.base}', found none. It comes with the archive; copy it there.")
    told = place.json(INDEX)
    if not isinstance(told, dict):
        raise BadArchive(f"expected '{place.base / INDEX}' to be {{path: facts}}. Copy the official file again.")
    rows: dict[str, Facts] = {}
    for path, about in told.items():
        if not isinstance(about, dict) or not {"label", "set"} <= about.keys():
            seen.faults.add("entry without label and set", f"{INDEX} '{path}'")
            continue
        rows[path.replace("\\", "/")] = {
            "label": str(about["label"]),
            "set": str(about["set"]),
            "target": str(about.get("target_id") or ""),
            "lent": str(about.get("swapped_id") or ""),
        }
    return rows


def _person(name: str) -> str:
    return f"dfdcp:{name}" if name else ""


LAYOUT: Final = Layout(
    title="DFDC preview",
    faces="retinaface",
    rules=(
        genuine(
            rf"original_videos/(?P<actor>[^/]+)/(?P<take>[^/_]+_[^/_]+)_[^/]+{VIDEO}",
            "dfdcp:{take}",
            people=("dfdcp:{actor}",),
            split="{set}",
            listed=True,
        ),
        forged(
            rf"(?P<method>method_[AB])/[^/]+/(?:[^/]+/)?[^/_]+_(?P<take>[^/_]+_[^/_]+)_[^/]+{VIDEO}",
            "dfdcp:{take}",
            people=(lambda facts: _person(facts["target"]), lambda facts: _person(facts["lent"])),
            split="{set}",
            listed=True,
        ),
    ),
    lists=f"{INDEX}, which comes with the archive",
    index=_index,
    counts={"genuine": 1131, "forged": 4119},
    tells=(INDEX, r"(?:original_videos|method_[AB])/.*"),
)
