"""Which weights a training ends with: the last ones, their moving average, or those of the epoch that answered best.

average   a_t = d a_(t-1) + (1 - d) w_t  from  a_0 = w_0, of every weight that learns and every statistic that is counted
best      of the epochs' ends, by the AUC of faces of the task's validation split
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from components.detectors import Detector
from components.errors import BadArchive
from components.params import TrainingOptions
from components.strategies import batches, evaluating
from components.tasks.dataset import Faces
from components.vocabulary import FORGED

ASKED = 64
"""Validation faces at a time."""


class Keeping:
    """Follows a learner through its lesson and knows what it ends as."""

    def __init__(
        self, learner: nn.Module, student: Detector, options: TrainingOptions, validation: Faces | None
    ) -> None:
        """Follow `learner`: the student, and what of its strategy learns beside it.

        Raises BadArchive where `training.patience` asks for a validation split that is not there.
        """
        if options.patience is not None and validation is None:
            raise BadArchive(
                "expected validation faces of both classes, by which training.patience tells the best epoch, found none. "
                "Give the archive a validation split, or take training.patience out of params.yaml."
            )
        self._learner, self._student = learner, student
        self._patience = options.patience
        self._validation = validation if options.patience is not None else None
        followed = _learning(learner) if options.average else {}
        self._average = {name: value.detach().clone() for name, value in followed.items()}
        self._follow = get_ema_multi_avg_fn(options.average)  # type: ignore[no-untyped-call]
        self._best: dict[str, Tensor] = {}
        self._scores: list[float] = []

    def stepped(self) -> None:
        """The optimiser has taken a step."""
        if self._average:
            self._follow(list(self._average.values()), self._live(), None)

    def epoch_ended(self) -> None:
        """Ask the student as it would be kept now, where the best epoch is wanted."""
        if self._validation is None:
            return
        with self._averaged():
            self._scores.append(auc(self._student, self._validation))
            if self._scores[-1] > max(self._scores[:-1], default=-np.inf):
                self._best = {name: value.detach().clone() for name, value in self._learner.state_dict().items()}

    @property
    def out_of_patience(self) -> bool:
        """Whether the last epochs, as many as were allowed, were no better than one before them."""
        if self._patience is None or not self._scores:
            return False
        return len(self._scores) - 1 - int(np.argmax(self._scores)) >= self._patience

    @property
    def told(self) -> dict[str, float]:
        """Of the epoch that ended last, for the curve."""
        return {"validation_auc": self._scores[-1]} if self._scores else {}

    def finish(self) -> None:
        """The learner becomes what is kept."""
        if self._best:
            self._learner.load_state_dict(self._best)
        else:
            self._learner.load_state_dict(self._average, strict=False)

    def state(self) -> dict[str, Any]:
        return {"average": self._average, "best": self._best, "scores": self._scores}

    def restore(self, state: dict[str, Any]) -> None:
        for name, value in state["average"].items():
            self._average[name].copy_(value)
        self._best, self._scores = state["best"], state["scores"]

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The learner as its average, and afterwards as it was."""
        was = {name: value.clone() for name, value in zip(self._average, self._live(), strict=True)}
        self._learner.load_state_dict(self._average, strict=False)
        try:
            yield
        finally:
            self._learner.load_state_dict(was, strict=False)

    def _live(self) -> list[Tensor]:
        """What the average follows, as it is now; a network may have put another tensor in a statistic's place."""
        named = _named(self._learner)
        return [named[name].detach() for name in self._average]


@torch.no_grad()
def auc(student: Detector, faces: Faces) -> float:
    """Area under the ROC curve of single faces, by the student's own logits."""
    from sklearn.metrics import roc_auc_score  # a second of imports

    with evaluating(student):
        seen = [
            student(batch.faces).logits.float().softmax(-1)[:, FORGED].cpu()
            for batch in batches(faces, np.arange(len(faces)), ASKED, student)
        ]
    return float(roc_auc_score(faces.labels == FORGED, torch.cat(seen).numpy()))


def _learning(learner: nn.Module) -> dict[str, Tensor]:
    """Weights that learn, and statistics that are saved."""
    saved, weights = learner.state_dict().keys(), dict(learner.named_parameters())
    return {
        name: value
        for name, value in _named(learner).items()
        if name in saved and (value.requires_grad if name in weights else value.is_floating_point())
    }


def _named(learner: nn.Module) -> dict[str, Tensor]:
    return {**dict(learner.named_parameters()), **dict(learner.named_buffers())}
