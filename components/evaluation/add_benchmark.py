"""Stage add_benchmark: an archive joins the bench, the ordered list of what generations may be examined on.

    python -m components.evaluation.add_benchmark FACES BEFORE BENCH --name NAME

A bench is written once and never changes when later archives land, so a generation examined on it stays examined.
"""

from __future__ import annotations

import json
from pathlib import Path

from components import stage
from components.errors import BrokenLineage
from components.faces.about import read_about
from components.writing import replace_text

BENCH_FILE = "bench.json"


def add_benchmark(faces: Path, before: Path, bench: Path, *, name: str) -> None:
    """Write the bench up to and with archive `name`.

    faces   its face table
    before  the bench of the archive that landed before it; an empty folder for the first
    bench   output: bench.json, {archive: {"faces": digest}} in the order of landing
    """
    listed = read_bench(before) if (before / BENCH_FILE).is_file() else {}
    if name in listed:
        raise BrokenLineage(
            f"expected '{name}' to join a bench it is not on, found it in '{before / BENCH_FILE}'. "
            f"Check archives.{name}.after in params.yaml."
        )
    digest: str = read_about(faces)["digest"]
    entries = {**{old: {"faces": known} for old, known in listed.items()}, name: {"faces": digest}}
    replace_text(bench / BENCH_FILE, json.dumps(entries, indent=2) + "\n")  # the order of landing is information


def read_bench(folder: Path) -> dict[str, str]:
    """Archive -> digest of its faces, in the order of landing; raises BrokenLineage where there is no bench."""
    path = folder / BENCH_FILE
    if not path.is_file():
        raise BrokenLineage(f"expected a bench at '{path}', found none. Run `dvc repro add_benchmark@{folder.name}`.")
    return {name: entry["faces"] for name, entry in json.loads(path.read_text()).items()}


if __name__ == "__main__":
    stage.run(add_benchmark)
