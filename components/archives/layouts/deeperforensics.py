"""DeeperForensics-1.0.

    manipulated_videos/<variant>/<target>_<actor>.mp4      1,000 in each of 11 variants: end_to_end, end_to_end_level_<1..5>,
                                                           end_to_end_random_level, end_to_end_mix_{2,3,4}_distortions,
                                                           reenact_postprocess
    lists/splits/{train,val,test}.txt                      forgeries alone: 703, 96 and 201
    source_videos/…                                        the actors; not the genuine class
    original_sequences/youtube/c23/videos/<target>.mp4     the genuine class: copy it here from FaceForensics++

`033_W010.mp4` is video 033 of FaceForensics++ (`ffpp:033`) with the face of actor W010. One line of a list stands for all
variants. The lists are cut by actor.

Source   Jiang et al., CVPR 2020; EndlessSora/DeeperForensics-1.0@21c309c06691, dataset/README.md
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from components.archives.layout import Found, Layout, Place, Survey, aside, forged, genuine
from components.errors import BadArchive
from components.vocabulary import FORGED, SPLITS

VARIANTS: Final = (
    "end_to_end",
    *(f"end_to_end_level_{n}" for n in range(1, 6)),
    "end_to_end_random_level",
    *(f"end_to_end_mix_{n}_distortions" for n in (2, 3, 4)),
    "reenact_postprocess",
)


def _by_list(found: list[Found], place: Place, seen: Survey) -> None:
    """A forgery is in the split whose list names its target and actor, a genuine clip in that of its forgeries."""
    of_forgery, of_target = {}, {}
    for split in SPLITS:
        if not place.named(rf"lists/splits/{split}\.txt"):
            raise BadArchive(
                f"expected 'lists/splits/{split}.txt' in '{place.base}', found none. Copy the official lists."
            )
        for line in place.lines(f"lists/splits/{split}.txt"):
            stem = PurePosixPath(line.strip()).stem
            of_forgery[stem] = of_target[stem.partition("_")[0]] = split
    for one in found:
        listed = of_forgery if one.label == FORGED else of_target
        name = PurePosixPath(one.path).stem
        if name not in listed:
            seen.add_extra("in no split list", one.path)
        one.split = listed.get(name, one.split)
    there = {PurePosixPath(one.path).stem for one in found}
    seen.missing += sorted(f"manipulated_videos/*/{stem}.mp4" for stem in of_forgery if stem not in there)
    if all(one.label == FORGED for one in found):
        seen.notes.append(
            "No genuine clip is here: they are those of FaceForensics++ (c23). Copy its original_sequences/youtube/c23 "
            "beside manipulated_videos, or land it as a task whose genuine clips stand for both."
        )


LAYOUT: Final = Layout(
    title="DeeperForensics-1.0",
    faces="retinaface",
    rules=(
        forged(
            rf"manipulated_videos/(?P<method>{'|'.join(VARIANTS)})/(?P<target>\d{{3}})_(?P<actor>[MW]\d{{3}})\.mp4",
            "ffpp:{target}",
            people=("ffpp:{target}", "deeperforensics:{actor}"),
        ),
        genuine(
            r"original_sequences/youtube/(?:raw|c23|c40)/videos/(?P<target>\d{3})\.mp4",
            "ffpp:{target}",
            people=("ffpp:{target}",),
        ),
        aside(r"source_videos/.*", "they show the actors, and are not the genuine class"),
    ),
    lists="lists/splits/{train,val,test}.txt, which come with the archive",
    assign=_by_list,
    counts=dict.fromkeys(VARIANTS, 1000),
    carves=False,
    tells=(r"manipulated_videos/.*",),
)
