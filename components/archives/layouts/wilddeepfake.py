"""WildDeepfake: face crops of forgeries and genuine videos found on the web.

    {real|fake} {train|test}/<n>/{real|fake}/<sequence>/<frame>.png      a space, or an underscore in the HF copy

Unpack the <n>.tar.gz first, each in its place.

Numbers of shards and sequences repeat across the four folders, so a source is folder, shard and sequence. Faces are 224 px
crops; each frame is a still. Videos and people are not named: nothing tells whether two sequences show one person.

Source   Zi et al., ACM MM 2020; deepfakeinthewild/deepfake-in-the-wild@d84edbcf, README.md
"""

from __future__ import annotations

from typing import Final

from components.archives.layout import STILL, Layout, either

FOLDER: Final = "(?P<label>real|fake)[ _](?P<split>train|test)"

LAYOUT: Final = Layout(
    title="WildDeepfake",
    faces="none",
    rules=(
        either(
            rf"{FOLDER}/(?P<shard>[^/]+)/(?:(?:real|fake)/)?(?P<sequence>[^/]+)/[^/]+{STILL}",
            "wilddeepfake:{label}_{split}/{shard}/{sequence}",
            method="wild",
            split="{split}",
        ),
    ),
    lists="none is needed: folders say label and split",
    notes=("People are not named: one may be in both splits, and nothing here can tell.",),
    unverified=(
        "The official counts are of sequences (train 3,409 genuine and 3,099 forged, test 396 and 410), not of frames.",
    ),
    tells=(r"(?:real|fake)[ _](?:train|test)/.*",),
)
