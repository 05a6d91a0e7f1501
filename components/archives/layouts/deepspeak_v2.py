"""DeepSpeak v2.

    …/<identity>-<recording>.mp4                                                  genuine
    …/<engine>-<lent recording>-<target recording>-<sound>.mp4                    forged
    annotations-fake.csv             video-file, engine, identity-source, identity-target, recording-target, …
    annotations-split-def.csv        identity,split (train or test)

As v1, but who is seen in a forgery stands in annotations-fake.csv alone.

Source   Barrington et al., 2024; names as in deepfake-workbench, deepspeak.py@495c5d78
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

from components.archives.deepspeak import GENUINE_NAME, SPLITS_FILE, by_identity
from components.archives.layout import Facts, Layout, Place, Survey, forged, genuine
from components.errors import BadArchive

FAKES: Final = "annotations-fake.csv"


def _index(place: Place, _: Survey) -> Mapping[str, Facts]:
    tables = place.named(rf"(?:.*/)?{FAKES}")
    if not tables:
        raise BadArchive(f"expected '{FAKES}' in '{place.base}', found none. It comes with the archive; copy it there.")
    by_name = {PurePosixPath(file).name: file for file in place.files}
    columns = ("video-file", "engine", "identity-source", "identity-target", "recording-target")
    rows: dict[str, Facts] = {}
    for row in place.table(tables[0], *columns):
        name = PurePosixPath(row["video-file"]).name
        about = {"engine": row["engine"], "lent": row["identity-source"], "target": row["identity-target"]}
        rows[by_name.get(name, name)] = about | {"take": row["recording-target"]}
    return rows


LAYOUT: Final = Layout(
    title="DeepSpeak v2",
    faces="retinaface",
    rules=(
        forged(
            r"(?:[^/]+/)*[^-/]+-[^-/]+-[^-/]+-[^/]+\.mp4",
            "deepspeak_v2:{target}-{take}",
            method="{engine}",
            people=("deepspeak_v2:{target}", "deepspeak_v2:{lent}"),
            listed=True,
        ),
        genuine(GENUINE_NAME, "deepspeak_v2:{target}-{take}", people=("deepspeak_v2:{target}",)),
    ),
    lists=f"{FAKES} and {SPLITS_FILE}, which come with the archive",
    index=_index,
    assign=by_identity,
    counts={"genuine": 9376, "forged": 7209},
    unverified=("Names, columns and counts come from second hand; the archive is gated.",),
    carves=False,
    tells=(rf"(?:.*/)?{FAKES}", rf"(?:.*/)?{SPLITS_FILE}"),
)
