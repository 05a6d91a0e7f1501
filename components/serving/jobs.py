"""Many files, or long ones: a job is a folder on the disk, so it outlives the service that began it.

    jobs/<id>/job.json        what is asked, by whom, of which generation, how it stands
    jobs/<id>/files/0007      uploads
    jobs/<id>/answers.jsonl   one line a file, in their order; as many are done

A service that was killed goes on behind the last whole line, with the generation the job began with. A job is deleted, with all
of its files, once it has been finished for as long as results are kept.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from components.errors import Busy, PerennialError
from components.serving.service import NotThere, Service
from components.serving.succession import Served
from components.writing import append_line, replace_text

State = Literal["waiting", "running", "done", "failed"]
JOB, FILES, ANSWERS = "job.json", "files", "answers.jsonl"
MOST = 100
"""Jobs that wait or run."""
TRIES = 3
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Item:
    """One file of a job: what it is called, and where it lies."""

    name: str
    path: str
    """Absolute, or relative to the job's folder for an upload."""


@dataclass(frozen=True)
class Job:
    """What is asked, and how it stands; `created` and `finished` are seconds since 1970."""

    id: str
    caller: str
    items: tuple[Item, ...]
    created: float
    state: State = "waiting"
    generation: str = ""
    """Who answers; "" before it began."""
    finished: float = 0.0
    why: str = ""
    """Why it failed."""

    @classmethod
    def read(cls, folder: Path) -> Job:
        raw = json.loads((folder / JOB).read_text(encoding="utf-8"))
        return cls(**{**raw, "items": tuple(Item(**item) for item in raw["items"])})


