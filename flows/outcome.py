"""What one lifecycle did; apart from it, so that whoever tells of it need not start an engine."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """What one lifecycle did."""

    ran: list[str] = field(default_factory=list)
    """Stage instances that had to run."""
    failed: dict[str, str] = field(default_factory=dict)
    """Stage instance, and its last words."""
    planned: list[str] = field(default_factory=list)
    promoted: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def nothing_to_do(self) -> bool:
        return not (self.ran or self.failed or self.planned or self.promoted)
