"""What `perennial withdraw` found and did, in words for a person."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from components.withdrawal.witnesses import Seen

OUT_OF_REACH = "DVC remotes and other clones are out of reach from here"


@dataclass
class Withdrawn:
    """What `withdraw` found and did."""

    words: list[str]
    """What was withdrawn, in words."""
    already: bool
    """It had been withdrawn before."""
    seen: dict[str, Seen]
    descendants: list[str]
    """Generations that met none of it, raised from one that did."""
    renewed: list[str] = field(default_factory=list)
    """Whose memory was made anew."""
    still_here: list[str] = field(default_factory=list)
    """Folders of this workspace that hold some of it as before, and why."""
    elsewhere: dict[str, int] = field(default_factory=dict)
    """Other archives with clips of the same name for a source or an identity."""
    purged: int | None = None
    """Files taken out of the local cache; None where that was not asked for."""


def told(found: Withdrawn) -> str:
    """What `withdraw` did, for a person."""
    what = "; ".join(found.words)
    kept = "the local cache keeps what it had (--purge)"
    cache = kept if found.purged is None else f"{found.purged} files purged from the local cache"
    return "\n".join(
        [
            f"{what}: {'had been withdrawn already' if found.already else 'will never be learned or replayed again'}.",
            *(f"  {name} {_counts(seen)}; its weights stay as they are" for name, seen in found.seen.items()),
            *(f"  {name} descends from one that did" for name in found.descendants),
            *(["  no generation has met it"] if not found.seen else []),
            *(f"  {name} has a memory without it now" for name in found.renewed),
            *(f"  still here: {place}" for place in found.still_here),
            *(f"  of the same name in '{name}': {n} clips, which stay" for name, n in found.elsewhere.items()),
            f"  {cache}; {OUT_OF_REACH}",
        ]
    )


def _counts(seen: Seen) -> str:
    """`learned 4, kept 1 of its faces`"""
    return ", ".join(f"{verb} {n}" for verb, n in asdict(seen).items() if n) + " of its faces"
