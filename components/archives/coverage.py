"""How much of a public archive is here: against the lists it brings and the counts its publisher states.

What follows from it is one of five outcomes; of several the gravest stands for all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from components.archives import layouts
from components.archives.layout import Layout, Survey
from components.archives.listing import first
from components.vocabulary import FORGED, GENUINE, LABEL_NAMES, SPLITS


class Outcome(IntEnum):
    """Of a look at an archive; its number is the exit code of `perennial land --verify`."""

    WHOLE = 0
    MISSING = 3
    EXTRA = 4
    MISLABELLED = 5
    CONTRADICTORY = 6


MEANING: Final = {
    Outcome.WHOLE: "Whole, as far as lists and counts are known. It can land.",
    Outcome.MISSING: (
        "Partial. What is here can land, but results on a part do not compare with published ones, and people or sources "
        "that are missing are neither learned nor examined."
    ),
    Outcome.EXTRA: (
        "More is here than the publisher has. Files without a place in the layout keep it from landing: is it another "
        "archive, or another layout?"
    ),
    Outcome.MISLABELLED: "Lists and folders disagree about labels: it does not land. Copy both anew from one release.",
    Outcome.CONTRADICTORY: "Its lists contradict themselves: it does not land. Copy them anew.",
}
WITHOUT_FULL_LIST: Final = "Partial, by a list the layout wants whole: it does not land before the files are there."


@dataclass(frozen=True)
class Count:
    """Of clips that are one thing, here and officially."""

    what: str
    here: int
    official: int


@dataclass(frozen=True)
class Coverage:
    """What there is, and what should be."""

    layout: str
    clips: Mapping[str, int]
    """Number that would land, by split and label: "train real"."""
    counts: tuple[Count, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    mislabelled: tuple[str, ...]
    contradictory: tuple[str, ...]
    notes: tuple[str, ...]
    must_be_whole: bool = False

    @property
    def outcome(self) -> Outcome:
        if self.contradictory:
            return Outcome.CONTRADICTORY
        if self.mislabelled:
            return Outcome.MISLABELLED
        if self.extra or any(count.here > count.official for count in self.counts):
            return Outcome.EXTRA
        if self.missing or any(count.here < count.official for count in self.counts):
            return Outcome.MISSING
        return Outcome.WHOLE

    def lines(self) -> list[str]:
        """For a person."""
        have = ", ".join(f"{number} {what}" for what, number in self.clips.items())
        lines = [f"have: {sum(self.clips.values())} clips ({have or 'none'})"]
        lines += [f"  {count.what}: {count.here} of {count.official}" for count in self.counts]
        kinds = {
            "missing": self.missing,
            "extra": self.extra,
            "label mismatch": self.mislabelled,
            "contradictory": self.contradictory,
        }
        lines += [f"{kind}: {len(names)}{': ' * bool(names)}{first(names)}" for kind, names in kinds.items()]
        partial = self.outcome is Outcome.MISSING and self.must_be_whole
        return [*lines, *self.notes, WITHOUT_FULL_LIST if partial else MEANING[self.outcome]]

    def json(self) -> dict[str, Any]:
        """For a machine."""
        return {
            "layout": self.layout,
            "outcome": self.outcome.name.lower(),
            "have": dict(self.clips),
            "counts": [{"what": count.what, "here": count.here, "official": count.official} for count in self.counts],
            "missing": list(self.missing),
            "extra": list(self.extra),
            "mislabelled": list(self.mislabelled),
            "contradictory": list(self.contradictory),
            "notes": list(self.notes),
        }


def look(layout: str, root: Path) -> Coverage:
    """Compare the archive at `root` with what its publisher says; raises BadArchive where it is none of this layout."""
    seen = layouts.survey(layout, root)
    declared = layouts.declared_by(layout)
    by_place = Counter((SPLITS.index(clip.split), clip.label) for clip in seen.clips)
    return Coverage(
        layout=layout,
        clips={f"{SPLITS[split]} {LABEL_NAMES[label]}": n for (split, label), n in sorted(by_place.items())},
        counts=tuple(_counts(declared, seen)) if declared else (),
        missing=tuple(seen.missing),
        extra=_said(seen.extra),
        mislabelled=_said(seen.mislabelled),
        contradictory=_said(seen.faults.kinds),
        notes=tuple(seen.words()),
        must_be_whole=seen.whole,
    )


def _counts(declared: Layout, seen: Survey) -> Iterable[Count]:
    """Of each variant that is here at all."""
    here: Counter[tuple[str, str]] = Counter()
    for one in seen.found:
        names = {one.method, "forged" if one.label == FORGED else GENUINE}
        here.update((one.part, what) for name in names for what in (name, f"{name} {one.split}"))
    for part in sorted({part for part, _ in here}):
        for what, official in declared.counts.items():
            yield Count(f"{what}, {part}" if part else what, here[part, what], official)


def _said(kinds: Mapping[str, list[str]]) -> tuple[str, ...]:
    return tuple(f"{place} ({kind})" for kind, places in kinds.items() for place in places)
