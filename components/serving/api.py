"""The doors of the service: HTTP, described by /openapi.json, and a page for people at `/`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, File, Form, HTTPException, Query, Request, Response, UploadFile
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field

from components.errors import Busy, PerennialError, Refused, TooLarge
from components.serving.answer_log import spelled
from components.serving.gate import RETRY_S, App, Gate
from components.serving.jobs import Item, Jobs, new_id
from components.serving.metrics import CONTENT_TYPE
from components.serving.record import Champion, OperatingPoint, Record
from components.serving.service import NotThere, Service
from components.serving.truths import Truth
from components.serving.verdicts import asked

PAGE = Path(__file__).with_name("page")
PAGES = {"/": "index.html", "/page.css": "page.css", "/page.js": "page.js", "/icon.svg": "icon.svg"}
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
STATUS: dict[type[PerennialError], int] = {TooLarge: 413, Busy: 503, NotThere: 404, Refused: 403}


class Problem(BaseModel):
    """Why there is no answer: what was expected, what was found, what to do."""

    detail: str


class Shown(BaseModel):
    """One face in one frame, as two pictures."""

    face: int = Field(description="Its number in the record.")
    frame: int
    time_s: float | None
    score: float
    words: str
    image: str = Field(description="data: URI of the face.")
    heat: str = Field(description="data: URI of the face under its heat map, which compares over the whole file.")


class Reply(BaseModel):
    """The record of what was said of one file."""

    id: str
    answer: Record
    measured: dict[str, Any] = Field(description="How who answered was examined: AUC and false alarms by benchmark.")
    seconds: float
    pictures: list[Shown] | None = None


class JobState(BaseModel):
    """How a job stands, and its answers so far."""

    id: str
    state: Literal["waiting", "running", "done", "failed"]
    why: str = Field(description="Why it failed.")
    done: int
    total: int
    generation: str | None
    created: str
    finished: str | None
    deleted_after: str | None = Field(description="When it and its answers are deleted; null while it is not finished.")
    kept_s: float = Field(description="For how long a finished job is kept.")
    answers: list[dict[str, Any]]


class ToldReply(BaseModel):
    """What is now known of a file."""

    file: str = Field(description="In the archive of what people say.")
    truth: Truth
    known: int = Field(description="Files in that archive.")
    changed: bool


class Healthy(BaseModel):
    status: str


class Ready(BaseModel):
    """Who would answer now."""

    ready: bool
    champion: Champion
    operating_point: OperatingPoint
    measured: dict[str, Any]
    trouble: str = Field(description="Why a newer champion does not answer.")
    limits: dict[str, float]
    kept_s: float


def application(service: Service, jobs: Jobs, keys: dict[str, str], *, local: bool) -> App:
    """The service behind its gate, as an ASGI application; it closes neither."""
    api = described(service, jobs)
    options = service.options
    return Gate(
        api,
        service.metrics,
        options.at_once,
        lambda path: options.job_limits.bytes if path == "/v1/jobs" else options.limits.bytes,
        max(60.0, options.limits.time_s),
        keys,
        local,
    )


def described(service: Service, jobs: Jobs) -> FastAPI:
    """The application without its gate."""
    from importlib.metadata import version

    @asynccontextmanager
    async def life(_: FastAPI) -> Any:
        import anyio.to_thread

        # answering waits for processes, in threads; as many as may wait, and a few for whoever asks how a job stands
        anyio.to_thread.current_default_thread_limiter().total_tokens = service.options.at_once + 8
        yield

    api = FastAPI(
        title="Perennial", version=version("perennial"), docs_url=None, redoc_url=None, lifespan=life,
        summary="Asks the champion of a line whether faces in pictures and clips are forged.",
        dependencies=[Depends(HTTPBearer(auto_error=False))],
    )  # fmt: skip
    _answer_faults(api)
    _add_pages(api)
    _add_answers(api, service)
    _add_jobs(api, service, jobs)
    _add_health(api, service, jobs)
    return api


def caller(request: Request) -> str:
    """The name of the key that was shown at the gate."""
    return str(getattr(request.state, "caller", "local"))


Caller = Annotated[str, Depends(caller)]
Upload = Annotated[UploadFile | None, File(description="A picture or a clip.")]
JobId = Annotated[str, InPath(pattern="^[0-9a-f]{32}$", description="As POST /v1/jobs gave it.")]
ByPath = Annotated[
    str | None, Form(description="In place of an upload: a path in a folder of --files.", max_length=4096)
]


def refusals(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The answers of a route that are a Problem; those of the gate are any route's."""
    return {code: {"model": Problem} for code in (400, 401, 403, *codes)}


def _add_answers(api: FastAPI, service: Service) -> None:
    @api.post("/v1/score", responses=refusals(404, 408, 413, 422, 503))
    def score(
        who: Caller, file: Upload = None, path: ByPath = None,
        pictures: Annotated[bool, Form(description="Also the faces, and where the detector looked.")] = False,
    ) -> Reply:  # fmt: skip
        """Ask the champion about one picture or clip: an upload, or a path in a folder that may be read."""
        with _one(service, file, path) as (found, name):
            return Reply(**service.answer(found, name, who, with_pictures=pictures))

    @api.post("/v1/truths", responses=refusals(404, 408, 413, 422, 503))
    def tell(
        truth: Annotated[Truth, Form(description="What it really is.")],
        file: Upload = None, path: ByPath = None,
        method: Annotated[str, Form(description="How it was forged.", max_length=100)] = "",
        source: Annotated[str, Form(description="Who or what is seen: all of one source stays in one split.", max_length=200)]
        = "",
    ) -> ToldReply:  # fmt: skip
        """Say what a file really is: it is kept in an archive for a person to look at and to land."""
        with _one(service, file, path) as (found, _):
            told = service.tell_truth(found, truth, method=method, source=source)
            return ToldReply(file=told.file, truth=told.truth, known=told.known, changed=told.changed)


