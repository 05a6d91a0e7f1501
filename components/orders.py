"""A withdrawal: the words that name it, the rows it means, and the file that tells a stage of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from components.documents import dump_yaml
from components.errors import BadParams, BrokenLineage
from components.params import Section, Withdrawal, parse
from components.params import read as read_section
from components.writing import replace_text

HEADER = "# Left out when the stage runs. Written by perennial from `withdrawn` in params.yaml; not edited by hand.\n"


class Told(Section):
    """The file of one archive, of one generation, or of one memory."""

    withdrawn: tuple[Withdrawal, ...] = ()


def named(
    archive: str, *, source: str = "", identity: str = "", clips: Sequence[str] = (), frame: int | None = None
) -> list[Withdrawal]:
    """What the words of a command name; nothing where they name the archive alone. Raises BadParams."""
    said = {"source": [source] if source else [], "identity": [identity] if identity else [], "clip": list(clips)}
    kinds = [kind for kind, values in said.items() if values]
    if len(kinds) > 1:
        raise BadParams(
            f"expected a SOURCE, an --identity or --clip, found {' and '.join(kinds)}. Withdraw one after another."
        )
    if frame is not None and len(clips) != 1:
        raise BadParams(
            f"expected one --clip beside --frame {frame}, found {len(clips)}. Name the clip it is a frame of."
        )
    whole = {"archive": archive} | ({} if frame is None else {"frame": frame})
    return [parse(Withdrawal, {**whole, kind: value}, "the withdrawal") for kind in kinds for value in said[kind]]


def struck(rows: pd.DataFrame, withdrawn: Sequence[Withdrawal]) -> np.ndarray:
    """(N,) bool, true for rows that a withdrawal means.

    rows   of faces, or of clips with a frame that is none: ``archive``, ``source``, ``identity``, ``clip``, ``frame``
    """
    found = np.zeros(len(rows), dtype=bool)
    for order in withdrawn:
        columns = order.model_dump(exclude_defaults=True)
        found |= np.logical_and.reduce([(rows[column] == value).to_numpy() for column, value in columns.items()])
    return found


def read(path: Path) -> tuple[Withdrawal, ...]:
    """What the file at `path` names; raises BrokenLineage where there is none and BadParams where it cannot be followed."""
    if not path.is_file():
        raise BrokenLineage(
            f"expected a file '{path}' that says what is withdrawn, found none. `perennial run` writes it."
        )
    return read_section(Told, path).withdrawn


def write(path: Path, withdrawn: Iterable[Withdrawal]) -> bool:
    """Let the file at `path` name what is withdrawn; one that says the same is left alone. True if it was written."""
    return replace_text(path, as_text(withdrawn))


def as_text(withdrawn: Iterable[Withdrawal]) -> str:
    """The file's text: sorted, each once, so that the same withdrawals are the same bytes."""
    each_once = sorted(set(withdrawn), key=_place)
    rows = [order.model_dump(mode="json", exclude_defaults=True) for order in each_once]
    return HEADER + dump_yaml({"withdrawn": rows}, sort_keys=True, allow_unicode=True, width=4096)


def _place(order: Withdrawal) -> tuple[str, str, str, str, int]:
    return order.archive, order.source, order.identity, order.clip, -1 if order.frame is None else order.frame
