"""TalkingHeadBench: heads that generators let talk, and a list of genuine videos of two other archives.

    fake/<generator>/{train|val|test}/<n>--<driver>--<generator>.mp4
    fake/additional_dataset/<generator>/<n>--<driver>--<generator>.mp4      of generators nobody learns: test
    real/real_dataset_split_official_ff++.json       {"Train": {"FaceForensics++": [names], "CelebV-HQ": [names]}, …}
    real/…/<name>.mp4                                the videos of that list, which are not part of the download
    audio/…                                          ignored

Fetch the genuine videos from FaceForensics++ and CelebV-HQ and put them below `real`, in folders of any name. In other
archives a video of FaceForensics++ is `ffpp:033_097`.

Source   its public loader, talkingheadbench.py@324a4ef4, and the tree its authors publish
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from components.archives.layout import VIDEO, Facts, Layout, Place, Survey, forged, genuine, passed, split_of
from components.archives.origins import source_of
from components.errors import BadArchive

LIST: Final = r"real/real_dataset_split_official_ff\+\+\.json"
NAME: Final = rf"(?P<number>[^/]+?)--(?P<driver>[^/]+)--[^/]+{VIDEO}"
SOURCE: Final = "talkingheadbench:{number}--{driver}"


def _listed(place: Place, _: Survey) -> dict[str, Facts]:
    """Split and source of the genuine videos, by path; one that is not there by its name below `real`."""
    facts: dict[str, Facts] = {}
    videos = {PurePosixPath(path).stem: path for path in place.named(rf"real/.*{VIDEO}")}
    for name in place.named(LIST):
        try:
            for word, archives in place.json(name).items():
                split = split_of(word)
                for archive, names in archives.items():
                    for stem in (PurePosixPath(one).stem for one in names):
                        told = {"split": split, "source": source_of(archive, stem)}
                        facts[videos.get(stem, f"real/{stem}.mp4")] = told
        except (AttributeError, TypeError, KeyError) as fault:
            raise BadArchive(
                f"expected '{place.base / name}' to say split, archive and names, found something else ({fault!r}). "
                "Copy the official file again."
            ) from fault
    return facts


LAYOUT: Final = Layout(
    title="TalkingHeadBench",
    faces="retinaface",
    rules=(
        forged(rf"fake/additional_dataset/(?P<method>[^/]+)/{NAME}", SOURCE, split="test"),
        forged(
            rf"fake/(?P<method>[^/]+)/(?P<split>train|val|test)/{NAME}",
            SOURCE,
            split="{split}",
        ),
        genuine(rf"real/(?:.*/)?[^/]+{VIDEO}", "{source}", split="{split}", listed=True),
        passed(r"audio/.*"),
    ),
    lists="real/real_dataset_split_official_ff++.json, which comes with it, for the genuine videos, which do not",
    index=_listed,
    counts={"forged": 2994},
    unverified=(
        "The keys of the list of genuine videos below Train, Val and Test, and whether its names have a suffix.",
        "That forgeries are tied by their number and driver together, and not by one of them alone.",
        "That what lies in additional_dataset is examined and never learned.",
    ),
    carves=False,
    tells=(r"fake/[^/]+/.*--.*--.*",),
)