def _add_jobs(api: FastAPI, service: Service, jobs: Jobs) -> None:
    @api.post("/v1/jobs", status_code=202, responses=refusals(404, 408, 413, 422, 503))
    def begin(
        response: Response, who: Caller,
        files: Annotated[list[UploadFile] | None, File(description="Pictures and clips.")] = None,
        paths: Annotated[list[str] | None, Form(description="Files, or folders of them, in a folder of --files.")] = None,
    ) -> JobState:  # fmt: skip
        """Ask about many files, or long ones. Answers are fetched from /v1/jobs/{id} as they come."""
        new = new_id()
        room = jobs.room(new)
        try:
            items = [*_uploaded(files or (), room), *_named(service, paths or ())]
            if not 0 < len(items) <= service.options.job_files:
                raise TooLarge(f"expected 1 to {service.options.job_files} files, found {len(items)}.")
            jobs.begin(new, who, items)
        finally:
            jobs.abandon(new)
        response.headers["location"] = f"/v1/jobs/{new}"
        return JobState(**jobs.told(new, who))

    @api.get("/v1/jobs/{job_id}", responses=refusals(404, 422))
    def look(
        who: Caller, job_id: JobId,
        start: Annotated[int, Query(ge=0, le=1_000_000, description="Number of the first answer.")] = 0,
        limit: Annotated[int, Query(ge=0, le=1000, description="Answers at most.")] = 1000,
    ) -> JobState:  # fmt: skip
        """How a job stands, with its answers so far."""
        return JobState(**jobs.told(job_id, who, start, limit))

    @api.delete("/v1/jobs/{job_id}", status_code=204, responses=refusals(404, 422))
    def delete(who: Caller, job_id: JobId) -> None:
        """Stop a job, and delete its files and its answers."""
        jobs.delete(job_id, who)


def _add_health(api: FastAPI, service: Service, jobs: Jobs) -> None:
    def readiness() -> Ready:
        limits, served = service.options.limits, service.succession.champion
        return Ready(
            ready=not service.trouble(),
            champion=served.examiner.champion,
            operating_point=served.examiner.point.told(),
            measured=served.standing.measured,
            trouble=service.succession.trouble,
            limits={"bytes": limits.bytes, "pixels": limits.pixels, "seconds": limits.seconds, "frames": limits.frames},
            kept_s=service.options.keep_jobs_s,
        )

    @api.get("/healthz")
    async def healthz() -> Healthy:
        """Whether the process is up."""
        return Healthy(status="up")

    @api.get("/readyz", responses={503: {"model": Ready}})
    async def readyz(response: Response) -> Ready:
        """Whether it would answer, and who."""
        ready = readiness()
        response.status_code = 200 if ready.ready else 503
        return ready

    @api.get(
        "/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}, 401: {"model": Problem}}
    )
    async def metrics() -> Response:
        """For Prometheus."""
        for state, count in jobs.states().items():
            service.metrics.jobs.labels(state).set(count)
        return Response(service.measure(), media_type=CONTENT_TYPE)


def _add_pages(api: FastAPI) -> None:
    for address, name in PAGES.items():
        api.add_api_route(address, _page(PAGE / name), include_in_schema=False, response_class=Response)


def _page(file: Path) -> Any:
    async def page() -> Response:
        return Response(file.read_bytes(), media_type=KINDS[file.suffix])

    return page


def _answer_faults(api: FastAPI) -> None:
    @api.exception_handler(PerennialError)
    async def advise(_: Request, fault: PerennialError) -> JSONResponse:
        status = next((code for kind, code in STATUS.items() if isinstance(fault, kind)), 422)
        headers = {"retry-after": str(RETRY_S)} if status == 503 else None
        return JSONResponse({"detail": str(fault)}, status, headers)

    @api.exception_handler(RequestValidationError)
    async def correct(_: Request, fault: RequestValidationError) -> JSONResponse:
        words = "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in fault.errors())
        return JSONResponse({"detail": f"expected another request: {words}"}, 422)


@contextmanager
def _one(service: Service, file: UploadFile | None, path: str | None) -> Iterator[tuple[Path, str]]:
    """The one file that is asked about, and what the caller calls it; an upload lies on the disk while it is worked on."""
    if (file is None) == (path is None):
        raise HTTPException(422, "expected a file or a path, and not both.")
    if path is not None:
        found, name = service.under_a_root(path)
        if not found.is_file():
            raise NotThere("expected the path of one file, found none there. Ask about a folder with a job.")
        yield found, name
        return
    assert file is not None
    with tempfile.NamedTemporaryFile(dir=service.uploads, prefix="asked-") as kept:
        shutil.copyfileobj(file.file, kept)
        kept.flush()
        yield Path(kept.name), spelled(file.filename or "")


def _uploaded(files: Sequence[UploadFile], room: Path) -> Iterator[Item]:
    for number, file in enumerate(files):
        kept = room / f"{number:05d}"
        with kept.open("wb") as target:
            shutil.copyfileobj(file.file, target)
        yield Item(spelled(file.filename or ""), f"{room.name}/{kept.name}")


def _named(service: Service, paths: Sequence[str]) -> Iterator[Item]:
    """The files that are named, each asked about by itself: a link in a folder may lead out of it."""
    for text in paths:
        found, name = service.under_a_root(text)
        there = asked([found])
        for path in sorted([*there.files, *there.others]):
            inside = PurePosixPath(name, path.relative_to(found).as_posix()) if found.is_dir() else name
            real, called = service.under_a_root(str(inside))
            yield Item(called, str(real))
