"""Who cuts the faces: threads of this process, a process for each of several accelerators, or the machines of a Ray cluster.

    jobs (clips, in order) --whoever is free--> their cuts, in that order

Decoding, detecting, warping and WebP all let go of the interpreter, so threads keep every core busy; no more jobs are begun
than a few for each of them, so memory grows neither with the archive nor with the length of a clip. A job is the same
function of the same files wherever it is done, so the bytes are the same. Ray does a job that dies with its machine again.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import chain, cycle
from pathlib import Path
from typing import Any, TypeVar

import av
import cv2
import numpy as np
import PIL

from components import code, guardian
from components.errors import BadParams, PerennialError, StageFailed
from components.faces import detection, quality
from components.faces.detection import FaceDetector
from components.faces.extraction import Outcome, extract
from components.faces.hashes import hash_of
from components.faces.table import encode, encode_mask
from components.params import CropOptions
from components.settings import settings
from components.vocabulary import FACE, FRAME

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
THREADS = min(32, CORES)
AHEAD = 2
"""Jobs that are begun for each thread, process or core of a cluster: those that wait for their turn to be written."""
A_PROCESS = 4  # threads that keep one accelerator busy
RETRIES = 10  # of a job whose machine dies

Job = list[tuple[str, Path]]  # clips: path in the manifest, file
T = TypeVar("T")


@dataclass(frozen=True)
class Cut:
    """What became of a frame: `face` is what the table says of it, `image` and `mask` are encoded, where there is a face."""

    clip: str
    frame: int
    outcome: str
    reason: str = ""
    face: Mapping[str, Any] = field(default_factory=dict)
    image: bytes = b""
    mask: bytes | None = None
    hashes: Mapping[str, bytes] = field(default_factory=dict)
    """By kind, face and frame, where the frame is one of those that are hashed."""

    def without_image(self) -> Cut:
        return Cut(self.clip, self.frame, self.outcome, self.reason)


@dataclass(frozen=True)
class Task:
    """What a worker needs to know, and nothing of this process: it may be done elsewhere."""

    archive: Path
    detector: str
    params: CropOptions
    weights: str | None
    """Digest of the weights at work here."""
    masks: Mapping[str, Path] = field(default_factory=dict)
    """Of some of its clips."""
    lengths: Mapping[str, int] = field(default_factory=dict)
    """Of its clips, in frames."""

    def only(self, *jobs: Job) -> Task:
        """The same with what concerns the clips of these jobs alone."""
        clips = [clip for job in jobs for clip, _ in job]
        masks = {clip: self.masks[clip] for clip in clips if clip in self.masks}
        return replace(self, masks=masks, lengths={clip: self.lengths[clip] for clip in clips})


def cuts(jobs: Sequence[Job], task: Task, finder: FaceDetector) -> Iterator[list[Cut]]:
    """The cuts of every job, in order. `finder` is the task's face detector, for those who work in this process.

    Raises BadArchive where a file cannot be read for the system's sake, StageFailed where a worker is not what it must be.
    """
    if address := settings().ray_address:
        return _by_ray(jobs, task, finder.accelerators > 0, address)
    if finder.accelerators > 1:
        return _by_processes(jobs, task, finder.accelerators)
    return _by_threads(jobs, task, finder, THREADS)


def _cut(job: Job, task: Task, finder: FaceDetector) -> list[Cut]:
    found = extract(job, finder, task.params, task.masks, task.lengths)
    return [_encoded(outcome) for outcome in found]


def _encoded(outcome: Outcome) -> Cut:
    crop = outcome.crop
    if crop is None:
        return Cut(outcome.clip, outcome.frame, outcome.outcome, outcome.reason)
    face = {"landmarks": crop.landmarks, "box": crop.box, "score": crop.score}
    face |= quality.measure(crop.image, crop.in_frame, crop.box)
    mask = None if crop.mask is None else encode_mask(crop.mask)
    seen = {FACE: hash_of(crop.image), FRAME: outcome.frame_hash} if outcome.frame_hash else {}
    image = encode(crop.image)
    return Cut(outcome.clip, outcome.frame, outcome.outcome, face=face, image=image, mask=mask, hashes=seen)


def _in_order(
    begin: Callable[[Any], T], jobs: Sequence[Any], most: Callable[[], int], end: Callable[[T], Any]
) -> Iterator[Any]:
    """What `end` makes of what `begin` returns for each job, in order, with no more than `most()` begun and not ended."""
    running: deque[T] = deque()
    for job in jobs:
        while len(running) >= most():
            yield end(running.popleft())
        running.append(begin(job))
    while running:
        yield end(running.popleft())


# -- threads -------------------------------------------------------------------------------------------------------------


def _by_threads(jobs: Sequence[Job], task: Task, finder: FaceDetector, threads: int) -> Iterator[list[Cut]]:
    with _one_opencv_thread(), ThreadPoolExecutor(threads) as pool:

        def begin(job: Job) -> Future[list[Cut]]:
            return pool.submit(_cut, job, task.only(job), finder)

        try:
            yield from _in_order(begin, jobs, lambda: AHEAD * threads, Future.result)
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    """Clips are what runs in parallel; threads inside each warp would only get in each other's way."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


# -- other processes -----------------------------------------------------------------------------------------------------


def _elsewhere(jobs: Sequence[Job], task: Task, threads: int, made_of: Mapping[str, str]) -> list[list[Cut]]:
    """Jobs done in another process, which must be made of the same; its face detector is built once."""
    here = _made_of(task.detector)
    if here != made_of:
        raise StageFailed(
            f"expected {_differing(made_of, here)} on every machine that crops, found {_differing(here, made_of)} on "
            f"'{platform.node()}': faces would not have the same bytes. Install the same there."
        )
    finder = _finder(task.archive, task.detector, task.params, task.weights)
    return list(_by_threads(jobs, task, finder, threads))


