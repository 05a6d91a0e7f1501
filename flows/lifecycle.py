"""When a new forgery appears, its clips become faces, the faces become a task, the next generation learns it from its
teacher and its memory, a matrix shows what was gained and forgotten, a gate decides, the registry remembers."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.exceptions import TerminationSignal
from prefect.futures import PrefectFuture, as_completed, wait
from prefect.states import Cancelled
from prefect.task_runners import ThreadPoolTaskRunner

from components import code
from components.errors import PerennialError, Refused, UnknownName
from components.evaluation.add_benchmark import BENCH_FILE
from components.faces import weights
from components.settings import settings
from components.withdrawal import files as withdrawals
from components.writing import temporaries
from flows import (
    champions,
    dvc_process,
    engine,
    index,
    near_duplicates,
    pipeline,
    population,
    provenance,
    shown,
    stopping,
)
from flows.durations import clock, raised
from flows.live import curves
from flows.outcome import Outcome
from flows.pending import (
    ARCHIVE_STAGES,
    examination_marker,
    examined,
    faceless,
    judged,
    marker,
    outdated,
    proposal,
    stale,
    unexamined,
    unjudged,
    unrecorded,
    untold,
    waiting,
)
from flows.retries import append
from flows.turnstile import devices_of, environment, turnstile
from flows.workspace import Workspace, only_one

OnOutput = Callable[[str, str], None]
"""Told (stage, line of output) while stages run; `waiting` announces one, and `done`, `failed` and `stopped` end it."""
on_output: list[OnOutput] = []
WAITING = "waiting"


PATIENCE_S = 60  # for a stage somebody else started
# A task that waits for another one holds its thread, so threads are many; what may run at once is the turnstile's to say.
RUNNER: Any = ThreadPoolTaskRunner(max_workers=512)  # Any: Prefect's own runners do not fit its annotation of flows


def lifecycle(root: Path, again: Sequence[str] = (), patience_s: float = 0) -> Outcome:
    """Do whatever is pending in the workspace at `root`, and nothing else. A closed gate is a result, not an error.

    `again` names generations to raise once more on purpose, with their descendants; `patience_s` is how long to wait for
    another lifecycle in this workspace. What Prefect shows failed where a stage did, after everything else was done.
    """
    workspace = Workspace.at(Path(root))
    with only_one(workspace, patience_s), temporaries(workspace.temporary), engine.beside() as engine_is_up:
        reborn = gather(workspace, again)
        with engine_is_up(), by_signal():
            return shown.outcome_of(recorded, workspace, reborn)


def lifecycle_within(root: Path, patience_s: float = 0) -> Outcome:
    """The same within a flow that runs already, and is recorded as what it is part of."""
    workspace = Workspace.at(root)
    with only_one(workspace, patience_s), temporaries(workspace.temporary):
        return proceed(workspace, gather(workspace, ()))


def gather(workspace: Workspace, again: Sequence[str]) -> tuple[str, ...]:
    """Have the files at hand that everything rests on; returns `again` with its descendants."""
    with dvc_process.stoppable():
        workspace.sweep()
        pipeline.checkout(workspace.root)
        workspace.link_archives()
        pipeline.refresh(workspace.root, patience_s=PATIENCE_S)
        reborn = descendants(workspace, again)
        withdrawals.resolve(workspace.data(), workspace.params(), workspace.lineage(), reborn)
        weights.resolve(workspace.data(), workspace.params())
    return reborn


@flow(name="lifecycle", validate_parameters=False, task_runner=RUNNER)
def recorded(root: Path, again: Sequence[str]) -> Outcome:
    """`proceed`, as Prefect shows it."""
    return proceed(Workspace.at(root), again)


def proceed(workspace: Workspace, reborn: Sequence[str]) -> Outcome:
    """From faces to the registry, within a flow; raises SomethingFailed at the end where a stage failed."""
    outcome = Outcome()
    with shown.at_work(workspace), dvc_process.stoppable():
        prepare(workspace, outcome)  # bad data stops here, archive by archive
        plan(workspace, outcome)
        shown.begun(workspace, [*unjudged(workspace), *reborn])
        raise_generations(workspace, outcome, reborn)  # M_i learns; its row; the gate; and the registry follows at once
        met = examine(workspace, outcome)  # what joined late
        publish(workspace, outcome, met)
        remember(workspace, outcome)  # whatever MLflow and the registry have not been told yet
        index.write(workspace)  # who answers now
    return shown.ended(workspace, outcome)


@contextmanager
def by_signal() -> Iterator[None]:
    """A SIGTERM, which Prefect takes for itself while a flow runs, is what it is elsewhere."""
    try:
        yield
    except TerminationSignal as told:
        raise stopping.Stopped(told.signal) from None


def prepare(workspace: Workspace, outcome: Outcome) -> None:
    """Ingest, validate and crop what landed, then gauge it; a failing archive stops itself only."""
    *until_cropped, gauge = ARCHIVE_STAGES
    names = faceless(workspace, stale(workspace))
    chains = []
    ingested: dict[str, PrefectFuture[bool]] = {}
    archives = workspace.params().archives
    for name in names:
        before = [ingested[archives[name].after]] if archives[name].after in ingested else []
        chain = _chain(workspace, [f"{stage}@{name}" for stage in until_cropped], before)
        ingested[name] = chain[f"ingest@{name}"]
        chains.append(chain)
    _settle({stage: future for chain in chains for stage, future in chain.items()}, outcome)
    cropped = [name for name, chain in zip(names, chains, strict=True) if chain[f"crop@{name}"].state.is_completed()]
    _settle({f"{gauge}@{name}": _submit(workspace, f"{gauge}@{name}") for name in cropped}, outcome)


def plan(workspace: Workspace, outcome: Outcome) -> list[str]:
    """Append a row and a recipe for every task a line is to learn now; not of an archive that looks like another."""
    outcome.failed |= {f"near duplicates of {name}": why for name, why in near_duplicates.screen(workspace).items()}
    additions = proposal(workspace)
    if additions.lineage != workspace.lineage():
        append(workspace, additions)
    outcome.planned += list(additions.recipes)
    return list(additions.recipes)


def plan_only(workspace: Workspace) -> tuple[dict[str, str], tuple[str, ...]]:
    """`perennial plan`: the rows appended, in words, and what still waits for its faces, or looks like another archive."""
    with only_one(workspace, patience_s=0):
        pipeline.complete(workspace.root)
        near_duplicates.screen(workspace)
        additions = proposal(workspace, waiting(workspace))
        append(workspace, additions)
    rows = {
        n: f"learns '{r.row.learns}' from {r.row.teacher} with {r.strategy.name}" for n, r in additions.recipes.items()
    }
    return rows, additions.waiting


def descendants(workspace: Workspace, names: Sequence[str]) -> tuple[str, ...]:
    """The named generations and everyone descended from them, oldest first; raises UnknownName."""
    lineage = workspace.lineage()
    for name in names:
        if name not in lineage.generations:
            raise UnknownName("generation", name, lineage.generations)
    chosen = set(names)
    for name, row in lineage.generations.items():  # teachers stand before their descendants
        if row.teacher in chosen:
            chosen.add(name)
    return tuple(name for name in lineage.generations if name in chosen)


def raise_generations(workspace: Workspace, outcome: Outcome, again: Sequence[str]) -> None:
    """Every generation without a verdict, each line in order, lines side by side.

    Each is recorded, promoted and shown as soon as it is judged, and a line that waits for its verdicts goes on from there.
    """
    lineage, without = workspace.lineage(), unjudged(workspace)
    unborn = [name for name in lineage.generations if name in without or name in again]
    futures = _benches(workspace)
    awaited = _born(workspace, unborn, futures, again)
    while awaited:
        future = next(as_completed(list(awaited)))
        wait([future])  # which fetches how it ended
        name = awaited.pop(future)
        if not future.state.is_completed():
            continue
        line = workspace.lineage().generations[name].line
        _publish(workspace, outcome, [line])
        remember(workspace, outcome, but_for=awaited.values())
        awaited |= _born(workspace, _planned_on(workspace, outcome, line), futures)
    _settle(futures, outcome)


def _born(
    workspace: Workspace,
    names: Sequence[str],
    futures: dict[str, PrefectFuture[bool]],
    again: Collection[str] = (),
) -> dict[PrefectFuture[bool], str]:
    """Submit every stage of these generations, added to `futures`; what judges them, and whom."""
    lineage = workspace.lineage()
    for name in names:
        row = lineage.generations[name]
        bench = [futures[f] for f in [f"add_benchmark@{row.bench}"] if f in futures]
        heritage = [futures[f] for f in [f"curate@{row.teacher}"] if f in futures]
        judgement = [futures[f] for f in [f"judge@{row.teacher}"] if f in futures]
        force = name in again
        born = _submit(workspace, f"evolve@{name}", force=force, wait_for=heritage)
        scored = _submit(workspace, f"evaluate@{name}", force=force, wait_for=[born, *bench, *judgement])
        futures[f"evolve@{name}"] = born
        futures[f"curate@{name}"] = _submit(workspace, f"curate@{name}", force=force, wait_for=[born])
        futures[f"evaluate@{name}"] = scored
        measured = _submit(workspace, f"calibrate@{name}", force=force, wait_for=[scored])
        futures[f"calibrate@{name}"] = measured
        futures[f"judge@{name}"] = _submit(workspace, f"judge@{name}", force=force, wait_for=[scored, measured])
    return {futures[f"judge@{name}"]: name for name in names}


def _planned_on(workspace: Workspace, outcome: Outcome, line: str) -> list[str]:
    """What is planned since a generation of the line was judged, if the line waits for that; a fault ends nothing."""
    try:
        lines = workspace.params().lines
        return plan(workspace, outcome) if line in lines and lines[line].waits else []
    except PerennialError as fault:  # params.yaml was edited meanwhile
        outcome.failed[f"plan {line}"] = str(fault)
        return []


def examine(workspace: Workspace, outcome: Outcome) -> list[str]:
    """Every examination the lineage asks for, in order within a line; returns the generations that were examined."""
    asked, without = workspace.lineage().examinations, unexamined(workspace)
    futures = _benches(workspace) if without else {}
    for key in without:
        said = asked[key]
        before = [futures[f] for f in (f"examine@{said.after}", f"add_benchmark@{said.benchmark}") if f in futures]
        futures[f"examine@{key}"] = _submit(workspace, f"examine@{key}", wait_for=before)
    _settle(futures, outcome)
    return [asked[key].generation for key in without if examined(workspace, key)]


def _benches(workspace: Workspace) -> dict[str, PrefectFuture[bool]]:
    """Benches the lineage names and nobody has made, one after the other."""
    names = [
        name for name in workspace.lineage().benches if not (workspace.data("benches", name) / BENCH_FILE).is_file()
    ]
    return _chain(workspace, [f"add_benchmark@{name}" for name in names], [])


def publish(workspace: Workspace, outcome: Outcome, met: Sequence[str] = ()) -> None:
    """One page for every line that has news, and Data Docs, which also tell of archives that nobody may learn.

    `met`: generations that were examined late.
    """
    workspace.write_docs()
    lineage = workspace.lineage()
    for line in lineage.heads:
        population.write_page(workspace, line)
    _publish(
        workspace, outcome, {lineage.generations[name].line for name in met} | {*outdated(workspace, stale(workspace))}
    )


def _publish(workspace: Workspace, outcome: Outcome, lines: Collection[str]) -> None:
    """The pages of those lines whose youngest generation was judged, and examined on what it was asked about."""
    lineage = workspace.lineage()
    ready = [
        line
        for line in sorted(lines)
        if judged(workspace, lineage.heads[line].generation)
        and (
            lineage.heads[line].examined not in lineage.examinations
            or examined(workspace, lineage.heads[line].examined)
        )
    ]
    _settle({f"publish@{line}": _submit(workspace, f"publish@{line}") for line in ready}, outcome)


def remember(workspace: Workspace, outcome: Outcome, but_for: Collection[str] = ()) -> None:
    """Show MLflow every generation it has not seen, oldest first, and promote those whose gate opened.

    `but_for` are generations at work, and with them their late examinations. Moves of champions that were cut off are
    finished first. A tracking server that does not answer is asked no further; the next lifecycle goes on where this one
    stopped.
    """
    if _fell_silent(outcome) or not _settled(workspace, outcome):
        return
    news = unrecorded(workspace, but_for)
    for name in news:
        future = record.submit(workspace, name)
        wait([future])
        said = future.result(raise_on_failure=False)
        if not future.state.is_completed():
            outcome.failed[f"record {name}"] = f"{said}\nWhat was raised is safe: `perennial run` records it again."
            return
        if said.get("promoted"):
            outcome.promoted.append(name)
            emit_event("generation.promoted", resource={"prefect.resource.id": f"perennial.generation.{name}"})
        if said.get("refused"):
            outcome.refused[name] = said["refused"]
    if news:
        tell_of_all(workspace, but_for)
        _settled(workspace, outcome)
    for key in () if but_for else untold(workspace):
        told = record_examination.submit(workspace, key)
        wait([told])
        if not told.state.is_completed():
            why = told.result(raise_on_failure=False)
            outcome.failed[f"record {key}"] = f"{why}\nWhat was found is safe: `perennial run` records it again."
            return


def _fell_silent(outcome: Outcome) -> bool:
    """Whether this lifecycle could not tell MLflow something, and asks it no further."""
    return any(what == "champions" or what.startswith("record ") for what in outcome.failed)


def _settled(workspace: Workspace, outcome: Outcome) -> bool:
    """Whether the registry names the champions of the ledger now."""
    if not workspace.ledger.is_file():
        return True
    future = settle.submit(workspace)
    wait([future])
    if not future.state.is_completed():
        outcome.failed["champions"] = (
            f"{future.result(raise_on_failure=False)}\nNothing is lost: `perennial run` goes on."
        )
    return bool(future.state.is_completed())


def tell_of_all(workspace: Workspace, but_for: Collection[str] = ()) -> None:
    """Let MLflow say which of the generations it knows were raised by older code, and which are retired.

    `but_for` are generations at work.
    """
    from components.registry.record import tell_code, tell_retired
    from components.tracking import connect

    today, tracking, lineage = provenance.today(workspace), connect(workspace.root), workspace.lineage()
    for name, row in lineage.generations.items():
        if name not in but_for and judged(workspace, name) and marker(workspace, name).exists():
            digest = code.raised_by(today, row.detector, row.strategy)
            tell_code(workspace.data("generations", name), today=digest, tracking=tracking)
    for line in lineage.heads:
        tell_retired(line, lineage.retired, tracking)


@task(
    task_run_name="{name}",
    cache_policy=NO_CACHE,
    retries=5,
    retry_delay_seconds=3,
    retry_condition_fn=lambda _task, _run, state: (
        isinstance(state.data, dvc_process.Busy) or "waits for another" in str(state.message)
    ),
)
def stage(root: Path, name: str, force: bool = False) -> bool | State[bool]:
    """Bring one stage instance up to date, or run it whatever its state; True if it ran, Cancelled if it was stopped."""
    logger, workspace = get_run_logger(), Workspace.at(root)

    def listen(line: str) -> None:
        if not hear(line):
            logger.info(line)
            _tell(name, line)

    try:
        with turnstile().through(devices_of(workspace, name)) as devices, curves(workspace, name) as hear:
            started = time.monotonic()
            ran = pipeline.reproduce(
                root,
                name,
                timeout_s=settings().stage_timeout_s,
                listen=listen,
                force=force,
                environment=environment(devices),
            )
    except dvc_process.GivenUp as stopped:
        _tell(name, "stopped")
        return Cancelled(message=str(stopped))
    except PerennialError:
        _tell(name, "failed")
        raise
    if ran:
        clock(root, name, time.monotonic() - started)
    _tell(name, "done")
    return ran


@task(task_run_name="champions", cache_policy=NO_CACHE)
def settle(workspace: Workspace) -> None:
    """Have the registry name the champions that the ledger names."""
    champions.settle(workspace)


@task(task_run_name="record {name}", cache_policy=NO_CACHE)  # mlflow repeats its own requests
def record(workspace: Workspace, name: str) -> dict[str, Any]:
    """Project one generation into MLflow and, if its gate opened, into the registry; doing it again changes nothing."""
    from components.gates.verdict import read_verdict
    from components.registry.promote import promote
    from components.registry.record import record as project
    from components.tracking import answering, connect

    _tell(f"record {name}", "")
    tracking = connect(workspace.root)
    folder, verdict = workspace.data("generations", name), workspace.data("verdicts", name)
    row = workspace.lineage().generations[name]
    page = workspace.page(row.line)
    said: dict[str, Any] = {}
    with answering(tracking):
        project(
            folder,
            recipe=workspace.recipes / f"{name}.yaml",
            scores=workspace.data("scores", name),
            verdict=verdict,
            tracking=tracking,
            report=page if page.is_file() else None,
            today=code.raised_by(provenance.today(workspace), row.detector, row.strategy),
            drift=workspace.data("drift", row.learns),
            docs=workspace.write_docs(),
            raised=raised(workspace.root, name),
        )
        if read_verdict(verdict)["opens"]:
            try:
                said["promoted"] = promote(
                    folder, verdict=verdict, ledger_path=workspace.ledger, tracking=tracking
                ).moved
            except Refused as refusal:
                said["refused"] = str(refusal)
    seen = marker(workspace, name)
    seen.parent.mkdir(parents=True, exist_ok=True)
    seen.touch()
    _tell(f"record {name}", "done")
    return said


@task(task_run_name="record {key}", cache_policy=NO_CACHE)
def record_examination(workspace: Workspace, key: str) -> None:
    """Show MLflow what one examination found; doing it again changes nothing."""
    from components.registry.record import tell_examination
    from components.tracking import answering, connect

    _tell(f"record {key}", "")
    tracking = connect(workspace.root)
    lineage = workspace.lineage()
    name = lineage.examinations[key].generation
    page = workspace.page(lineage.generations[name].line)
    with answering(tracking):
        tell_examination(
            workspace.data("examinations", key),
            generation=workspace.data("generations", name),
            verdict=workspace.data("verdicts", name),
            tracking=tracking,
            report=page if page.is_file() else None,
        )
    seen = examination_marker(workspace, key)
    seen.parent.mkdir(parents=True, exist_ok=True)
    seen.touch()
    _tell(f"record {key}", "done")


def _chain(workspace: Workspace, names: list[str], before: list[PrefectFuture[bool]]) -> dict[str, PrefectFuture[bool]]:
    futures: dict[str, PrefectFuture[bool]] = {}
    for name in names:
        before = [_submit(workspace, name, wait_for=before)]
        futures[name] = before[0]
    return futures


def _submit(
    workspace: Workspace, name: str, *, force: bool = False, wait_for: Sequence[PrefectFuture[bool]] = ()
) -> PrefectFuture[bool]:
    _tell(name, WAITING)
    future = stage.submit(workspace.root, name, force, return_state=False, wait_for=wait_for)
    return cast(PrefectFuture[bool], future)  # what was stopped has no result


def _settle(futures: dict[str, PrefectFuture[bool]], outcome: Outcome) -> None:
    """Wait for all of them; what failed is written down, what waited for it never ran."""
    wait(list(futures.values()))
    for name, future in futures.items():
        state = future.state
        if state.is_completed():
            if future.result():
                outcome.ran.append(name)
        elif state.is_failed() or state.is_crashed():
            error = future.result(raise_on_failure=False)
            outcome.failed[name] = str(error)


def _tell(name: str, line: str) -> None:
    for tell in on_output:
        tell(name, line)
