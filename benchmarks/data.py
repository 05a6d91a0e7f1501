"""What stands between the faces on disk and the step: decoding, and how long a device waits for its batches.

    python -m benchmarks.data

`Faces.batch` is held against `cv2.imdecode` of the same bytes and nothing else. A simulated device consumes a batch of 128
every 60 ms, lossless faces of 256 px with the augmentations of LNCLIP-DF's paper; how long it waits for each is told for
nothing beside it, for a thread, and for one and two processes.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch

from benchmarks import faces, ratios
from benchmarks.ratios import Row
from components import detectors
from components.faces.table import FaceTable
from components.params import TrainingOptions, parse
from components.tasks.ahead import ahead
from components.tasks.dataset import Batch, Faces
from components.tasks.loading import Draw, Loader

SIZE_PX = 256
BATCH = 128
CONSUMES_S = 0.060
WORKERS = {None: "nothing beside it", 0: "a thread beside it", 1: "1 process beside it", 2: "2 processes beside it"}


def decoded_by_hand(table: FaceTable, chosen: np.ndarray) -> float:
    """Faces/s of decoding alone."""
    encoded = table.encoded(chosen)
    start = time.perf_counter()
    for one in encoded:
        cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR_RGB)
    return len(chosen) / (time.perf_counter() - start)


def batched(folder: Path, chosen: np.ndarray) -> float:
    """Faces/s of `Faces.batch`, of faces that nobody has decoded before."""
    task = Faces.whole("faces", FaceTable.load(folder, cache_bytes=0))
    start = time.perf_counter()
    task.batch(chosen)
    return len(chosen) / (time.perf_counter() - start)


def decoding(folder: Path, pairs: int) -> Row:
    """`Faces.batch` against bare decoding."""
    table = FaceTable.load(folder, cache_bytes=0)
    chosen = np.arange(BATCH) % len(table)
    batched(folder, chosen)  # warm up
    found = ratios.alternating(lambda: batched(folder, chosen), lambda: decoded_by_hand(table, chosen), pairs)
    return ratios.compared("Faces.batch, 256 px", "cv2.imdecode alone", found, unit="faces/s", better="higher")


# -- a simulated device ------------------------------------------------------------------------------------------------------


def waits(batches: Iterable[Batch], *, consumes_s: float = CONSUMES_S) -> list[float]:
    """Seconds a device waits for each batch, when each keeps it busy for `consumes_s` afterwards.

    The first wait, in which a loader starts, is left out.
    """
    waited, asked = [], time.perf_counter()
    for batch in batches:
        waited.append(time.perf_counter() - asked)
        assert len(batch.labels)
        time.sleep(consumes_s)  # the device works by itself
        asked = time.perf_counter()
    return waited[1:]


def loaded(task: Faces, options: TrainingOptions, count: int, workers: int | None) -> Iterator[Batch]:
    """`count` batches as the training loop gets them, with so many processes beside it; 0: a thread, None: nobody."""
    draws = [
        Draw((np.arange(options.batch) + step * options.batch) % len(task), None, seed=step) for step in range(count)
    ]
    loader = Loader(task, None, options.augment)
    made = map(loader, draws) if workers is None else ahead(loader, draws, processes=workers)
    return (one.on(torch.device("cpu")) for one in made)


def waiting(folder: Path, count: int) -> Iterator[Row]:
    """A row for each way to load: time a batch takes with the wait for it, against the 60 ms it keeps the device."""
    options = parse(
        TrainingOptions,
        detectors.paper_training("lnclip", detectors.options("lnclip", {"size": "paper"})) | {"batch": BATCH},
        "the recipe of lnclip",
    )
    for workers, beside in WORKERS.items():
        task = Faces.whole("faces", FaceTable.load(folder, cache_bytes=0))
        found = waits(loaded(task, options, count + 1, workers))
        took = median(found) + CONSUMES_S
        numbers = f"waits {median(found) * 1e3:.0f} ms a batch of {options.batch}, median of {len(found)}"
        yield Row(f"simulated device, {beside}", "batches that are there: 60 ms", took / CONSUMES_S, "lower", numbers)


def rows(pairs: int = 7, batches: int = 6, count: int = BATCH) -> Iterator[Row]:
    """Decoding, then the simulated device."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "faces"
        faces.written(folder, faces.people(count, SIZE_PX), count)
        yield decoding(folder, pairs)
        yield from waiting(folder, batches)


if __name__ == "__main__":
    for row in rows():
        print(row)
