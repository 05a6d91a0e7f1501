"""What stands between the faces on disk and the step: decoding, and how long a device waits for its batches.

    python -m benchmarks.data

`Faces.batch` is held against `cv2.imdecode` of the same bytes and nothing else. A simulated device consumes a batch of 128
every 60 ms, lossless faces of 256 px with the augmentations of LNCLIP-DF's paper; how long it waits for each is told for no
loader process beside it, for one, and for two.
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
from components.tasks.dataset import Batch, Faces

SIZE_PX = 256
BATCH = 128
CONSUMES_S = 0.060
WORKERS = (0, 1, 2)


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


def loaded(task: Faces, options: TrainingOptions, count: int, workers: int) -> Iterator[Batch]:
    """`count` batches as the training loop gets them, with so many processes beside it.

    THE LOADER'S PART: replace this body by the loader of `components.tasks`. As long as there is none, batches are made in
    this process, and asking for workers raises NotImplementedError.
    """
    from components.tasks.augmentations import augmented

    if workers:
        raise NotImplementedError("there is no loader yet")
    for step in range(count):
        chosen = (np.arange(options.batch) + step * options.batch) % len(task)
        yield augmented(task.batch(chosen), options.augment, torch.Generator().manual_seed(step))


def waiting(folder: Path, count: int) -> Iterator[Row]:
    """A row for each number of workers: seconds a batch with waiting, against the 60 ms that a batch keeps the device."""
    options = parse(
        TrainingOptions,
        detectors.paper_training("lnclip", detectors.options("lnclip", {"size": "paper"})) | {"batch": BATCH},
        "the recipe of lnclip",
    )
    for workers in WORKERS:
        name = f"simulated device, {workers} loader processes"
        baseline = "a batch that is there, 60 ms"
        task = Faces.whole("faces", FaceTable.load(folder, cache_bytes=0))
        try:
            found = waits(loaded(task, options, count + 1, workers))
        except NotImplementedError as why:
            yield ratios.missing(name, baseline, str(why))
            continue
        took = [(wait + CONSUMES_S, CONSUMES_S) for wait in found]
        row = ratios.compared(name, baseline, took, unit="ms a batch", scale=1e3)
        yield ratios.Row(row.name, row.baseline, row.ratio, row.better, f"waits {median(found) * 1e3:.0f} ms a batch")


def rows(pairs: int = 7, batches: int = 8, count: int = BATCH) -> Iterator[Row]:
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
