"""Which archives are unlike those that landed before them, as stage `gauge` found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from components.archives.report import read_report
from flows.workspace import Workspace

SHOWN = 3  # measures that are named before they are only counted


def found(workspace: Workspace) -> dict[str, dict[str, float]]:
    """Archive -> the measures that drift further than `validation.max_drift` allowed, the furthest first."""
    drifts = {}
    for name in workspace.params().archives:
        report = read_report(workspace.data("drift", name)) or {"measures": ()}
        if beyond := {one["measure"]: one["drift"] for one in report["measures"] if one["beyond"]}:
            drifts[name] = beyond
    return drifts


def told(drifts: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """A line an archive."""
    for name, measures in drifts.items():
        said: Sequence[str] = [f"{measure} ({drift:.2f})" for measure, drift in measures.items()]
        more = f" and {len(said) - SHOWN} more" if len(said) > SHOWN else ""
        yield f"'{name}' is unlike what landed before it: {', '.join(said[:SHOWN])}{more}. See reports/data_docs/index.html."
