"""CDDB: thirteen sources of generated images, for continual learning; all of it, or one source's folder.

    <task>/{train|val}/[<class>/]{0_real|1_fake}/<image>      or, below the folder of one task, without <task>

Tasks are gaugan biggan cyclegan imle deepfake crn wild, glow stargan_gf stylegan whichfaceisreal san. Only those of cyclegan,
glow, stargan_gf and stylegan have classes. The released `val` is what the benchmark examines, so it is test here. Nothing
ties images together: each is its own source. Many show no face; they are taken whole.

Source   Li et al., WACV 2023; coral79/CDDB, as its loader reads the folders
"""

from __future__ import annotations

from typing import Final

from components.archives.layout import STILL, Facts, Layout, either
from components.vocabulary import TEST, TRAIN


def _split(facts: Facts) -> str:
    return TRAIN if facts["split"].casefold() == TRAIN else TEST


def _method(facts: Facts) -> str:
    return facts.get("task", "generated")


def _source(facts: Facts) -> str:
    place = (facts.get("task", ""), facts["split"], facts.get("class", ""), facts["label"], facts["stem"])
    return f"cddb:{'/'.join(part for part in place if part)}"


LAYOUT: Final = Layout(
    title="CDDB",
    faces="none",
    rules=(
        either(
            rf"(?:(?P<task>[^/]+)/)?(?P<split>train|val)/(?:(?P<class>[^/]+)/)?(?P<label>0_real|1_fake)/(?P<stem>[^/]+){STILL}",
            _source,
            method=_method,
            split=_split,
        ),
    ),
    lists="none is needed: folders say label and split",
    notes=("Its `val` is what the benchmark examines: it is test here.",),
    unverified=(
        "That names of images tie nothing together: the frames of task `deepfake` may come from shared videos.",
    ),
    carves=False,
    tells=(r"(?:[^/]+/)?(?:train|val)/(?:[^/]+/)?(?:0_real|1_fake)/.*",),
)