class Jobs:
    """The jobs of a service, one answered at a time beside what is asked directly; close it in the end."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._folder = service.options.state / "jobs"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._changed = threading.Condition()
        self._jobs: dict[str, Job] = {}
        self._ending = False
        self._recover()
        self._running = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._running.start()

    def room(self, job_id: str) -> Path:
        """A folder for the uploads of a job that is being begun; gone at the next start if nothing comes of it."""
        files = self._folder / f".{job_id}" / FILES
        files.mkdir(parents=True)
        return files

    def abandon(self, job_id: str) -> None:
        """Forget the room of a job that was not begun."""
        shutil.rmtree(self._folder / f".{job_id}", ignore_errors=True)

    def begin(self, job_id: str, caller: str, items: Sequence[Item]) -> Job:
        """Put a job whose uploads lie in its room on the list; raises Busy where too many wait."""
        with self._changed:
            if sum(job.state in ("waiting", "running") for job in self._jobs.values()) >= MOST:
                raise Busy(f"expected fewer than {MOST} jobs that wait, found as many. Ask again later.")
            job = Job(job_id, caller, tuple(items), time.time())
            room = self._folder / f".{job_id}"
            _write(room, job)
            room.rename(self._folder / job_id)
            self._jobs[job_id] = job
            self._changed.notify_all()
        return job

    def told(self, job_id: str, caller: str, start: int = 0, limit: int = 1000) -> dict[str, Any]:
        """How a job stands, with `limit` of its answers from number `start` on; raises NotThere for another's, or none."""
        job = self._of(job_id, caller)
        lines = _lines(self._folder / job_id / ANSWERS)
        keep_s = self._service.options.keep_jobs_s
        return {
            "id": job.id,
            "state": job.state,
            "why": job.why,
            "done": len(lines),
            "total": len(job.items),
            "generation": job.generation or None,
            "created": _iso(job.created),
            "finished": _iso(job.finished) if job.finished else None,
            "deleted_after": _iso(job.finished + keep_s) if job.finished else None,
            "kept_s": keep_s,
            "answers": [json.loads(line) for line in lines[start : start + limit]],
        }

    def delete(self, job_id: str, caller: str) -> None:
        """Stop it, and delete what was asked and answered; raises NotThere."""
        with self._changed:
            self._of(job_id, caller)
            self._forget(job_id)

    def sweep(self) -> None:
        """Delete the jobs whose time is over; done between answers, and every second while there is nothing to do."""
        before = time.time() - self._service.options.keep_jobs_s
        with self._changed:
            for job in [job for job in self._jobs.values() if job.finished and job.finished < before]:
                self._forget(job.id)

    def states(self) -> dict[str, int]:
        """How many jobs are in each state."""
        jobs = list(self._jobs.values())
        return {state: sum(job.state == state for job in jobs) for state in ("waiting", "running", "done", "failed")}

    def close(self) -> None:
        """Stop after the file that is being answered; the next service goes on."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._running.join()

    def _of(self, job_id: str, caller: str) -> Job:
        job = self._jobs.get(job_id) if _ID.fullmatch(job_id) else None
        if job is None or job.caller != caller:
            raise NotThere("expected the id of a job of yours, found none: it was deleted, or its time was over.")
        return job

    def _forget(self, job_id: str) -> None:
        self._jobs.pop(job_id, None)
        shutil.rmtree(self._folder / job_id, ignore_errors=True)

    def _recover(self) -> None:
        for folder in self._folder.iterdir():
            if folder.name.startswith("."):
                shutil.rmtree(folder, ignore_errors=True)
            elif _ID.fullmatch(folder.name) and (folder / JOB).is_file():
                self._jobs[folder.name] = Job.read(folder)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._ending and (job := self._next()) is None:
                    self.sweep()
                    self._changed.wait(1.0)
                if self._ending:
                    return
            assert job is not None
            try:
                self._answer(job)
            except PerennialError as fault:
                self._set(replace(job, state="failed", why=str(fault), finished=time.time()))
            except FileNotFoundError:
                continue  # it was deleted under our hands

    def _next(self) -> Job | None:
        todo = [job for job in self._jobs.values() if not job.finished]
        return min(todo, key=lambda job: job.created, default=None)

    def _answer(self, job: Job) -> None:
        served = self._served(job)
        job = replace(job, state="running", generation=served.name)
        self._set(job)
        folder = self._folder / job.id
        for item in job.items[_mended(folder / ANSWERS) :]:
            if self._ending or job.id not in self._jobs:
                return
            self.sweep()
            said = self._reply(folder / item.path, item.name, job.caller, served)
            with (folder / ANSWERS).open("a+b") as file:
                append_line(file, json.dumps(said).encode())
        shutil.rmtree(folder / FILES, ignore_errors=True)
        self._set(replace(job, state="done", finished=time.time()))

    def _served(self, job: Job) -> Served:
        succession = self._service.succession
        return succession.named(job.generation) if job.generation else succession.champion

    def _reply(self, path: Path, name: str, caller: str, served: Served) -> dict[str, Any]:
        limits = self._service.options.job_limits
        for tried in range(1, TRIES + 1):
            try:
                return self._service.answer(path, name, caller, served=served, limits=limits, patience_s=3600)
            except Busy as fault:
                if tried == TRIES:
                    return {"file": name, "error": str(fault)}
                time.sleep(0.2)
            except (PerennialError, OSError) as fault:
                return {"file": name, "error": str(fault)}
        raise AssertionError

    def _set(self, job: Job) -> None:
        with self._changed:
            if job.id in self._jobs:
                self._jobs[job.id] = job
                _write(self._folder / job.id, job)


def new_id() -> str:
    """That nobody guesses."""
    return uuid.uuid4().hex


def _write(folder: Path, job: Job) -> None:
    replace_text(folder / JOB, json.dumps(asdict(job), indent=1))


def _mended(path: Path) -> int:
    """How many whole lines a file has; one that was torn is cut off."""
    lines = _lines(path)
    if path.is_file():
        with path.open("r+b") as file:
            file.truncate(sum(len(line) + 1 for line in lines))
    return len(lines)


def _lines(path: Path) -> list[bytes]:
    """The whole lines of a file."""
    return path.read_bytes().split(b"\n")[:-1] if path.is_file() else []


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
