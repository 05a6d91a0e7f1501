"""Ratios of what this project does to what it would take without it, in one run each.

    python -m benchmarks [--only NAME …] [--long] [--minutes 15] [--store] [--check] [--peers PYTHON]

Each benchmark is a module here with a function `rows()` that yields rows; every row is written into `ratios.json` and
RESULTS.md as soon as it is there, so that a run that is cut off keeps what it has. When the minutes are over no further
benchmark is begun, and those left out are named. Whatever is worse than its stored ratio by more than a tenth is reported at
the end, with `--check` as exit code 1. `--store` makes the ratios of this run the stored ones. `--long` measures what
takes hours too, and takes it up where it was left. PYTHON is an interpreter that has the peers (see `benchmarks.peers`).
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import ratios
from benchmarks.ratios import Row

BENCHMARKS = ("loop", "data", "scoring", "curation", "waits", "script", "peers")
"""Modules, the most telling first."""
LONG = ("crop", "joint")
PAGE = Path(__file__).with_name("RESULTS.md")


def measured(names: Sequence[str], *, until: float) -> Iterator[Row]:
    """The rows of these benchmarks as they come; one that fails or is not there is a row that says so."""
    for name in names:
        if time.monotonic() > until:
            yield ratios.missing(name, "–", "the minutes were over before it began")
        elif importlib.util.find_spec(f"benchmarks.{name}") is None:
            yield ratios.missing(name, "–", f"there is no benchmarks/{name}.py")
        else:
            print(f"-- {name}", file=sys.stderr, flush=True)
            try:
                yield from importlib.import_module(f"benchmarks.{name}").rows()
            except Exception as fault:  # the others still have their rows
                traceback.print_exc()
                yield ratios.missing(name, "–", f"failed: {type(fault).__name__}: {fault}".replace("\n", " "))


def run(
    names: Sequence[str], *, minutes: float, store: bool, page: Path = PAGE, file: Path = ratios.STORE
) -> list[str]:
    """Measure, write after every row, and return a sentence for every regression against what was stored before."""
    before = kept = ratios.load(file)
    where, commit, date = ratios.machine(), ratios.commit(), ratios.today()
    rows = []
    for row in measured(names, until=time.monotonic() + minutes * 60):
        rows.append(row)
        told = "missing" if row.ratio is None else f"{row.ratio:.3f}"
        print(f"{row.name}: {told} of {row.baseline}: {row.numbers}", flush=True)
        if row.name in names and row.ratio is None:
            continue  # a whole benchmark that did not run: what it found last time stays
        kept = ratios.taken_up(kept, row, where=where, commit=commit, date=date, store=store)
        ratios.save(kept, file)
        text = page.read_text() if page.is_file() else "# Measured\n"
        page.write_text(ratios.written_into(text, ratios.table_of(kept)))
    return ratios.regressions(rows, before)


def main() -> None:
    chosen = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    chosen.add_argument("--only", nargs="+", choices=(*BENCHMARKS, *LONG), metavar="NAME")
    chosen.add_argument("--long", action="store_true", help=f"also {', '.join(LONG)}, which takes hours")
    chosen.add_argument("--minutes", type=float, default=15)
    chosen.add_argument("--store", action="store_true", help="hold later runs against these ratios")
    chosen.add_argument("--check", action="store_true", help="exit with 1 where a ratio became worse")
    chosen.add_argument("--peers", metavar="PYTHON", help="an interpreter that has avalanche-lib, mammoth")
    asked = chosen.parse_args()
    if asked.peers:
        os.environ["PERENNIAL_BENCH_PEERS"] = asked.peers
    names = asked.only or [*BENCHMARKS, *(LONG if asked.long else ())]
    minutes = float("inf") if asked.long else asked.minutes
    worse = run(names, minutes=minutes, store=asked.store)
    print(
        "\n".join(
            ["", "Worse than stored by more than a tenth:", *worse] if worse else ["", "Nothing is worse than stored."]
        )
    )
    sys.exit(1 if worse and asked.check else 0)


if __name__ == "__main__":
    main()
