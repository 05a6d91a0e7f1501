"""What archives of one workspace share, and which clips of a later one would leak.

A source, a person or a file that an earlier archive has in one split is in no other split of a later one: what was learned is
never asked, what is asked is never learned, and what chose among candidates is neither. The later archive gives way. Its
clips that leak are set aside and listed with what they leak; the earlier one stays as it is, because somebody may have
learned it.

Names count that hold in every archive (`layouts.spanning`: `ffpp:033`); others mean something in their own archive alone.
Sources and people are one set of names, and a pair (`ffpp:033_097`) stands for both of its members: one archive calls a
source what another calls a person. Whom a video shows is not guessed from its name: `celebdf:id3_0001` is that video, since
the official test of Celeb-DF is drawn by video.
"""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from components.archives import layouts, manifest
from components.archives.held_out import hold_out
from components.archives.origins import stands_for
from components.params import Archive, Params
from components.vocabulary import TEST, TRAIN

NAMES: Final = -1
"""In place of a label: the row is of a name, not of a file."""


def known(predecessor: Path, params: Params) -> pd.DataFrame:
    """name, label, split, archive of every file (its sha256) and every spanning name that landed up to the predecessor.

    `predecessor` is the folder of its manifest; nothing is known before `nobody`. Where it landed before names were handed
    down, those of the archives before it are read beside it.
    """
    if not (predecessor / manifest.MANIFEST_FILE).is_file():
        return manifest.empty(manifest.EARLIER)
    entry = params.archives[predecessor.name]
    before = manifest.read_earlier(predecessor / manifest.EARLIER_FILE)
    if (before["split"] == "").any():
        before = known(predecessor.with_name(entry.after), params)
    own = manifest.read(predecessor / manifest.MANIFEST_FILE)
    said = pd.concat([before, of(own, entry.layout).assign(archive=predecessor.name)], ignore_index=True)
    return said.drop_duplicates().sort_values(["name", "split", "label"], kind="stable", ignore_index=True)


def of(rows: pd.DataFrame, layout: str) -> pd.DataFrame:
    """name, label, split: the files of a manifest, and the names of its sources and people that hold in every archive."""
    files = rows[["sha256", "label", "split"]].rename(columns={"sha256": "name"})
    named = rows[["source", "identity", "split"]].drop_duplicates(ignore_index=True)
    names = _spanning(named, layout).to_frame("name").join(named["split"]).drop_duplicates()
    return pd.concat([files, names.assign(label=np.int8(NAMES))], ignore_index=True)


def before(name: str, predecessor: Path, rows: pd.DataFrame, params: Params) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(what the archive `name` is held against, what is handed down with it) of everything `known`.

    A later version is not held against those it takes the place of, and its word on a name is the last.
    """
    said, entry = known(predecessor, params), params.archives.get(name)
    if entry is None or not entry.supersedes:
        return said, said
    own = said["archive"].isin(params.versions(name))
    again = own & manifest.among(said["name"], of(rows, entry.layout)["name"])
    return said[~own].reset_index(drop=True), said[~again].reset_index(drop=True)


def prepared(
    rows: pd.DataFrame, entry: Archive, params: Params, earlier: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The manifest of measured `rows` as it is written, and its rows that are set aside, each with `why`.

    earlier  what it is held against; where `entry` keeps what leaks, nothing is held against it
    """
    kept, twins = manifest.join_twins(rows)
    aside = [twins.assign(why="equal file of its source in a more guarded split", shared="")]
    holds = entry.leaks == "set_aside"
    found = _shared(kept, entry.layout, earlier) if holds else _shared(kept, entry.layout, earlier.head(0))
    to_cut = entry.validation == "hash"
    kept = _set_aside(kept, found, aside, spare_train=to_cut)
    if to_cut:
        told = found[found.index.isin(kept.index)].groupby(level=0)["split"].first().astype(str)
        kept = hold_out(kept, params.validation.min_per_class, told)
        kept = _set_aside(kept, found, aside)
    listed = pd.concat(aside).sort_values("path", ignore_index=True)
    return kept.reset_index(drop=True), listed


def _set_aside(
    kept: pd.DataFrame, found: pd.DataFrame, aside: list[pd.DataFrame], *, spare_train: bool = False
) -> pd.DataFrame:
    """What is left of `kept`; `spare_train`: a training clip may still become one for validation."""
    shared = found[found.index.isin(kept.index)]
    here = kept["split"].reindex(shared.index)
    torn = (shared["split"] != here).to_numpy()
    if spare_train:
        several = shared.groupby(level=0)["split"].transform("nunique") > 1
        torn = torn & ~((here == TRAIN) & (shared["split"] != TEST) & ~several).to_numpy()
    worst = shared[torn].groupby(level=0).first().astype(str)
    gone = kept.loc[worst.index].assign(
        why=worst["kind"] + " in split " + worst["split"] + " of '" + worst["archive"] + "'", shared=worst["name"]
    )
    aside.append(gone)
    return kept.drop(index=worst.index)


def _shared(rows: pd.DataFrame, layout: str, earlier: pd.DataFrame) -> pd.DataFrame:
    """name, split, archive, kind of what a row shares with earlier archives, by the row's index; a row may share several."""
    names = pd.concat([_spanning(rows, layout), rows["sha256"]])
    told = earlier[manifest.among(earlier["name"], names)]
    told = told.assign(kind=np.where(told["label"] == NAMES, "source or person", "file")).drop(columns="label")
    told = told.astype("category")  # numbers: a name comes again and again
    number = told["name"].cat.categories.get_indexer(names)
    found = pd.DataFrame({"row": names.index, "number": number})[number >= 0]
    found = found.merge(told.assign(number=told["name"].cat.codes), on="number").drop(columns="number")
    return found.sort_values(["row", "kind", "name", "split", "archive"]).set_index("row").rename_axis(None)


def _spanning(rows: pd.DataFrame, layout: str) -> pd.Series[str]:
    """The names of a row's source and person that hold in every archive, by the row's index; a row may have several."""
    found = []
    for column in ("source", "identity"):
        codes, names = pd.factorize(rows[column])
        of, meant = array("q"), []
        for code, name in enumerate(names):
            for one in stands_for(layouts.spanning(layout, name)):
                of.append(code)
                meant.append(one)
        means = pd.DataFrame({"code": np.asarray(of), "name": pd.Series(meant, dtype=rows[column].dtype)})
        found.append(pd.DataFrame({"row": rows.index, "code": codes}).merge(means, on="code")[["row", "name"]])
    return pd.concat(found).drop_duplicates().set_index("row")["name"].rename_axis(None)
