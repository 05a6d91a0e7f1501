"""Markdown tables, and numbers in them: a dash where one is not known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with these columns."""
    return "".join("| " + " | ".join(line) + " |\n" for line in [head, ["---"] * len(head), *rows])


def plain(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:z.{digits}f}"


def mean_if_known(values: Sequence[float | None]) -> float | None:
    """Their mean, where there are some and all of them are known."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None
