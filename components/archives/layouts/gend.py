"""What GenD's preprocessing writes: face crops, and lists of them.

    datasets/<set>/<class>/<video>/<nnn>.png
    config/datasets/<set>/{train|val|test}/<class>.txt      one path a line: datasets/FF/DF/000_003/000.png

Classes that are called real, or end in -real, are genuine. Each frame is a still. A file of a set that no list names is
extra. Sources are those of the archive behind it, where a name tells.

Source   yermandy/GenD@b26c2b25d61b, config/datasets
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

from components.archives.layout import STILL, Facts, Layout, Place, Survey, either
from components.archives.origins import source_of
from components.errors import BadArchive


def _index(place: Place, seen: Survey) -> Mapping[str, Facts]:
    lists = place.named(r"(?:config/)?datasets/[^/]+/(?:train|val|test)/[^/]+\.txt")
    if not lists:
        raise BadArchive(f"expected 'config/datasets/<set>/<split>/<class>.txt' in '{place.base}', found none.")
    rows: dict[str, Facts] = {}
    for name in lists:
        path = PurePosixPath(name)
        label = "real" if path.stem.casefold().endswith("real") else "fake"
        for line in place.lines(name):
            frame = line.strip().replace("\\", "/")
            if frame in rows and rows[frame]["split"] != path.parts[-2]:
                seen.faults.add("in two split lists", f"'{frame}'")
            rows[frame] = {"label": label, "split": path.parts[-2], "method": path.stem}
    return rows


LAYOUT: Final = Layout(
    title="GenD's lists of frames",
    faces="none",
    rules=(
        either(
            rf"datasets/(?P<set>[^/]+)/(?P<class>[^/]+)/(?P<video>[^/]+)/[^/]+{STILL}",
            lambda facts: source_of(facts["set"], facts["video"]),
            split="{split}",
            listed=True,
        ),
    ),
    lists="config/datasets/<set>/<split>/<class>.txt, of its repository",
    index=_index,
    unverified=("Sources of sets other than FaceForensics++ and Celeb-DF are the names of their videos alone.",),
    carves=False,
    tells=(r"(?:config/)?datasets/[^/]+/(?:train|val|test)/[^/]+\.txt", rf"datasets/.*{STILL}"),
)
