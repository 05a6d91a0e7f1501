"""The service without its doors: a file goes in, a reply comes out, whoever asks and however.

file -> worker process: limits, frames, faces -> the champion that stood when it was asked: batches -> record
                                              -> the challenger, later and unseen
                                              -> log, metrics
"""

from __future__ import annotations

import base64
import io
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from components.digests import file_digest
from components.errors import PerennialError, Refused
from components.serving.answer_log import ANSWER, SHADOW, AnswerLog
from components.serving.asked import Asked
from components.serving.limits import Limits, Task, look_within
from components.serving.looking import Seen
from components.serving.metrics import Metrics
from components.serving.pictures import Picture, pictures
from components.serving.succession import Books, Served, Succession
from components.serving.truths import Told, Truth, Truths
from components.serving.workers import Workers

PICTURE_PX = 256
IN_SHADOW = 16
"""Answers that may wait for the challenger; it is left out of those that come while as many do."""


class NotThere(Refused):
    """Nothing is there, or nothing that this caller may see: who asks learns no more."""


@dataclass(frozen=True)
class Options:
    """How a service is to be run."""

    state: Path
    """Where uploads and jobs lie."""
    told: Path
    """The archive of what people say the truth was."""
    files: tuple[Path, ...] = ()
    """Folders whose files may be named by path."""
    workers: int = 2
    at_once: int = 8
    """Requests that are answered at once; more are asked to come again."""
    limits: Limits = field(default_factory=Limits)
    job_limits: Limits = field(
        default_factory=lambda: Limits(bytes=4 * 2**30, seconds=4 * 3600, frames=900_000, time_s=3600)
    )
    job_files: int = 10_000
    keep_jobs_s: float = 24 * 3600.0
    log: Path | None = None
    keep_log_days: int = 0
    shadow: bool = False
    """Whether the challenger answers as well, unseen."""
    every_s: float = 5.0
    """Between looks at who is champion."""
    asked: Path | None = None
    """Where is kept what was asked, without names and pictures."""
    population: Callable[[], Mapping[str, float]] | None = None
    """Compares what was asked with what the champion was calibrated on, tells whoever shall know, and returns the numbers."""
    population_every_s: float = 3600.0


