"""FFIW-10K: videos of several people of whom one or more are forged.

    source/{train|val|test}/<split>_<8 digits>.mp4           genuine
    target/{train|val|test}/<split>_<8 digits>.mp4           forged
    target_mask/{train|val|test}/<split>_<8 digits>.mp4      which pixels, hence which face

The same name in `source` and `target` is one source (`ffiw:train_00000000`). The test part is a later, separate download; its
folders lie beside the others, or both in a folder of their own. Nobody is named.

Source   Zhou et al., CVPR 2021; tfzhou/FFIW@f7d72756, README.md
"""

from __future__ import annotations

from typing import Final

from components.archives.layout import Layout, forged, genuine, passed

HOME: Final = "(?P<home>(?:[^/]+/)?)"
CLIP: Final = r"(?P<split>train|val|test)/(?P<name>[^/]+)\.mp4"

LAYOUT: Final = Layout(
    title="FFIW-10K",
    faces="retinaface",
    rules=(
        genuine(rf"{HOME}source/{CLIP}", "ffiw:{name}", split="{split}"),
        forged(
            rf"{HOME}target/{CLIP}",
            "ffiw:{name}",
            method="FFIW",
            split="{split}",
            mask="{home}target_mask/{split}/{name}.mp4",
        ),
        passed(rf"{HOME}target_mask/.*"),
    ),
    lists="none is needed: folders say the split; {train,val,test}.json are not read",
    counts={
        f"{label} {split}": n
        for label in ("genuine", "forged")
        for split, n in (("train", 8000), ("val", 250), ("test", 1738))
    },
    tells=(rf"{HOME}source/{CLIP}", rf"{HOME}target/{CLIP}"),
)
