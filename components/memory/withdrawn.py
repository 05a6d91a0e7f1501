"""A task without the faces that were withdrawn from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from components.archives.withdrawn import struck
from components.errors import BadArchive
from components.params import Withdrawal
from components.tasks.dataset import Faces
from components.vocabulary import LABEL_NAMES


def without(faces: Faces, withdrawn: Sequence[Withdrawal]) -> Faces:
    """`faces` without those withdrawn; raises BadArchive where a class would have none left."""
    left_out = struck(faces.rows, withdrawn)
    gone = set(faces.labels.tolist()) - set(faces.labels[~left_out].tolist())
    if gone:
        classes = " and no ".join(LABEL_NAMES[label] for label in sorted(gone))
        raise BadArchive(
            f"expected real and forged faces in '{faces.name}' besides the {left_out.sum()} that were withdrawn, found no "
            f"{classes} one. A task needs both: take it out of `sequence` in params.yaml."
        )
    return replace(faces, indices=faces.indices[~left_out])
