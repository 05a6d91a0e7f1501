"""Who answers, while champions come and go: work under way ends with the generation it began with.

    books -> the champion of now      another than before? load it beside the old one, then let it answer
                                      cannot be loaded? the old one goes on answering, and it is said why

Whoever began to work holds its `Served`; it leaves the memory when nobody holds it any more.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from components.errors import PerennialError, Refused
from components.faces.extraction import Person
from components.params import CropOptions
from components.serving.batching import Batched
from components.serving.looking import Seen
from components.serving.record import Champion, File, Provenance
from components.serving.verdicts import Examiner


@dataclass(frozen=True)
class Standing:
    """A generation that is to answer, as whoever keeps the books knows it."""

    generation: str
    weights: str
    """sha256 of its weights."""
    folder: Path
    params: CropOptions
    """How the faces were cut that it learned."""
    operating_point: Path | None = None
    """Its folder."""
    champion: Champion | None = None
    """What a record says of it, where more is known than its files say."""
    measured: dict[str, Any] = field(default_factory=dict)
    """How it was examined: AUC and false alarms by benchmark."""


@dataclass(frozen=True)
class Served:
    """A generation at work."""

    standing: Standing
    examiner: Examiner
    batched: Batched

    @property
    def name(self) -> str:
        return self.standing.generation

    @property
    def detector(self) -> str:
        """The face detector that finds faces for it."""
        return self.examiner.settings.face_detector

    @classmethod
    def load(cls, standing: Standing, device: str) -> Served:
        """Raises as `Examiner.load` does, where its faces cannot be cut here as it learned them, or it is damaged; and Refused
        where it cannot answer."""
        alone = Examiner.load(
            standing.folder, standing.operating_point, standing.params, champion=standing.champion, device=device
        )
        batched = Batched(alone.detector)
        examiner = replace(alone, detector=batched)
        try:
            examiner.judge(_trial(standing.params.size_px))
        except Exception as fault:
            raise Refused(
                f"expected '{standing.generation}' to answer about one grey face before anybody asks it, found that it "
                f"cannot: {type(fault).__name__}: {fault}. Does its operating point belong to this version? Raise the next "
                "generation: `perennial run`."
            ) from fault
        return cls(standing, examiner, batched)


def _trial(side_px: int) -> Seen:
    """A picture of one grey face."""
    nobody = Provenance(looked_for=False, found=None, words="")
    file = File(name="", sha256=None, bytes=None, kind="still", frames=1, frames_per_s=None, provenance=nobody)
    person = Person(
        frames=np.zeros(1, np.int64),
        faces=np.full((1, side_px, side_px, 3), 128, np.uint8),
        boxes=np.array([[0.0, 0.0, side_px, side_px]]),
        landmarks=np.full((1, 5, 2), np.nan),
        scores=np.ones(1),
    )
    return Seen(file, (person,), None, 0.0)


class Books(Protocol):
    """Whoever knows which generations there are."""

    def who(self) -> tuple[str, str]:
        """The champion's name and the digest of its weights, at no cost: it is asked every few seconds."""

    def champion(self) -> Standing:
        """Who is to answer now; raises Refused where nobody is."""

    def challenger(self) -> Standing | None:
        """The youngest generation, if it is younger than the champion."""

    def named(self, generation: str) -> Standing:
        """A generation of the line, whoever is champion; raises Refused where it is gone."""


class Succession:
    """The champion, and where it is asked for the challenger; each replaced when another is found."""

    def __init__(self, books: Books, *, device: str = "cpu", shadow: bool = False) -> None:
        self._books, self._device, self._shadow = books, device, shadow
        self._looking = threading.Lock()
        self._champion = Served.load(books.champion(), device)
        self._challenger: Served | None = None
        self.trouble = ""
        """Why the newest champion does not answer; "" where it does."""
        self.swaps = 0
        self.look()

    @property
    def champion(self) -> Served:
        return self._champion

    @property
    def challenger(self) -> Served | None:
        """Who answers in the shadow; never shown."""
        return self._challenger

    def look(self) -> bool:
        """See who is champion now, and let it answer; True if it is another."""
        with self._looking:
            try:
                moved = self._books.who() != (self._champion.name, self._champion.standing.weights)
                if moved:
                    self._champion = Served.load(self._books.champion(), self._device)
                    self.swaps += 1
                self.trouble = ""
            except (PerennialError, OSError) as fault:
                moved, self.trouble = False, str(fault)
            self._look_for_challenger()
        return moved

    def named(self, name: str) -> Served:
        """The generation of that name, for work that was begun with it; raises Refused where it is gone."""
        return self._champion if self._champion.name == name else Served.load(self._books.named(name), self._device)

    def _look_for_challenger(self) -> None:
        if not self._shadow:
            return
        try:
            found = self._books.challenger()
            if found is None or found.weights == self._champion.standing.weights:
                self._challenger = None
            elif self._challenger is None or found.weights != self._challenger.standing.weights:
                self._challenger = Served.load(found, self._device)
        except (PerennialError, OSError):
            self._challenger = None  # nobody waits for its answer
