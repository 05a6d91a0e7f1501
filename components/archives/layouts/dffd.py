"""DFFD: genuine faces, forgeries of them by apps and generators, and frames of FaceForensics++, as face crops.

    <class>/{train|validation|test}/<image>
    genuine    youtube  ffhq  celeba or celeba_2w
    forged     faceapp  stargan  pggan_v1  pggan_v2  stylegan_celeba  stylegan_ffhq  Deepfakes  FaceSwap  Face2Face

One zip a class: unpack each of them. What FaceApp changed are photographs of FFHQ, and those in its validation and test
folders are among the ones that class ffhq trains on: they are left out. In other archives a face of FFHQ is `ffhq:1234`.

Source   Dang et al., CVPR 2020; the folders as public loaders read them
"""

from __future__ import annotations

import re
from typing import Final

from components.archives.layout import STILL, Facts, Layout, aside, forged, genuine

GENUINE: Final = "youtube|ffhq|celeba(?:_2w)?"
FORGED: Final = (
    "stargan", "pggan_v1", "pggan_v2", "stylegan_celeba", "stylegan_ffhq", "Deepfakes", "FaceSwap", "Face2Face",
)  # fmt: skip
IMAGE: Final = rf"(?P<stem>[^/]+){STILL}"
SPLIT: Final = "(?P<split>train|validation|test)"


def _source(facts: Facts) -> str:
    """The photograph of FFHQ that a number means; any other image is its own source."""
    number = re.search(r"(\d+)$", facts["stem"])
    if number and facts["class"].casefold() in ("ffhq", "faceapp"):
        return f"ffhq:{int(number[1])}"
    return f"dffd:{facts['class']}/{facts['stem']}"


LAYOUT: Final = Layout(
    title="DFFD, Diverse Fake Face Dataset",
    faces="none",
    rules=(
        genuine(rf"(?P<class>{GENUINE})/{SPLIT}/{IMAGE}", _source, split="{split}"),
        forged(rf"(?P<class>faceapp)/(?P<split>train)/{IMAGE}", _source, "{class}", split="{split}"),
        aside(rf"faceapp/(?:validation|test)/[^/]+{STILL}", "FaceApp changed faces here that class ffhq trains on"),
        forged(rf"(?P<class>{'|'.join(FORGED)})/{SPLIT}/{IMAGE}", _source, "{class}", split="{split}"),
    ),
    lists="none is needed: folders say class and split; the published lists name images that the zips lack",
    unverified=(
        "That the number a file of ffhq or faceapp ends in is the number of the photograph in FFHQ.",
        "That images of youtube, Deepfakes, FaceSwap and Face2Face are tied by nothing but their split: which video of "
        "FaceForensics++ one shows is not read from its name.",
    ),
    carves=False,
    tells=(rf"(?:ffhq|faceapp|stargan|pggan_v[12]|stylegan_(?:celeba|ffhq))/{SPLIT}/.*",),
)
