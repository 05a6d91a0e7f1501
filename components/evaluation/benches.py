"""The face tables of benchmarks, which must be those their bench lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from components.errors import BrokenLineage
from components.faces.table import FaceTable
from components.settings import settings


def benchmarks(names: Sequence[str], listed: Mapping[str, str], faces: Path, bench: Path) -> dict[str, FaceTable]:
    """The face table of each benchmark; raises BrokenLineage unless it is the one the bench lists."""
    tables = {}
    for name in names:
        if name not in listed:
            raise BrokenLineage(
                f"expected benchmark '{name}' on the bench '{bench}', found {', '.join(listed) or 'none'}. "
                f"Land it, or name a later bench in lineage.yaml: `dvc repro add_benchmark@{name}`."
            )
        tables[name] = FaceTable.load(faces / name, cache_bytes=0, shared_bytes=settings().decoded_bytes)
        if tables[name].digest != listed[name]:
            raise BrokenLineage(
                f"expected faces {listed[name][:12]} of benchmark '{name}', as on the bench '{bench}', found "
                f"{tables[name].digest[:12]} in '{faces / name}'. Restore them with `dvc checkout`, or let them join again: "
                f"`dvc repro add_benchmark@{name}`."
            )
    return tables
