"""OpenForensics: pictures of several people of whom some are forged.

    {Train|Val|Test-Dev|Test-Challenge}/<image>.jpg
    {Train|Val|Test-Dev|Test-Challenge}_poly.json        COCO: images, categories, annotations with bbox and category_id

An annotation is one face, and one face is one clip (`Train/a.jpg#xywh=10,20,64,64`), since genuine and forged ones share a
picture. What a category means is read from `categories`, never from its number. The source is the picture. Both test parts
are test.

Source   Le et al., ICCV 2021; ltnghia/openforensics@81ed2655 (Zenodo 5528418)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

from components.archives import fragments
from components.archives.layout import ASIDE, FRAGMENT, STILL, Facts, Layout, Place, Survey, either
from components.errors import BadArchive

PARTS: Final = {"Train": "train", "Val": "val", "Test-Dev": "test", "Test-Challenge": "test"}


def _index(place: Place, _: Survey) -> Mapping[str, list[Facts]]:
    lists = {part: place.named(rf"(?:.*/)?{part}_poly\.json") for part in PARTS}
    if not any(lists.values()):
        raise BadArchive(
            f"expected 'Train_poly.json' or another part's in '{place.base}', found none. Copy the official lists."
        )
    rows: dict[str, list[Facts]] = {}
    for part, names in lists.items():
        for name in names[:1]:
            told = place.json(name)
            meaning = {category["id"]: str(category["name"]) for category in told["categories"]}
            pictures = {image["id"]: f"{part}/{PurePosixPath(image['file_name']).name}" for image in told["images"]}
            rows |= {_path(picture, place): [] for picture in pictures.values()}
            for face in told["annotations"]:
                facts = {"label": meaning[face["category_id"]], FRAGMENT: fragments.face(*face["bbox"])}
                rows[_path(pictures[face["image_id"]], place)].append(facts)
    return {path: faces or [{ASIDE: "no face of theirs is annotated"}] for path, faces in rows.items()}


def _path(path: str, place: Place) -> str:
    part, _, name = path.partition("/")
    return next((inner for inner in (path, f"Images/{path}", f"{part}/{part}/{name}") if place.spelled(inner)), path)


LAYOUT: Final = Layout(
    title="OpenForensics",
    faces="retinaface",
    rules=(
        either(
            rf"(?:[^/]+/)*(?P<part>Train|Val|Test-Dev|Test-Challenge)/(?P<stem>[^/]+){STILL}",
            "openforensics:{part}/{stem}",
            method="GAN",
            split=lambda facts: PARTS[facts["part"].title()],
            listed=True,
        ),
    ),
    lists="the four *_poly.json, which come with the archive",
    index=_index,
    notes=(
        "Small faces the detector does not find count against validation.min_yield: lower it where many are small.",
    ),
    unverified=("That its categories are called Real and Fake: whatever else they are called is refused.",),
    carves=False,
    tells=(r"(?:.*/)?(?:Train|Val|Test-Dev|Test-Challenge)_poly\.json",),
)
