"""Stage gauge: how unlike the faces of an archive are those that landed before it, as an expectation that warns.

    python -m components.faces.gauge MANIFEST FACES DRIFT --name NAME

A drift is no fault: a new forgery is meant to be new. It tells what to look at where a generation learns little, forgets
much, or takes genuine faces of the archive for forged ones. Where `validation.drift` says so, it keeps the archive from
being learned.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from components import stage
from components.archives import manifest as manifests
from components.archives.rules import ColumnRule, Table
from components.errors import Invalid
from components.faces import drift as drifts
from components.faces.about import FACES_FILE
from components.faces.table import FaceTable
from components.params import ValidationOptions

WARNS = "warns"


def gauge(manifest: Path, faces: Path, drift: Path, *, name: str, validation_params: ValidationOptions) -> None:
    """Compare the training faces of archive `name` with those of all that landed before it.

    manifest    its folder; it says what landed before
    faces       the folder with every archive's face table, by name
    drift       output: the report

    An archive whose faces are not here is left out, which the report says. Raises Invalid where the faces drift and
    `validation.drift` is "refuses".
    """
    landed = sorted(manifests.read_earlier(manifest / manifests.EARLIER_FILE)["archive"].unique())
    there = [other for other in landed if (faces / other / FACES_FILE).is_file()]
    before, now = drifts.samples(_load(faces / other) for other in there), drifts.samples([_load(faces / name)])
    rows = drifts.compare(before, now).round(3).sort_values("drift", ascending=False, ignore_index=True)
    rows["beyond"] = rows["drift"] > validation_params.max_drift
    about = {
        "archive": name,
        "compared_with": there,
        "left_out": sorted(set(landed) - set(there)),
        "measures": json.loads(rows.to_json(orient="records")),
    }
    from components.archives import expectations  # takes seconds to import

    report = expectations.check([_table(rows, there, validation_params)]) if len(rows) else expectations.Report()
    report.write(drift, about)
    for finding in report.warnings:
        print(f"{name}: {finding}")
    if report.broken:
        raise Invalid(
            f"archive '{name}' is unlike what landed before it:\n"
            + "\n".join(f"  {finding}" for finding in report.broken)
            + "\nIt is not learned, because validation.drift says 'refuses'. Raise validation.max_drift, let drift warn, or "
            f"take the archive away: perennial withdraw --archive {name}."
        )


def _load(folder: Path) -> FaceTable:
    return FaceTable.load(folder, cache_bytes=0)


def _table(rows: pd.DataFrame, there: list[str], params: ValidationOptions) -> Table:
    words = f"no measure of the faces drifts by more than {params.max_drift:g} from {', '.join(there)}"
    rule = ColumnRule("drift", words, "drift", most=params.max_drift, warns=params.drift == WARNS)
    return Table("drift", rows, "measure", (rule,))


if __name__ == "__main__":
    stage.run(gauge)
