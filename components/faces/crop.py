"""Stage crop: the clips of an archive become its face table.

Clips are worked on by threads (decoding, warping and WebP all let go of the interpreter) and written in the order of
the manifest, so the table is the same however many there are.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from components import orders, stage
from components.archives import manifest as manifests
from components.archives.files import IMAGE
from components.archives.fragments import part_of
from components.archives.listing import MASK, is_inside
from components.archives.report import passed
from components.errors import BadArchive, NoFaceFound
from components.faces import detection, hashes, weights
from components.faces.detection import FaceDetector
from components.faces.extraction import OK, Outcome, extract, profile_of
from components.faces.table import FaceTable, Writer, encode, encode_mask
from components.params import CropOptions, ValidationOptions
from components.progress import shown
from components.vocabulary import FACE, FRAME

STILLS_A_JOB = 32  # stills share the detector's batches
NAMED = 10  # clips a message names before it only counts
THREADS = min(8, os.cpu_count() or 1)

Job = list[tuple[str, Path]]  # clips: path in the manifest, file
Found = tuple[Outcome, bytes, bytes | None, bytes]
"""What became of a frame, the face where there is one, the mask if known, the hash of the face where one is kept."""


def crop(
    archive: Path,
    manifest: Path,
    validation: Path,
    withdrawn_file: Path,
    weights_file: Path,
    faces: Path,
    *,
    name: str,
    detector: str,
    faces_params: CropOptions,
    validation_params: ValidationOptions,
    report: str = "",
) -> FaceTable:
    """Write the face table of one archive to folder `faces`, and what the suite found of it to folder `report`.

    archive, manifest and validation are the folders of the stages before; what `withdrawn_file` names is left out,
    and `weights_file` says which weights find the faces. Raises BadArchive naming a clip that cannot be read or other
    weights, NoFaceFound where too few clips show a face, Invalid where the faces break a rule; then `faces` stays as it
    was.
    """
    _expect_passed(validation, name)
    from components.archives import expectations  # takes seconds to import

    clips = manifests.read(manifest / manifests.MANIFEST_FILE)
    withdrawn = orders.read(withdrawn_file)
    clips = clips[~orders.struck(clips.assign(archive=name, clip=clips["path"], frame=-1), withdrawn)]
    if clips.empty:
        raise BadArchive(
            f"expected clips in the manifest of archive '{name}', found none that is not withdrawn. Run ingest@{name} again."
        )
    jobs = _jobs(archive, clips)
    masks = _masks(archive, clips)
    finder = detection.build(detector, faces_params, archive=archive)
    weights.expect(weights_file, detector, finder.weights_digest)
    lengths = dict(zip(clips["path"], clips["frames"].tolist(), strict=True))
    about = clips.set_index("path")[["label", "method", "identity", "source", "split"]].to_dict("index")
    single = {(order.clip, order.frame) for order in withdrawn if order.archive == name and order.frame is not None}
    outcomes: list[tuple[str, str, int, str]] = []
    hashed: list[tuple[str, int, str, bytes]] = []
    with Writer(faces, profile_of(finder, faces_params), masks=bool(masks)) as writer:
        found = shown(_found(jobs, finder, faces_params, masks, lengths), f"cropping {name}", total=len(jobs))
        for outcome, image, mask, face_hash in chain.from_iterable(found):
            if (outcome.clip, outcome.frame) in single:
                continue
            outcomes.append((name, outcome.clip, outcome.frame, outcome.outcome))
            if outcome.crop is not None:
                writer.add(_row(outcome, name, about[outcome.clip]), image, mask)
            if face_hash:
                kinds = {FACE: face_hash, FRAME: outcome.frame_hash}
                hashed += [(outcome.clip, outcome.frame, kind, value) for kind, value in kinds.items()]
        seen = pd.DataFrame(outcomes, columns=["archive", "clip", "frame", "outcome"]).astype({"frame": np.int32})
        _expect_yield(seen, name, detector, validation_params.min_yield)
        expectations.check_faces(
            writer.rows, clips, validation_params, Path(report) if report else None, size_px=faces_params.size_px
        )
        table = writer.finish(seen)
    hashes.write(hashed, faces)
    return table


def _jobs(archive: Path, clips: pd.DataFrame) -> list[Job]:
    """Videos one by one, neighbouring stills together."""
    jobs: list[Job] = []
    before = None
    for path, kind in zip(clips["path"], clips["kind"], strict=True):
        clip = (path, _inside(archive, part_of(path).file))
        if kind == before == IMAGE and len(jobs[-1]) < STILLS_A_JOB:
            jobs[-1].append(clip)
        else:
            jobs.append([clip])
        before = kind
    return jobs


def _masks(archive: Path, clips: pd.DataFrame) -> dict[str, Path]:
    """Clip -> the file that shows what was manipulated of it, where there is one."""
    if MASK not in clips:
        return {}
    return {clip: _inside(archive, mask) for clip, mask in zip(clips["path"], clips[MASK], strict=True) if mask}


def _inside(archive: Path, path: str) -> Path:
    """The file of a clip or of its mask; no manifest may name what lies elsewhere."""
    if not is_inside(path):
        raise BadArchive(f"expected paths below '{archive}', found '{path}', which leads out of it. Run ingest again.")
    return archive / path


def _found(
    jobs: Sequence[Job],
    finder: FaceDetector,
    params: CropOptions,
    masks: Mapping[str, Path],
    lengths: Mapping[str, int],
) -> Iterator[list[Found]]:
    """The outcomes of each job in order; few jobs run ahead, so memory does not grow with the archive."""

    def work(job: Job) -> list[Found]:
        known = {clip: masks[clip] for clip, _ in job if clip in masks}
        return [(outcome, *_encoded(outcome)) for outcome in extract(job, finder, params, known, lengths)]

    running: deque[Future[list[Found]]] = deque()
    with _one_opencv_thread(), ThreadPoolExecutor(THREADS) as pool:
        for job in jobs:
            running.append(pool.submit(work, job))
            if len(running) > 2 * THREADS:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def _encoded(outcome: Outcome) -> tuple[bytes, bytes | None, bytes]:
    crop = outcome.crop
    if crop is None:
        return b"", None, b""
    mask = None if crop.mask is None else encode_mask(crop.mask)
    return encode(crop.image), mask, hashes.hash_of(crop.image) if outcome.frame_hash else b""


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    """Clips are what runs in parallel; threads inside each warp would only get in each other's way."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _row(outcome: Outcome, name: str, about: Mapping[Any, Any]) -> dict[str, Any]:
    crop = outcome.crop
    assert crop is not None
    found = {"landmarks": crop.landmarks, "box": crop.box, "score": crop.score}
    return {"archive": name, "clip": outcome.clip, "frame": outcome.frame, **about, **found}


def _expect_passed(validation: Path, name: str) -> None:
    """The suite over the manifest must have passed: a refused archive leaves a report too."""
    said = passed(validation)
    if not said:
        found = "none" if said is None else "a suite that refused it"
        raise BadArchive(
            f"expected a passed report of '{name}' in '{validation}', found {found}. Run validate@{name} and see what it says."
        )


def _expect_yield(outcomes: pd.DataFrame, name: str, detector: str, least: float) -> None:
    """At least this share of the clips must show a face."""
    shows = outcomes["outcome"].eq(OK).groupby(outcomes["clip"]).any()
    without = list(shows.index[~shows])
    if shows.any() and shows.mean() >= least:
        return
    more = f" and {len(without) - NAMED} more" if len(without) > NAMED else ""
    raise NoFaceFound(
        f"{len(without)} of {len(shows)} clips in '{name}' gave no face to '{detector}' (allowed: {1 - least:.0%}): "
        f"{', '.join(repr(clip) for clip in without[:NAMED])}{more}. Lower faces.min_score, raise "
        "faces.max_input_px, choose another face detector, or leave these clips out."
    )


if __name__ == "__main__":
    stage.run(crop)
