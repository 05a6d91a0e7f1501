"""A validation split for an archive that brings none: some training sources, chosen by a hash of their names.

What validation chooses (an epoch, an option, a method) nobody learned from and no test face decided. A source is held out
with everything linked to it by its name or by a person: genuine and forged clips move together, and nobody is in two splits.
The hash looks at the name alone, so that archives that share sources (FaceForensics++ landed method by method) hold out the
same ones, and one that lands again is split as before.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
import pandas as pd

from components.vocabulary import LABELS, TRAIN, VAL

SHARE: Final = 0.1
"""Of the training sources, as the hash falls."""
MOST: Final = 0.25
"""Of the training clips; an archive that would need more is too small."""


def hold_out(manifest: pd.DataFrame, few: int, told: pd.Series[str] | None = None) -> pd.DataFrame:
    """The manifest with a validation split of about `SHARE` of its training sources.

    few   clips of each class that every split must have
    told  the split, train or val, of clips that share a source, a person or a file with an earlier archive, by their index:
          what validated there is held out here, and what was learned there is not
    It is left as it is where it has a validation split, or is too small for one.
    """
    training = manifest[manifest["split"] == TRAIN]
    if (manifest["split"] == VAL).any() or training.empty:
        return manifest
    kin = _kin(training)
    counted = pd.DataFrame({label: training["label"] == label for label in LABELS}).groupby(kin).sum()
    clips = dict(zip(counted.index, counted.to_numpy(), strict=True))  # of each label, by the first name of the kin
    said = {} if told is None else told.reindex(kin.index).dropna().groupby(kin).min().to_dict()  # train before val
    held, chosen = np.zeros(len(LABELS), int), set[str]()
    for asked, fraction, name in sorted((said.get(name) != VAL, position(name), name) for name in clips):
        if said.get(name) == TRAIN:
            continue
        wanted = not asked or fraction < SHARE or bool(((held < few) & (clips[name] > 0)).any())
        if wanted and (held + clips[name]).sum() <= MOST * len(training):
            held = held + clips[name]
            chosen.add(name)
    if (held < few).any() or (counted.sum() - held < few).any():
        return manifest
    moved = kin.index[kin.isin(chosen)]
    return manifest.assign(split=manifest["split"].mask(manifest.index.isin(moved), VAL))


def _kin(rows: pd.DataFrame) -> pd.Series[str]:
    """The first name of all sources that a row's own is linked to, by people who are in several of them."""
    kin = rows["source"]
    while True:
        of_person = kin.groupby(rows["identity"]).transform("min").where(rows["identity"] != "", kin)
        joined = of_person.groupby(rows["source"]).transform("min")
        if joined.equals(kin):
            return joined
        kin = joined


def position(name: str) -> float:
    """A number in [0, 1) that a name always gives; `ffpp:033_097` gives that of `033_097`, its name in FaceForensics++."""
    return int.from_bytes(hashlib.sha256(name.removeprefix("ffpp:").encode()).digest()[:8]) / 2**64
