"""What a benchmark says, what was said before, and which of it is worse now."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Literal

ROOT = Path(__file__).parents[1]
STORE = Path(__file__).with_name("ratios.json")
TOLERANCE = 0.10
"""A ratio that is worse by more than this share of the stored one is a regression."""

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Row:
    """One ratio of one run.

    ratio   ours to the baseline, both of this run; None where it could not be measured
    better  which way is good: `lower` for times, `higher` for rates
    numbers what was measured, in words; where nothing was, why
    """

    name: str
    baseline: str
    ratio: float | None
    better: Better
    numbers: str


@dataclass(frozen=True)
class Kept:
    """A row as it was measured last, and the ratio that later ones are held against."""

    row: Row
    stored: float | None
    machine: str
    commit: str
    date: str


def missing(name: str, baseline: str, why: str) -> Row:
    """A row that names what is not there."""
    return Row(name, baseline, None, "lower", why)


def alternating(ours: Callable[[], float], baseline: Callable[[], float], pairs: int = 5) -> list[tuple[float, float]]:
    """What both return, by turns, so that a machine that changes its pace changes it for both."""
    return [(ours(), baseline()) for _ in range(pairs)]


def compared(
    name: str,
    baseline: str,
    pairs: Sequence[tuple[float, float]],
    *,
    unit: str,
    better: Better = "lower",
    scale: float = 1,
) -> Row:
    """The median ratio of the pairs, with the medians of both in words."""
    ours, plain = (median(pair[i] for pair in pairs) * scale for i in (0, 1))
    ratio = median(a / b for a, b in pairs)
    return Row(name, baseline, ratio, better, f"{ours:.4g} {unit} against {plain:.4g}; {len(pairs)} alternating pairs")


def seconds(act: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


# -- the store ---------------------------------------------------------------------------------------------------------------


def load(file: Path = STORE) -> dict[str, Kept]:
    """By name; empty where nothing was stored yet."""
    said = json.loads(file.read_text()) if file.is_file() else {}
    return {name: Kept(**{**one, "row": Row(**one["row"])}) for name, one in said.items()}


def save(kept: Mapping[str, Kept], file: Path = STORE) -> None:
    """Replace the file as a whole, so that a run that is killed leaves the old one or the new one."""
    fresh = file.with_suffix(".fresh")
    fresh.write_text(json.dumps({name: asdict(one) for name, one in kept.items()}, indent=1, ensure_ascii=False) + "\n")
    fresh.replace(file)


def taken_up(kept: Mapping[str, Kept], row: Row, *, where: str, commit: str, date: str, store: bool) -> dict[str, Kept]:
    """`kept` with this row; its ratio becomes the one to hold others against where there is none, or with `store`.

    A row that could not be measured now leaves one that was.
    """
    before = kept.get(row.name)
    if row.ratio is None and before and before.row.ratio is not None:
        return dict(kept)
    stored = row.ratio if before is None or before.stored is None or store else before.stored
    return {**kept, row.name: Kept(row, stored, where, commit, date)}


def worse(row: Row, stored: float | None, tolerance: float = TOLERANCE) -> bool:
    """Whether the row's ratio is worse than the stored one by more than the tolerance."""
    if row.ratio is None or stored is None:
        return False
    return row.ratio > stored * (1 + tolerance) if row.better == "lower" else row.ratio < stored * (1 - tolerance)


def regressions(rows: Iterable[Row], stored: Mapping[str, Kept]) -> list[str]:
    """A sentence for every row that is worse than its stored ratio."""
    return [
        f"{row.name}: {row.ratio:.3f} of {row.baseline}, stored {stored[row.name].stored:.3f} ({row.better} is better)"
        for row in rows
        if row.name in stored and worse(row, stored[row.name].stored)
    ]


# -- where and when ----------------------------------------------------------------------------------------------------------


def machine(threads: int = 1) -> str:
    """Where this ran, in words."""
    load_1 = f"load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else "load unknown"
    return f"{processor()}, {os.cpu_count()} cores ({threads} used), no accelerator, {platform.system()}, {load_1}"


def processor() -> str:
    """Its name."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def commit() -> str:
    """The commit of the checkout, with a mark where files differ from it; "unknown" outside one."""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return said.stdout.strip()


def today() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d")


# -- the page ----------------------------------------------------------------------------------------------------------------

BEGIN, END = "<!-- ratios: written by `make bench` -->", "<!-- end of the ratios -->"


def table_of(kept: Mapping[str, Kept]) -> str:
    """Markdown, with a line for each machine, commit and date there is."""
    lines = ["| | baseline | ratio | stored | better | numbers | run |", "|---|---|--:|--:|---|---|--:|"]
    runs = list(dict.fromkeys((one.machine, one.commit, one.date) for one in kept.values()))
    for one in kept.values():
        row, run = one.row, runs.index((one.machine, one.commit, one.date)) + 1
        ratio, stored = ("missing" if r is None else f"{r:.3f}" for r in (row.ratio, one.stored))
        lines.append(f"| {row.name} | {row.baseline} | {ratio} | {stored} | {row.better} | {row.numbers} | {run} |")
    told = [f"{i}. {date}, commit {at}: {where}." for i, (where, at, date) in enumerate(runs, start=1)]
    return "\n".join([*lines, "", "Runs:", "", *told])


def written_into(page: str, table: str) -> str:
    """The page with the table between its marks, where they were or at its end."""
    block = f"{BEGIN}\n\n{table}\n\n{END}"
    before, found, rest = page.partition(BEGIN)
    if not found:
        return f"{page.rstrip()}\n\n{block}\n"
    return before + block + rest.partition(END)[2]
