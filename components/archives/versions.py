"""What a later version of an archive changes: clips that came, went, were mended, and what would leak if it landed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import pandas as pd

from components.archives.listing import first

_CLAIMS: Final = ("label", "method", "identity", "source")


@dataclass(frozen=True, slots=True)
class Changes:
    """Paths of clips, sorted; a clip is of one kind alone."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    """Other bytes under the same path."""
    moved: tuple[str, ...] = ()
    """The same bytes under another path: the new one."""
    relabelled: tuple[str, ...] = ()
    """Another label, method, identity or source."""
    split_anew: tuple[str, ...] = ()
    """Another split, and nothing else."""

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))

    @property
    def words(self) -> str:
        """`3 added (a.mp4, b.mp4, c.mp4), 1 relabelled (c.mp4)`"""
        said = {field.name.replace("_", " "): getattr(self, field.name) for field in fields(self)}
        return ", ".join(f"{len(paths)} {kind} ({first(paths)})" for kind, paths in said.items() if paths) or "nothing"


def compare(before: pd.DataFrame, after: pd.DataFrame) -> Changes:
    """What differs between the manifests of two versions."""
    old, new = before.set_index("path"), after.set_index("path")
    gone, come = old.index.difference(new.index), new.index.difference(old.index)
    moved = come[new.loc[come, "sha256"].isin(old.loc[gone, "sha256"])]
    left = gone[~old.loc[gone, "sha256"].isin(new.loc[come, "sha256"])]
    both = old.index.intersection(new.index)
    was, now = old.loc[both], new.loc[both]
    replaced = was["sha256"] != now["sha256"]
    relabelled = ~replaced & (was[[*_CLAIMS]] != now[[*_CLAIMS]]).any(axis=1)
    split_anew = ~replaced & ~relabelled & (was["split"] != now["split"])
    return Changes(
        added=_sorted(come.difference(moved)),
        removed=_sorted(left),
        replaced=_sorted(both[replaced]),
        moved=_sorted(moved),
        relabelled=_sorted(both[relabelled]),
        split_anew=_sorted(both[split_anew]),
    )


def torn(before: pd.DataFrame, after: pd.DataFrame) -> list[str]:
    """Clips of the later version in another split than their source, or their bytes, were in: whoever learned the earlier
    one has seen what would be asked, or learns what it was asked."""
    found = np.zeros(len(after), bool)
    for key in ("source", "sha256"):
        seen = set(zip(before[key], before["split"], strict=True))
        pairs = zip(after[key], after["split"], strict=True)
        found |= after[key].isin(before[key]).to_numpy() & [pair not in seen for pair in pairs]
    return sorted(after.loc[found, "path"])


def _sorted(paths: pd.Index[str]) -> tuple[str, ...]:
    return tuple(sorted(paths))
