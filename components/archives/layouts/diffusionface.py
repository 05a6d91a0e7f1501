"""The SDv2.1 part of DiffusionFace (DiffFace), with the genuine faces beside it.

    SDv2.1/…/<image>                     forged; also SD2.1, sd21, Stable_Diffusion_v2.1 …
    {real|ffhq|celebahq}/…/<image>       genuine; of FFHQ a number is the same face in every archive (`ffhq:1234`)

No tree and no split is published: it is cut by the image's name, so that a face and what may have been made of it stay
together.

Source   Rapisurazurite/DiffFace@1a53257b (Zenodo 10865300 and 10865065); its SDv2.1 part as beautyremain/SUR-LID uses it
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final

from components.archives.layout import STILL, Facts, Layout, forged, genuine

PORTRAIT: Final = rf"(?P<rest>(?:[^/]+/)*[^/]+{STILL})"


def _source(facts: Facts) -> str:
    stem = PurePosixPath(facts["rest"]).stem
    known = facts.get("set", "ffhq").casefold().startswith("ffhq") and re.fullmatch(r"\d+", stem)
    return f"ffhq:{int(stem)}" if known else f"diffusionface:{stem}"


LAYOUT: Final = Layout(
    title="DiffusionFace, SDv2.1",
    faces="none",
    rules=(
        forged(rf"(?:[^/]+/)*?(?:sd|stable[ _-]?diffusion)[ _-]?v?2[._]?1[^/]*/{PORTRAIT}", _source, method="SDv2.1"),
        genuine(rf"(?:[^/]+/)*?(?P<set>real|ffhq|celeba)[^/]*/{PORTRAIT}", _source),
    ),
    lists="none is published",
    unverified=(
        "The whole tree: the repository shows none, and folders are told by their names.",
        "That a forged image whose name is a number has to do with the FFHQ face of that number: they stay in one split.",
    ),
    tells=(r"(?:[^/]+/)*?(?:sd|stable[ _-]?diffusion)[ _-]?v?2[._]?1[^/]*/.*",),
)