class Service:
    """Answers; close it in the end."""

    def __init__(self, options: Options, books: Books, *, device: str = "cpu") -> None:
        self.options = options
        self.metrics = Metrics()
        self.succession = Succession(books, device=device, shadow=options.shadow)
        self.workers: Workers[Task, Seen] = Workers(look_within, options.workers)
        self.log = AnswerLog(options.log, options.keep_log_days) if options.log else None
        self.asked = Asked(options.asked) if options.asked else None
        self.truths = Truths(options.told)
        self.uploads = options.state / "uploads"
        self.uploads.mkdir(parents=True, exist_ok=True)
        for left in self.uploads.iterdir():  # of a service that was killed: nobody waits for them any more
            left.unlink()
        self._shadows = ThreadPoolExecutor(1, "shadow")
        self._in_shadow = threading.Semaphore(IN_SHADOW)
        self._end = threading.Event()
        self._keeping_house = threading.Thread(target=self._keep_house, name="house", daemon=True)
        self._keeping_house.start()

    def answer(
        self, path: Path, name: str, caller: str, *, served: Served | None = None, limits: Limits | None = None,
        with_pictures: bool = False, patience_s: float = 60.0,
    ) -> dict[str, Any]:  # fmt: skip
        """The reply for one file that the caller knows as `name`.

        Raises TooLarge, Unreadable and Busy as `workers.do` and `look_within` do.
        """
        start = time.perf_counter()
        served = served or self.succession.champion  # whoever stands now, even if another follows meanwhile
        seen = self._looked(path, name, served, limits or self.options.limits, patience_s)
        record, looks = served.examiner.judged(seen)
        reply = {
            "id": uuid.uuid4().hex,
            "answer": record.as_json(),
            "measured": served.standing.measured,
            "seconds": round(time.perf_counter() - start, 4),
        }
        self._tell(reply, caller)
        kept = self.asked.add(record, looks) if self.asked else None
        self._ask_in_the_shadow(seen, served, reply, kept)
        if with_pictures:
            reply["pictures"] = [as_uris(one) for one in pictures(served.examiner, seen, record)]
        return reply

    def tell_truth(self, path: Path, truth: Truth, *, method: str = "", source: str = "") -> Told:
        """Keep a file with what a person says of it; raises as `answer` does for one that cannot be read."""
        self._looked(path, "the file", self.succession.champion, self.options.limits, 60.0)
        return self.truths.tell(path, file_digest(path), truth, method=method, source=source)

    def under_a_root(self, text: str) -> tuple[Path, str]:
        """The file or folder that a caller names by path, and what it is called there; raises NotThere for all else."""
        with suppress(OSError, ValueError, RuntimeError):
            for root in self.options.files:
                base = root.resolve(strict=True)
                found = (base / text).resolve(strict=True)
                if found.is_relative_to(base):
                    return found, found.relative_to(base).as_posix()
        raise NotThere(
            "expected the path of a file in a folder that this service was told to read (--files), found none there."
            if self.options.files
            else "expected an upload: this service was started without --files, and reads no file by its path."
        )

    def trouble(self) -> str:
        """Why nobody should ask now; "" where all is well."""
        return "" if self._keeping_house.is_alive() and not self._end.is_set() else "it is ending"

    def close(self) -> None:
        """Let go of processes and threads."""
        self._end.set()
        self._keeping_house.join()
        self._shadows.shutdown(cancel_futures=True)
        self.workers.close()

    def _looked(self, path: Path, name: str, served: Served, limits: Limits, patience_s: float) -> Seen:
        task = Task(path, name, served.detector, served.standing.params, limits)
        return self.workers.do(task, within_s=limits.time_s, patience_s=patience_s)

    def _tell(self, reply: dict[str, Any], caller: str) -> None:
        record, metrics = reply["answer"], self.metrics
        reason = record["reason"]["code"] if record["reason"] else ""
        metrics.answers.labels(record["champion"]["generation"], record["verdict"], reason).inc()
        metrics.faces.inc(record["faces_seen"])
        metrics.seconds.observe(reply["seconds"])
        if record["probability"] is not None:
            metrics.probability.observe(record["probability"])
        if self.log is not None:
            who = {key: record["champion"][key] for key in ("generation", "weights")}
            self.log.append({"kind": ANSWER, "id": reply["id"], "caller": caller, **who, "answer": record})

    def _ask_in_the_shadow(self, seen: Seen, served: Served, reply: dict[str, Any], kept: int | None) -> None:
        challenger = self.succession.challenger
        if challenger is None or challenger is served or not _cut_alike(challenger, served):
            return
        if self._in_shadow.acquire(blocking=False):
            self._shadows.submit(self._shadow, challenger, seen, reply, kept)

    def _shadow(self, challenger: Served, seen: Seen, reply: dict[str, Any], kept: int | None) -> None:
        """What the challenger would have said: for the log and the metrics, never for who asked."""
        try:
            said = challenger.examiner.judge(seen).as_json()
            agrees = said["verdict"] == reply["answer"]["verdict"]
            self.metrics.shadow.labels(str(agrees).lower()).inc()
            if self.asked and kept is not None:
                self.asked.tell_shadow(kept, said["verdict"])
            if self.log is not None:
                entry = {"id": reply["id"], "generation": challenger.name, "weights": challenger.standing.weights}
                told = {key: said[key] for key in ("verdict", "probability", "score")}
                self.log.append({"kind": SHADOW, **entry, **told, "agrees": agrees})
        finally:
            self._in_shadow.release()

    def _keep_house(self) -> None:
        next_look = time.monotonic() + self.options.population_every_s
        while not self._end.wait(self.options.every_s):
            self.succession.look()
            if self.log is not None:
                self.log.sweep()
            if self.options.population and time.monotonic() >= next_look:
                self.look_at_population()
                next_look = time.monotonic() + self.options.population_every_s

    def look_at_population(self) -> None:
        """Compare what was asked with what the champion was calibrated on; a fault is counted, and nobody's answer waits."""
        assert self.options.population is not None
        try:
            for number, value in self.options.population().items():
                self.metrics.population.labels(number).set(value)
        except (PerennialError, OSError):
            self.metrics.population_faults.inc()

    def measure(self) -> bytes:
        """The metrics of now."""
        champion, metrics = self.succession.champion, self.metrics
        metrics.champion.clear()
        metrics.champion.labels(champion.name).set(1)
        metrics.batches.set(champion.batched.batches)
        metrics.batched_faces.set(champion.batched.faces)
        metrics.replaced.set(self.workers.replaced)
        metrics.swaps.set(self.succession.swaps)
        return metrics.told()


def as_uris(picture: Picture) -> dict[str, Any]:
    """A picture as a page shows it without fetching anything."""
    told = {key: getattr(picture, key) for key in ("face", "frame", "time_s", "score", "words")}
    return {**told, "image": _uri(picture.image), "heat": _uri(picture.overlay)}


def _uri(pixels: npt.NDArray[np.uint8]) -> str:
    held = io.BytesIO()
    image = Image.fromarray(pixels)
    image.thumbnail((PICTURE_PX, PICTURE_PX))
    image.save(held, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(held.getvalue()).decode()}"


def _cut_alike(one: Served, other: Served) -> bool:
    return (one.detector, one.standing.params) == (other.detector, other.standing.params)
