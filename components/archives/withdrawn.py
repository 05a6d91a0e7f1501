"""Who asked not to be learned from: the rows that a withdrawal means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from components.params import Withdrawal


def struck(rows: pd.DataFrame, withdrawn: Sequence[Withdrawal]) -> np.ndarray:
    """(N,) bool, true for rows that a withdrawal means.

    rows   of faces, or of clips with a frame that is none: ``archive``, ``source``, ``identity``, ``clip``, ``frame``
    """
    found = np.zeros(len(rows), dtype=bool)
    for order in withdrawn:
        named = order.model_dump(exclude_defaults=True)
        found |= np.logical_and.reduce([(rows[column] == value).to_numpy() for column, value in named.items()])
    return found
