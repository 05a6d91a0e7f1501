"""Stage ingest: an archive as it landed becomes a manifest, and learns which files landed before it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from components import stage
from components.archives import handover, layouts, manifest
from components.archives.held_out import hold_out
from components.params import Archive, Params
from components.vocabulary import VAL


def ingest(
    archive: Path, predecessor: Path, output: Path, *, name: str, layout: str, role: str, params: Params
) -> None:
    """Write manifest.parquet, set_aside.parquet and earlier.parquet of one archive; raises BadArchive, UnknownName.

    `predecessor` holds the manifest of the archive that landed before, or nothing (`nobody`); role is both, task or
    benchmark. Whether training sources are held out for validation its entry in `params` says, and what it is a later
    version of: with that it may share files.
    """
    seen = layouts.survey(layout, archive).settle()
    measured = handover.read(handover.FOLDER, name)
    rows = manifest.build(seen.clips, archive, layout=layout, role=role, known=measured)
    for words in seen.words():
        print(f"{name}: {words}")
    entry = params.archives.get(name, Archive(layout=layout))
    kept, set_aside = prepared(rows, entry, params)
    if len(set_aside):
        print(f"{name}: {len(set_aside)} of {len(rows)} clips set aside: their source is also in a more guarded split")
    if entry.validation == "hash":
        held = kept.loc[kept["split"] == VAL, "source"].nunique()
        found = f"{held} training sources held out" if held else "too few training sources to hold any out"
        print(f"{name}: {found} for validation")
    known = manifest.earlier(predecessor)
    if entry.supersedes:
        own = known["archive"].isin(params.versions(name)) & known["sha256"].isin(rows["sha256"])
        known = known[~own].reset_index(drop=True)
    manifest.write(kept, output / manifest.MANIFEST_FILE)
    manifest.write(set_aside, output / manifest.SET_ASIDE_FILE)
    manifest.write(known, output / manifest.EARLIER_FILE, manifest.EARLIER)


def prepared(rows: pd.DataFrame, entry: Archive, params: Params) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The manifest of measured `rows` as it is written, and its rows that are set aside."""
    kept, set_aside = manifest.join_twins(rows)
    if entry.validation == "hash":
        kept = hold_out(kept, params.validation.min_per_class)
    return kept, set_aside


if __name__ == "__main__":
    stage.run(ingest)
