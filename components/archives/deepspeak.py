"""What the versions of DeepSpeak share: names of genuine clips, and a split of identities."""

from __future__ import annotations

from typing import Final

from components.archives.layout import BOTH_SIDES, Found, Place, Survey, split_of
from components.errors import BadArchive

SPLITS_FILE: Final = "annotations-split-def.csv"
GENUINE_NAME: Final = r"(?:[^/]+/)*(?P<target>[^-/]+)-(?P<take>[^-/]+)\.mp4"


def by_identity(found: list[Found], place: Place, seen: Survey) -> None:
    """Everybody is in the split the list gives them; a clip of people of both is left out."""
    tables = place.named(rf"(?:.*/)?{SPLITS_FILE}")
    if not tables:
        raise BadArchive(
            f"expected '{SPLITS_FILE}' in '{place.base}', found none. It comes with the archive; copy it there."
        )
    split = {row["identity"]: split_of(row["split"]) for row in place.table(tables[0], "identity", "split")}
    for one in found:
        sides = {split.get(person.rpartition(":")[2], "") for person in one.people}
        if "" in sides:
            seen.faults.add(f"identity that is not in {SPLITS_FILE}", f"'{one.path}'")
            continue
        one.aside = BOTH_SIDES if len(sides) > 1 else ""
        one.split = sides.pop()
