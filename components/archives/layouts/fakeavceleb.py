"""FakeAVCeleb v1.2: picture and sound, each genuine or forged.

    {RealVideo-RealAudio|RealVideo-FakeAudio|FakeVideo-RealAudio|FakeVideo-FakeAudio}/<race>/<men|women>/<id>/<clip>.mp4
    meta_data.csv        source,target1,target2,method,category,type,race,gender,path and a column without a name

RealVideo-FakeAudio is forged in sound alone: its picture is the genuine one, and it is left out. The source is whose video it
is (`fakeavceleb:id00076`). There is no split: it is cut by person, and a forgery needs both its people on one side.

Source   Khalid et al., 2021; SCLBD/DeepfakeBench-MM@e1059437, preprocess/fakeavceleb_preprocessor.py
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from components.archives.layout import Facts, Layout, Place, Survey, aside, forged, genuine
from components.errors import BadArchive

INDEX: Final = "meta_data.csv"
CLIP: Final = r"[^/]+/(?:men|women)/(?P<who>[^/]+)/[^/]+\.mp4"


def _index(place: Place, seen: Survey) -> Mapping[str, Facts]:
    if INDEX not in place.files:
        raise BadArchive(f"expected '{INDEX}' in '{place.base}', found none. It comes with the archive; copy it there.")
    rows: dict[str, Facts] = {}
    twice = set()
    for row in place.table(INDEX, "source", "target1", "method", "type", "race", "gender", "path"):
        path = "/".join((row["type"], row["race"], row["gender"], row["source"], row["path"]))
        if path in rows:
            twice.add(path)
            continue
        lent = row["target1"] if row["target1"].startswith("id") else ""
        rows[path] = {"method": row["method"], "lent": lent}
    if twice:
        seen.notes.append(f"{len(twice)} files have two rows in {INDEX}: the method of the first is taken.")
    return rows


def _lent(facts: Facts) -> str:
    return f"fakeavceleb:{facts['lent']}" if facts["lent"] else ""


LAYOUT: Final = Layout(
    title="FakeAVCeleb",
    faces="retinaface",
    rules=(
        aside(rf"RealVideo-FakeAudio/{CLIP}", "they are forged in sound alone, and their picture is genuine"),
        genuine(rf"RealVideo-RealAudio/{CLIP}", "fakeavceleb:{who}", people=("fakeavceleb:{who}",), listed=True),
        forged(
            rf"FakeVideo-(?:Real|Fake)Audio/{CLIP}",
            "fakeavceleb:{who}",
            people=("fakeavceleb:{who}", _lent),
            listed=True,
        ),
    ),
    lists=f"{INDEX}, which comes with the archive",
    index=_index,
    counts={"genuine": 500, "forged": 9709 + 10835},
    unverified=("That target1 names whose face was lent, and the counts, come from second hand.",),
    tells=(INDEX, r"(?:Real|Fake)Video-(?:Real|Fake)Audio/.*"),
)
