"""What DeepfakeBench's preprocessing writes: frames, landmarks, and one JSON a data set.

    [rgb/]<set>/…/frames/<video>/<nnn>.png      also landmarks/… and masks/…, which are passed over
    [dataset_json/]<set>.json                   {set: {label: {train|val|test: [{compression:] {video: {"label", "frames"}}}}}

Labels are words (FF-real, FF-DF, CelebDFv2_real, …); whatever ends in `real` is genuine. Paths may have Windows separators, or
be absolute: they are known by their end. Each frame is a still. Where the JSON has one video in two splits (its val is often
its test), the most guarded one has it. Sources are those of the archive behind it, where a name tells: `ffpp:033_097`,
`celebdf:id3_0001`.

Source   SCLBD/DeepfakeBench@8a4a7bf, preprocessing/rearrange.py
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from components.archives.layout import STILL, Facts, Layout, Place, Survey, either, passed
from components.archives.origins import source_of
from components.errors import BadArchive
from components.vocabulary import SPLITS


def _index(place: Place, seen: Survey) -> Mapping[str, Facts]:
    cards = place.named(r"(?:[^/]*json[^/]*/)?[^/]+\.json")
    if not cards:
        raise BadArchive(
            f"expected 'dataset_json/<set>.json' in '{place.base}', found none. Copy it from DeepfakeBench."
        )
    rows: dict[str, Facts] = {}
    for card in cards:
        for name, split, label, video, about in _videos(place.json(card)):
            facts = {
                "label": "real" if label.casefold().endswith("real") else "fake",
                "method": label,
                "source": source_of(name, video),
                "split": split,
            }
            for frame in about.get("frames", ()):
                path = place.ending(str(frame).replace("\\", "/"))
                if path in rows and rows[path]["label"] != facts["label"]:
                    seen.faults.add("frame with two labels", f"{card} '{path}'")
                if path not in rows or SPLITS.index(split) > SPLITS.index(rows[path]["split"]):
                    rows[path] = facts
    return rows


def _videos(told: Any) -> Iterator[tuple[str, str, str, str, Mapping[str, Any]]]:
    """(set, split, label, video, facts) of a JSON, whether it has a level of compressions or not."""
    for name, labels in told.items():
        for label, splits in labels.items():
            for split, videos in splits.items():
                for video, about in videos.items():
                    if "frames" in about:
                        yield name, split, label, video, about
                    else:
                        yield from ((name, split, label, inner, more) for inner, more in about.items())


LAYOUT: Final = Layout(
    title="DeepfakeBench's frames",
    faces="none",
    rules=(
        passed(r"(?:[^/]+/)*(?:landmarks|masks)/.*"),
        either(rf"(?:[^/]+/)*frames/[^/]+/[^/]+{STILL}", "{source}", split="{split}", listed=True),
    ),
    lists="dataset_json/<set>.json, written by its rearrange.py",
    index=_index,
    unverified=("Sources of sets other than FaceForensics++ and Celeb-DF are the names of their videos alone.",),
    carves=False,
    tells=(r"(?:[^/]*json[^/]*/)?[^/]+\.json", rf"(?:[^/]+/)*frames/[^/]+/[^/]+{STILL}"),
)