@cache
def _finder(archive: Path, detector: str, params: CropOptions, weights: str | None) -> FaceDetector:
    finder = detection.build(detector, params, archive=archive)
    if finder.weights_digest != weights:
        raise StageFailed(
            f"expected the weights {str(weights)[:12]} of face detector '{detector}' on every machine, found "
            f"{str(finder.weights_digest)[:12]} on '{platform.node()}'. Put the same file there."
        )
    return finder


@cache
def _made_of(detector: str) -> Mapping[str, str]:
    """What decides the bytes of a face, beside its clip and the params."""
    closures = [code.closure(name) for name in (__name__, f"{detection.__name__}.{detector}")]
    versions = {module.__name__: str(module.__version__) for module in (av, cv2, np, PIL)}
    return {"code": code.digest(closures)[:12], **versions}


def _differing(one: Mapping[str, str], other: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in one.items() if other.get(name) != value)


def _by_processes(jobs: Sequence[Job], task: Task, accelerators: int) -> Iterator[list[Cut]]:
    """One process for each accelerator, several jobs at a time in each."""
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        pools = [
            stack.enter_context(ProcessPoolExecutor(1, context, _take_accelerator, (number,)))
            for number in range(accelerators)
        ]
        turns, made_of = cycle(pools), _made_of(task.detector)

        def begin(some: Sequence[Job]) -> Future[list[list[Cut]]]:
            return next(turns).submit(_elsewhere, some, task.only(*some), A_PROCESS, made_of)

        try:
            yield from chain.from_iterable(_in_order(begin, _several(jobs), lambda: AHEAD * len(pools), Future.result))
        except BrokenProcessPool as fault:
            raise StageFailed(
                f"expected {accelerators} processes that find faces to live, found one killed: {fault}. Memory is short: "
                "lower faces.max_input_px, or leave some accelerators out (CUDA_VISIBLE_DEVICES), and run again."
            ) from fault
        finally:
            for pool in pools:
                pool.shutdown(wait=False, cancel_futures=True)


def _several(jobs: Sequence[Job]) -> list[Sequence[Job]]:
    size = 4 * A_PROCESS
    return [jobs[start : start + size] for start in range(0, len(jobs), size)]


def _take_accelerator(number: int) -> None:
    """Before torch looks for accelerators this process is shown one; it ends when the stage that began it does."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    os.environ["CUDA_VISIBLE_DEVICES"] = shown.split(",")[number] if shown else str(number)
    if parent := multiprocessing.parent_process():
        guardian.end_unless(parent.is_alive)


# -- Ray -----------------------------------------------------------------------------------------------------------------


def _by_ray(jobs: Sequence[Job], task: Task, accelerated: bool, address: str) -> Iterator[list[Cut]]:
    """A job for each core of the cluster, or several for each accelerator."""
    with _cluster(address) as ray:
        kind, threads = ("GPU", A_PROCESS) if accelerated else ("CPU", 1)
        run = ray.remote(_elsewhere).options(
            num_cpus=threads, num_gpus=int(accelerated), max_retries=RETRIES, retry_exceptions=False
        )
        made_of = _made_of(task.detector)

        def begin(some: Sequence[Job]) -> Any:
            return run.remote(some, task.only(*some), threads, made_of)

        def end(begun: Any) -> list[list[Cut]]:
            try:
                done: list[list[Cut]] = ray.get(begun)
            except ray.exceptions.RayTaskError as fault:
                raise (fault.cause if isinstance(fault.cause, PerennialError) else fault) from None
            except ray.exceptions.RayError as fault:
                raise StageFailed(
                    f"expected the Ray cluster at '{address}' to do a job within {RETRIES + 1} attempts, found: {fault}. "
                    "Look at its machines, and run again; nothing was written."
                ) from fault
            return done

        pieces = _several(jobs) if accelerated else [[job] for job in jobs]
        there = partial(_places, ray, kind)
        yield from chain.from_iterable(_in_order(begin, pieces, lambda: AHEAD * there(), end))


def _places(ray: Any, kind: str) -> int:
    """Machines may come and go."""
    return max(1, int(ray.cluster_resources().get(kind, 1)))


@contextmanager
def _cluster(address: str) -> Iterator[Any]:
    """Ray, connected; raises BadParams where it is not installed or nobody answers."""
    try:
        import ray
    except ImportError as fault:
        raise BadParams(
            f"PERENNIAL_RAY_ADDRESS names a Ray cluster, '{address}', and Ray is not installed. "
            "pip install 'perennial[scale]', or unset the variable: this machine's cores are used then."
        ) from fault
    weights = {
        f"PERENNIAL_{name.upper()}": str(path.resolve())
        for name in ("yunet_weights", "retinaface_weights")
        if (path := getattr(settings(), name)) is not None
    }
    try:
        ray.init(
            address, log_to_driver=False, logging_level="ERROR", configure_logging=False,
            runtime_env={"env_vars": {**weights, "PERENNIAL_RAY_ADDRESS": ""}},
        )  # fmt: skip
    except (ConnectionError, ValueError, RuntimeError) as fault:
        raise BadParams(
            f"expected a Ray cluster at PERENNIAL_RAY_ADDRESS, '{address}', found none that answers ({fault}). Start one "
            "(`ray start --head`), or unset the variable."
        ) from fault
    try:
        yield ray
    finally:
        ray.shutdown()
