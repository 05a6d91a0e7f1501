"""A measured number, honest about its uncertainty and about not existing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A value with its confidence interval; what is undefined is None with a reason, never a stand-in such as 0.5."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    """Why the value, or only its interval, is undefined."""

    @classmethod
    def undefined(cls, reason: str) -> Estimate:
        return cls(None, reason=reason)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Estimate:
        return cls(raw["value"], raw.get("low"), raw.get("high"), raw.get("reason"))

    def as_json(self) -> dict[str, float | str | None]:
        return {"value": self.value, "low": self.low, "high": self.high, "reason": self.reason}
