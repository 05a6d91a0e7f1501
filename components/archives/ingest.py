"""Stage ingest: an archive as it landed becomes a manifest, and learns what landed before it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa

from components import stage
from components.archives import handover, layouts, leaks, manifest
from components.archives.set_aside import LIST_FILE, words_of, write_reasons
from components.params import Archive, Params
from components.vocabulary import VAL


def ingest(
    archive: Path, predecessor: Path, output: Path, *, name: str, layout: str, role: str, params: Params
) -> None:
    """Write manifest.parquet, set_aside.parquet and earlier.parquet of one archive; raises BadArchive, UnknownName.

    `predecessor` holds the manifest of the archive that landed before, or nothing (`nobody`); role is both, task or
    benchmark. Whether training sources are held out for validation, and whether clips are set aside that leak, its entry
    in `params` says, and what it is a later version of: with that it may share files.
    """
    rows = _measured(archive, name, layout, role)
    entry = params.archives.get(name, Archive(layout=layout))
    against, handed_down = leaks.before(name, predecessor, rows, params)
    kept, set_aside = leaks.prepared(rows, entry, params, against)
    if entry.validation == "hash":
        held = kept.loc[kept["split"] == VAL, "source"].nunique()
        found = f"{held} training sources held out" if held else "too few training sources to hold any out"
        print(f"{name}: {found} for validation")
    manifest.write(kept, output / manifest.MANIFEST_FILE)
    manifest.write_set_aside(set_aside, output / LIST_FILE)
    manifest.write(handed_down, output / manifest.EARLIER_FILE, manifest.EARLIER)
    write_reasons(output, set_aside["why"])
    for words in words_of(output):
        print(f"{name}: {words}")


def _measured(archive: Path, name: str, layout: str, role: str) -> pd.DataFrame:
    seen = layouts.survey(layout, archive).settle()
    clips = seen.clips
    for words in seen.words():
        print(f"{name}: {words}")
    del seen  # it holds every clip once more
    rows = manifest.build(clips, archive, layout=layout, role=role, known=handover.read(handover.FOLDER, name))
    pa.default_memory_pool().release_unused()
    return rows


if __name__ == "__main__":
    stage.run(ingest)
