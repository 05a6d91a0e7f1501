"""Device batches over requests: what waits while the device computes is computed together.

    request 1  faces (3, …) ─┐
    request 2  faces (8, …) ─┼─ whoever comes first ─> one batch (12, 3, H, W) -> Detection -> each its own rows
    request 3  faces (1, …) ─┘

Nobody waits for others to come: a batch is what gathered while the batch before it was computed.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

import torch
from torch import Tensor

from components.detectors import Detection, Detector

MOST = 64
"""Faces in one batch."""


@dataclass
class _Asked:
    faces: Tensor
    found: Future[Detection] = field(default_factory=Future)


class Batched(Detector):
    """A detector that several threads ask at once; what it says of a face is what it would say of it alone."""

    def __init__(self, detector: Detector, most: int = MOST) -> None:
        super().__init__()
        self.detector = detector
        self.train(detector.training)  # a module is born in training; whoever draws heat maps puts it back as it was
        self._most = most
        self._waiting: deque[_Asked] = deque()
        self._device = threading.Lock()
        self.batches = 0
        self.faces = 0

    def forward(self, faces: Tensor) -> Detection:
        """Faces (B, 3, H, W) in [0, 1]. Where a gradient is asked for (a heat map), they are computed by themselves."""
        if torch.is_grad_enabled():
            with self._device:
                return self.detector(faces)
        mine = _Asked(faces)
        self._waiting.append(mine)
        with self._device:
            while not mine.found.done():
                self._compute(self._taken())
        return mine.found.result()

    def _taken(self) -> list[_Asked]:
        """The first who wait, as long as their faces have one size and are not too many."""
        taken = [self._waiting.popleft()]
        size, count = taken[0].faces.shape[1:], len(taken[0].faces)
        while self._waiting:
            following = self._waiting[0].faces
            if following.shape[1:] != size or count + len(following) > self._most:
                break
            taken.append(self._waiting.popleft())
            count += len(following)
        return taken

    def _compute(self, asked: list[_Asked]) -> None:
        try:
            found = self.detector(torch.cat([one.faces for one in asked]))
        except Exception as fault:
            for one in asked:
                one.found.set_exception(fault)
            return
        start = 0
        for one in asked:
            rows = slice(start, start + len(one.faces))
            one.found.set_result(found.each(lambda tensor, rows=rows: tensor[rows]))
            start = rows.stop
        self.batches += 1
        self.faces += start
