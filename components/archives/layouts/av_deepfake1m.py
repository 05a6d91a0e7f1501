"""AV-Deepfake1M and ++: words of a speech replaced, so that most of a forged clip is genuine.

    {train|val|test}/…/<clip>.mp4
    {train|val}_metadata.json            [{"file", "original", "split", "modify_type", "visual_fake_segments": [[s, e]], …}, …]
    {train|val}_metadata/….json          the same, one file a clip; read where there is no list
    test_files.txt                       test clips, without labels

A clip forged in picture becomes one clip for each forged segment (`….mp4#frames=12-40`); what lies outside is genuine and is
not shown as forged. audio_modified is forged in sound alone, and is left out. `test` has no labels and is left out: `val` is
what can be examined, so it is test here. The source is the corpus's clip (`avdeepfake1m:<speaker>/<video>`).

Source   Cai et al., ACM MM 2024; ControlNet/AV-Deepfake1M@2c72275c
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from components.archives import fragments
from components.archives.layout import ASIDE, FRAGMENT, Facts, Layout, Place, Survey, aside, either
from components.errors import BadArchive

FPS: Final = 25
TYPES: Final = {"real": "real", "visual_modified": "fake", "both_modified": "fake"}


def _index(place: Place, seen: Survey) -> Mapping[str, list[Facts]]:
    lists = place.named(r"(?:train|val)_metadata\.json")
    rows = [(name.partition("_")[0], row) for name in lists for row in place.json(name)]
    if not lists:
        cards = place.named(r"(?:train|val)_metadata/.*\.json")
        rows = [(name.partition("_")[0], place.json(name)) for name in cards]
    if not rows:
        raise BadArchive(
            f"expected train_metadata.json or val_metadata.json in '{place.base}', found neither. Copy the official lists."
        )
    return {_path(split, str(row["file"]), place): list(_clips(row, seen)) for split, row in rows}


def _path(split: str, file: str, place: Place) -> str:
    return file if place.spelled(file) else f"{split}/{file}"


def _clips(row: Mapping[str, Any], seen: Survey) -> Iterable[Facts]:
    kind = str(row.get("modify_type", ""))
    if kind == "audio_modified":
        yield {ASIDE: "they are forged in sound alone, and their picture is genuine"}
        return
    facts = {"label": TYPES.get(kind, kind), "method": str(row.get("video_model") or "talklip")}
    if TYPES.get(kind) != "fake":
        yield facts
        return
    segments = row.get("visual_fake_segments") or row.get("fake_segments") or []
    if not segments:
        seen.faults.add("forged picture without a forged segment", f"'{row['file']}'")
    last = int(row.get("video_frames") or 0) - 1
    for start, end in segments:
        first, final = round(start * FPS), round(end * FPS) - 1
        final = min(final, last) if last >= 0 else final
        if final >= first:
            yield facts | {FRAGMENT: fragments.frames(first, final)}


def _source(facts: Facts) -> str:
    """All utterances of one video; the clip's own folder where nothing lies above it."""
    return f"avdeepfake1m:{facts['corpus'].rstrip('/') or facts['folder']}"


LAYOUT: Final = Layout(
    title="AV-Deepfake1M",
    faces="retinaface",
    rules=(
        aside(r"test/.*", "they have no labels"),
        either(
            r"train/(?P<corpus>(?:[^/]+/)*)(?P<folder>[^/]+)/[^/]+\.mp4",
            _source,
            listed=True,
        ),
        either(
            r"val/(?P<corpus>(?:[^/]+/)*)(?P<folder>[^/]+)/[^/]+\.mp4",
            _source,
            split="test",
            listed=True,
        ),
    ),
    lists="train_metadata.json and val_metadata.json, which come with the archive",
    index=_index,
    notes=("Its `test` is unlabelled and left out; its `val` is test here.",),
    unverified=(
        f"Segments are seconds of {FPS} frames.",
        "The folder above an utterance is its source; what `original` names differs between its corpora and is not read.",
    ),
    carves=False,
    tells=(r"(?:train|val)_metadata(?:\.json|/.*\.json)", r"(?:train|val)/.*\.mp4"),
)
