"""DFDC, the Deepfake Detection Challenge.

    dfdc_train_part_<n>/<10 letters>.mp4       with metadata.json in each part: {"<file>": {"label": "REAL"|"FAKE",
                                               "split": "train", "original": "<file>"}, …}; one part may be the root
    test/…mp4  validation/…mp4                 with labels.csv (filename,label; 1 is FAKE) or a metadata.json beside them

A forgery and its original are one source (`dfdc:<original>`), which may lie in another part. Nobody is named. Where no test
set lies beside the parts, one is cut by source.

Source   Dolhansky et al., 2020; metadata.json of the parts
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from components.archives.layout import Facts, Layout, Place, Survey, either
from components.errors import BadArchive

CARD: Final = "metadata.json"
LABELS: Final = "labels.csv"

_KEY: Final = {"0": "real", "1": "fake"}  # of labels.csv: what the public loaders of the test set hold it to be


def _index(place: Place, seen: Survey) -> Mapping[str, Facts]:
    cards = place.named(rf"(?:.*/)?{CARD}")
    tables = place.named(rf"(?:.*/)?{LABELS}")
    if not cards and not tables:
        raise BadArchive(
            f"expected '{CARD}' in every part below '{place.base}', or '{LABELS}' beside a test set, found neither. "
            "They come with the archive; copy them there."
        )
    rows: dict[str, Facts] = {}
    for card in cards:
        for file, about in dict(place.json(card)).items():
            rows[_beside(card, file, place)] = dict(_facts(file, about))
    for table in tables:
        for row in place.table(table, "filename", "label"):
            if row["label"] not in _KEY:
                seen.faults.add("label that is neither 0 nor 1", f"{table} '{row['filename']}'")
                continue
            rows[_beside(table, row["filename"], place)] = {"label": _KEY[row["label"]]}
    return rows


def _facts(file: str, about: Any) -> Iterator[tuple[str, str]]:
    label = str(about.get("label") or _KEY.get(str(about.get("is_fake")), ""))
    yield "label", label
    yield "original", PurePosixPath(str(about.get("original") or file)).stem


def _beside(index: str, file: str, place: Place) -> str:
    """A file lies beside its list, or in a folder `videos` there."""
    home = PurePosixPath(index).parent
    inner = [str(home / folder / file).removeprefix("./") for folder in ("", "videos", "test_videos")]
    return next((path for path in inner if place.spelled(path)), inner[0])


def _source(facts: Facts) -> str:
    return f"dfdc:{facts.get('original', facts['stem'])}"


_TEST: Final = r"[^/]*(?P<split>test|validation)[^/]*/(?:[^/]+/)*(?P<stem>[^/]+)\.mp4"
_PART: Final = r"(?:[^/]*train[^/]*/)*(?P<stem>[^/]+)\.mp4"

LAYOUT: Final = Layout(
    title="DFDC",
    faces="retinaface",
    rules=(
        either(_TEST, _source, method="DFDC", split="{split}", listed=True),
        either(_PART, _source, method="DFDC", listed=True),
    ),
    lists=f"{CARD} in every part; {LABELS} or {CARD} beside a test set",
    index=_index,
    counts={"genuine train": 19154, "forged train": 100000},
    unverified=(f"In {LABELS} of a test set, 1 is read as forged.",),
    tells=(rf"(?:dfdc_train_part_\d+/)?{CARD}|[^/]*test[^/]*/{LABELS}",),
)
