"""``perennial …``: every command's imports stay inside it, so that the help answers at once."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from components.errors import PerennialError, in_words
from components.settings import hush, settings
from components.texts import say
from flows import stopping

if TYPE_CHECKING:
    from flows.outcome import Outcome
    from flows.workspace import Workspace

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Keep face-forgery detectors alive: archives land, generations learn them, a gate decides.",
)
lab = typer.Typer(no_args_is_help=True, help="The small world the demo lives in.")
app.add_typer(lab, name="lab")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a machine.")]
CONTINUES = ("demo", "examine", "run", "study", "tune")
"""Commands that go on where they were stopped."""
WORKSPACE = ("--workspace", "-C")


def _given_before(context: typer.Context, value: Path | None) -> Path | None:
    """The workspace that was named after the command, or else the one before it."""
    return value or context.find_root().params.get("root")


Root = Annotated[
    Path | None,
    typer.Option(*WORKSPACE, help="The workspace; default: here.", show_default=False, callback=_given_before),
]


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        say(version("perennial"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it and end.")
    ] = False,
    root: Annotated[
        Path | None, typer.Option(*WORKSPACE, help="The workspace; also after the command.", show_default=False)
    ] = None,
) -> None:
    pass


@app.command()
def init(path: Path) -> None:
    """Make a workspace at PATH: dvc.yaml, params.yaml, an empty lineage."""
    from flows import pipeline
    from flows.workspace import Workspace, template

    workspace = Workspace.create(path, template("params.yaml"))
    pipeline.start(workspace.root)
    say(f"A workspace is at {workspace.root}. Next, from there: perennial land.")


@app.command()
def upgrade(root: Root = None) -> None:
    """Bring a workspace of an older version into today's form; nothing is raised again."""
    from flows import upgrade as upgrading

    say(upgrading.told(upgrading.upgrade(root or settings().workspace)))


@app.command()
def demo(
    path: Annotated[Path, typer.Option(help="Where the demo's workspace lives.")] = Path(".perennial/demo"),
) -> None:
    """Render three archives, raise three generations of two lines, and show who forgets."""
    from rich.markup import escape
    from rich.text import Text

    from flows.demo import ARCHIVES, prepare
    from flows.terminal import console

    console.print(
        Text.assemble(("1", "bold"), f" Rendering and landing {len(ARCHIVES)} archives: {', '.join(ARCHIVES)}")
    )
    with console.status("") as status:
        workspace = prepare(path, lambda words: status.update(escape(words)))
    console.print(
        Text.assemble(("2", "bold"), " Raising generations (a line that remembers, and a control that does not)")
    )
    outcome = _run(workspace)
    _show(workspace)
    for line in workspace.lineage().heads:
        console.print(f"Page of line {line}: {workspace.page(line)}", soft_wrap=True)
    console.print(f"All of them: {workspace.index}", soft_wrap=True)
    _end(outcome)


@app.command()
def land(
    name: str,
    path: Annotated[str, typer.Argument(help="A folder, or s3://bucket/prefix.")] = "",
    layout: Annotated[str, typer.Option(help="A name of `perennial layouts`; default: what the files look like.")] = "",
    role: Annotated[
        str, typer.Option(help="both, task (never a benchmark) or benchmark (never trained on); default: both.")
    ] = "",
    faces: Annotated[
        str | None, typer.Option(help="none, annotated, yunet or retinaface; default: the layout's.")
    ] = None,
    link: Annotated[
        bool, typer.Option("--link", help="Leave the folder where it is: no copy, and no version of it is kept.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="A later version of NAME: clips were added, or labels mended.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Other options for what landed as NAME, while nothing rests on it.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", "--dry-run", help="Say what is there, missing or wrong, and change nothing.")
    ] = False,
    as_json: Json = False,
    root: Root = None,
) -> None:
    """Bring an archive under version control and write its manifest.

    --verify ends with 0 where the archive is whole, 3 where files are missing, 4 where some have no place in the layout, 5
    where lists and folders disagree about labels, 6 where lists contradict themselves.
    """
    if not path and (verify or not again):
        raise typer.BadParameter("expected the path of the archive; --again alone does without")
    if verify:
        _verify(path, layout or _recognised(path), as_json)
    from dataclasses import asdict

    from flows.land import land as _land

    workspace = _workspace(root)
    if not (layout or version or again or name in workspace.params().archives):
        layout = _recognised(path)
    found = _land(workspace, name, path, layout=layout, role=role, faces=faces, link=link, version=version, again=again)
    if as_json:
        _say_json(asdict(found))
        return
    entry = workspace.params().archives[found.name]
    word = "had landed already" if found.already else "landed"
    say(f"'{found.name}' {word}: {found.clips} clips, content {found.digest[:12]}. {found.steps[0]}")
    for words in found.steps[1:]:
        say(words)
    for words in found.set_aside:
        say(words)
    if found.changes is not None:
        say(f"In place of {entry.supersedes}: {found.changes.words}.")
    if entry.role != "benchmark":
        few = "none: too few training sources to hold any out, or it landed before any were"
        say(f"Clips for validation: {found.validation or few}.")
    for words in found.told:
        say(words)
    if found.missing:
        say(f"{found.missing} files of its list are not there: perennial land {name} {path} --verify")


@app.command()
def layouts(name: Annotated[str, typer.Argument(help="Show the tree and the lists of this one.")] = "") -> None:
    """List the public archives that can land as they are."""
    from flows.layouts import page, table

    say(page(name) if name else table())


@app.command()
def watch(
    inbox: Annotated[str, typer.Argument(help="A folder, or s3://bucket/prefix; default: PERENNIAL_INBOX.")] = "",
    once: Annotated[bool, typer.Option(help="Look once and end.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between looks.", min=1)] = 30,
    root: Root = None,
) -> None:
    """Land archives whose completion marker is there, each once, and say so with the event archive.landed."""
    from flows.champions import settle_at_start
    from flows.watch import watch as _watch

    workspace = _workspace(root)
    settle_at_start(workspace)
    _watch(workspace, inbox or settings().inbox, once=once, every_s=every)


@app.command()
def deploy(
    cron: Annotated[str, typer.Option(help="When to look even though nothing was announced.")] = "0 3 * * *",
    root: Root = None,
) -> None:
    """Serve the lifecycle: on a schedule, on the event archive.landed, never two at once. Needs a Prefect server."""
    from flows.champions import settle_at_start
    from flows.deployments import serve

    workspace = _workspace(root)
    settle_at_start(workspace)
    serve(workspace, cron=cron)


@app.command()
def plan(root: Root = None) -> None:
    """Append a row and a recipe for every task a line has not learned yet; archives must have faces (perennial run)."""
    from flows.lifecycle import plan_only

    rows, waiting = plan_only(_workspace(root))
    for name, words in rows.items():
        say(f"{name} {words}")
    for name in waiting:
        say(f"'{name}' waits for its faces: perennial run")
    if not rows and not waiting:
        say("Nothing to plan: every line has learned every task.")


@app.command()
def run(
    again: Annotated[
        list[str] | None, typer.Option(help="Re-raise this generation and its descendants on purpose.")
    ] = None,
    as_json: Json = False,
    root: Root = None,
) -> None:
    """Do whatever is pending: faces, plans, generations, verdicts, registry, pages."""
    workspace = _workspace(root)
    outcome = _run(workspace, again or [], as_json=as_json)
    if as_json:
        _say_json(_told(outcome))
    elif outcome is not None:
        _show(workspace)
    _end(outcome, quiet=as_json)


@app.command()
def retry(generation: str, root: Root = None) -> None:
    """Learn a refused generation's task anew: from the champion, with the choices of today's params.yaml."""
    from flows.retries import retry as _retry

    say(_retry(_workspace(root), generation))


@app.command()
def examine(
    benchmarks: Annotated[
        list[str] | None, typer.Argument(help="Default: every one.", metavar="[BENCHMARK]...", show_default=False)
    ] = None,
    line: Annotated[
        list[str] | None, typer.Option(help="Only this line; may be given more than once.", show_default=False)
    ] = None,
    root: Root = None,
) -> None:
    """Examine living generations on benchmarks that joined after they were judged, each once; verdicts stay."""
    from flows.examinations import pending

    workspace = _workspace(root)
    asked = benchmarks or [], line or []
    if not pending(workspace, *asked):
        say("Nothing to examine: every living generation has met these benchmarks.")
        return
    from flows.examine import examine as _examine
    from flows.terminal import watching

    with watching(workspace.root):
        outcome = _examine(workspace.root, *asked)
    _show(workspace)
    _end(outcome)


@app.command()
def status(
    as_json: Json = False,
    why: Annotated[
        str, typer.Option(help="A stage such as crop@swap, or a generation: which modules today's code makes it of.")
    ] = "",
    root: Root = None,
) -> None:
    """Lines, generations, champions and the matrix, and what today's code would make otherwise."""
    from flows import drift, examinations, near_duplicates, provenance, set_asides, versions

    workspace = _workspace(root)
    if why:
        say("\n".join(provenance.why(workspace, why)))
    elif as_json:
        from components.reports.terminal import status_json
        from flows.serving import champions

        told = status_json(workspace.lineage_file, workspace.data, champions(workspace), provenance.today(workspace))
        more = {
            "older_code": provenance.outdated(workspace),
            "never_examined": examinations.never_examined(workspace),
            "versions": versions.learned(workspace),
            "set_aside": set_asides.found(workspace),
            "near_duplicates": near_duplicates.told(workspace),
            "drift": drift.found(workspace),
        }
        say(json.dumps({**told, **more}, indent=2))
    else:
        _show(workspace)
        for words in versions.told(versions.learned(workspace)):
            say(words)
        for words in [*set_asides.told(set_asides.found(workspace)), *near_duplicates.told(workspace)]:
            say(words)
        for words in examinations.told(examinations.never_examined(workspace)):
            say(words)
        if older := provenance.outdated(workspace):
            say(f"Today's code would make otherwise: {', '.join(older)}. `perennial status --why NAME` says why.")


@app.command()
def promote(
    generation: str,
    override: Annotated[
        str, typer.Option(help="Promote although the gate says no, for this reason, which is kept.")
    ] = "",
    as_json: Json = False,
    root: Root = None,
) -> None:
    """Make a generation the champion of its line, if its verdict opens against the champion of today."""
    from dataclasses import asdict

    from flows.champions import promote as _promote

    said = _promote(_workspace(root), generation, override=override)
    if as_json:
        _say_json(asdict(said))
    else:
        say(said.words)


@app.command()
def export(
    generation: str,
    folder: Annotated[Path, typer.Argument(help="Where it goes.")],
    onnx: Annotated[bool, typer.Option("--onnx", help="Also a graph for ONNX Runtime, if it answers alike.")] = False,
    root: Root = None,
) -> None:
    """Write a generation as a Hugging Face folder: safetensors, configuration, model card."""
    from components.errors import UnknownName
    from components.gates.files import GenerationFiles
    from components.registry import export as exporting

    workspace = _workspace(root)
    if generation not in (known := workspace.lineage().generations):
        raise UnknownName("generation", generation, known)
    kinds = ("generations", "scores", "verdicts")
    files = GenerationFiles(*(workspace.data(kind, generation) for kind in kinds))
    say(f"{generation}: {exporting.hugging_face(files, folder)}")
    if onnx:
        say(f"Its graph: {exporting.onnx(files.folder, folder)}")


@app.command()
def rollback(
    line: str, why: Annotated[str, typer.Option(help="Kept in the ledger.")] = "asked for", root: Root = None
) -> None:
    """Make the previous champion of a line the champion again."""
    from flows.champions import rollback as _rollback

    say(_rollback(_workspace(root), line, why=why).words)


@app.command()
def history(
    line: Annotated[str | None, typer.Argument()] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Say whether an earlier line was changed; then exit 1.")
    ] = False,
    as_json: Json = False,
    root: Root = None,
) -> None:
    """Who was champion, since when, and why; without a line also what was withdrawn."""
    from dataclasses import asdict

    from components.registry import ledger
    from components.withdrawal import notes
    from flows.terminal import console, history_table

    books = _workspace(root).ledger
    if verify:
        ledger.expect_unbroken(books)
        say(f"'{books}' is whole: no line was changed, put in or taken out.")
        return
    told = notes.told(books, line)
    if as_json:
        action = {"action": notes.WITHDRAW}
        say(json.dumps([(action if isinstance(one, notes.Note) else {}) | asdict(one) for one in told], indent=2))
    elif told:
        console.print(history_table(told))
    else:
        say("No promotion yet.")


@app.command()
def verify(
    repair: Annotated[
        bool, typer.Option("--repair", help="Bring back what the workspace, the cache or DVC's remote still has.")
    ] = False,
    root: Root = None,
) -> None:
    """Compare every byte that the lineage rests on, the ledger and the registry with what was written down of them."""
    from flows import verify as verifying

    said = verifying.verify(_workspace(root), repair=repair)
    for fault in said.repaired:
        say(f"repaired  {fault.what}: {fault.words}")
    for fault in said.faults:
        say(f"{fault.what}: {fault.words}")
    if said.faults:
        if not repair:
            say("`perennial verify --repair` brings back what the workspace, the cache or DVC's remote still has.")
        raise typer.Exit(1)
    say("Everything is what was written down of it.")


@app.command()
def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Take it away.")] = False,
    root: Root = None,
) -> None:
    """Say what takes room and nothing rests on: in DVC's cache, in MLflow, kept scores, checkpoints, fetched models."""
    from flows.gc import gc as _gc
    from flows.gc import told

    for words in told(_gc(_workspace(root), delete=delete), deleted=delete):
        say(words)


@app.command()
def withdraw(
    archive: Annotated[str, typer.Option(help="The archive it landed with.", show_default=False)],
    source: Annotated[str, typer.Argument(help="A source of the archive; default: the archive itself.")] = "",
    identity: Annotated[str, typer.Option(help="A person, in place of a source: everything that shows them.")] = "",
    clip: Annotated[
        list[str] | None, typer.Option(help="One clip, as in the manifest; may be given more than once.")
    ] = None,
    frame: Annotated[int | None, typer.Option(help="One frame of the clip: one face.", min=0)] = None,
    why: Annotated[str, typer.Option(help="Kept in the ledger.")] = "asked for",
    purge: Annotated[bool, typer.Option(help="Also delete the tables that show it from the local cache.")] = False,
    root: Root = None,
) -> None:
    """Never learn or replay a source, a person, a clip or a face again, and say which generations did.

    With none of them named, take out an archive that no generation has used.
    """
    from components.orders import named
    from components.withdrawal.told import told
    from flows import withdraw as withdrawing

    workspace = _workspace(root)
    orders = named(archive, source=source, identity=identity, clips=clip or (), frame=frame)
    if orders:
        say(told(withdrawing.withdraw(workspace, orders, why=why, purge=purge)))
    else:
        withdrawing.withdraw_archive(workspace, archive, why=why)
        say(f"'{archive}' is out of params.yaml and of the workspace. Once it is mended, it may land again.")


@app.command()
def offload(
    archive: Annotated[str, typer.Argument(help="The archive whose faces move.", show_default=False)],
    store: Annotated[str, typer.Argument(help="s3://bucket/prefix.", show_default=False)],
    root: Root = None,
) -> None:
    """Keep the faces of an archive in an object store: stages fetch what they look at, and keep it here."""
    from flows.offload import offload as _offload

    address = _offload(_workspace(root), archive, store)
    say(f"The faces of '{archive}' lie in {address}; what is looked at is kept in .perennial/fetched.")


@app.command()
def score(
    files: list[Path],
    line: Annotated[str | None, typer.Option(help="Whose champion answers; default: the only line with one.")] = None,
    faces: Annotated[
        str | None,
        typer.Option(
            help="How faces are found: none, yunet or retinaface; default: as those it learned.", show_default=False
        ),
    ] = None,
    heat_maps: Annotated[
        Path | None, typer.Option(help="A folder for PNGs: the most suspicious face, and where the detector looked.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="A folder for a page and a PDF of each file.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a table, a row a file.")] = False,
    as_json: Json = False,
    root: Root = None,
) -> None:
    """Ask the champion about images, clips or folders of them.

    Ends with 0 where every file was looked at, and 3 where some were passed over, because they cannot be read or are neither
    clip nor image; they are named.
    """
    from components.machine import device
    from components.texts import printable
    from flows import score as scoring
    from flows.serving import examiner
    from flows.terminal import console, show_answer

    champion = examiner(_workspace(root), line, faces=faces, device=device().type)
    for_a_machine = as_json or as_csv
    scored = scoring.score(
        champion,
        files,
        tell=(lambda _: None) if for_a_machine else show_answer,
        quiet=not for_a_machine,
        heat_maps=heat_maps,
        report=report,
    )
    said = champion.champion
    if as_csv:
        say(scoring.as_csv(scored.answers).rstrip())
    elif as_json:
        say(json.dumps(scored.as_json(said.generation), indent=2))
    else:
        console.print(f"answered by {said.generation}, weights {said.weights[:12]}", style="dim")
        console.print(champion.point.told().words, style="dim", soft_wrap=True)
        if report:
            console.print(f"Pages and PDFs: {printable(str(report))}", soft_wrap=True)
    for words in scoring.passed_over_in_words(scored):
        say(words, file=sys.stderr)
    if scored.exit_code:
        raise typer.Exit(scored.exit_code)


@app.command()
def population(
    line: Annotated[str | None, typer.Option(help="Whose champion; default: the only line with one.")] = None,
    days: Annotated[float, typer.Option(help="How far back to look.", min=0.01)] = 7,
    alpha: Annotated[float, typer.Option(help="The share of false alarms.", min=0.002, max=0.5)] = 0.05,
    as_json: Json = False,
    root: Root = None,
) -> None:
    """Compare what the champion was asked of late with what it was calibrated on."""
    from flows.population import in_words, watch

    found = watch(_workspace(root), line, days=days, alpha=alpha)
    say(json.dumps(found.as_json(), indent=2) if as_json else in_words(found))


@app.command()
def serve(
    host: Annotated[
        str, typer.Option(help="Where to listen; elsewhere than on localhost, PERENNIAL_KEYS must name keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8400,
    line: Annotated[str | None, typer.Option(help="Whose champion answers; default: the only line with one.")] = None,
    files: Annotated[
        list[Path] | None, typer.Option(help="A folder whose files may be named by path; may be given more than once.")
    ] = None,
    log: Annotated[bool, typer.Option("--log", help="Keep every answer in answers/, chained by hashes.")] = False,
    keep_log_days: Annotated[int, typer.Option(help="For how long; 0: for ever.", min=0)] = 0,
    keep_jobs_hours: Annotated[float, typer.Option(help="How long finished jobs are kept.", min=0)] = 24,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Ask the challenger too, and show nobody what it says.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Processes that decode and find faces.", min=1)] = 2,
    at_once: Annotated[int, typer.Option(help="Requests answered at once; more get 503.", min=1, max=256)] = 8,
    max_mb: Annotated[int, typer.Option(help="Of one upload.", min=1)] = 256,
    max_megapixels: Annotated[float, typer.Option(help="Of one frame.", min=0.01)] = 34,
    max_seconds: Annotated[float, typer.Option(help="That a clip lasts; jobs take four hours.", min=1)] = 600,
    max_frames: Annotated[int, typer.Option(help="Of a clip.", min=1)] = 36_000,
    time_limit: Annotated[float, typer.Option(help="Seconds that reading one file may take.", min=1)] = 120,
    every: Annotated[float, typer.Option(help="Seconds between looks at who is champion.", min=0.1)] = 5,
    watch: Annotated[
        bool,
        typer.Option("--watch/--no-watch", help="Keep what was asked, without pictures, and see whether it drifts."),
    ] = True,
    root: Root = None,
) -> None:
    """Answer over HTTP, with a page at / where a picture or a clip can be dropped."""
    from components.machine import device
    from components.serving.limits import Limits
    from components.serving.service import Options
    from flows.champions import settle_at_start
    from flows.population import asked_of, watcher
    from flows.serving import answers_of
    from flows.serving import serve as _serve

    workspace = _workspace(root)
    limits = Limits(max_mb * 2**20, int(max_megapixels * 1e6), max_seconds, max_frames, time_limit)
    options = Options(
        state=workspace.root / ".perennial" / "serve",
        told=workspace.root / "told",
        files=tuple(files or ()),
        workers=workers,
        at_once=at_once,
        limits=limits,
        keep_jobs_s=keep_jobs_hours * 3600,
        log=answers_of(workspace) if log else None,
        keep_log_days=keep_log_days,
        shadow=shadow,
        every_s=every,
        asked=asked_of(workspace).file if watch else None,
        population=watcher(workspace, line) if watch else None,
    )
    settle_at_start(workspace)
    _serve(workspace, line, options, host=host, port=port, device=str(device()))


@app.command()
def recall(
    generation: Annotated[str, typer.Argument(help="Whose answers.", show_default=False)],
    as_json: Json = False,
    root: Root = None,
) -> None:
    """List the answers that a generation gave while `perennial serve --log` kept them, and see that none was changed.

    Ends with 1 where the log was changed or something was taken out of it.
    """
    from components.serving import answer_log
    from flows.serving import answers_of

    folder = answers_of(_workspace(root))
    answers = [kept.said for kept in answer_log.read(folder) if kept.said.get("generation") == generation]
    broken = answer_log.faults(folder)
    if as_json:
        say(json.dumps({"generation": generation, "answers": answers, "faults": broken}, indent=2))
    else:
        none = f"'{generation}' gave no answer that was kept in {folder}."
        for words in answer_log.recalled(answers) if answers else (none,):
            say(words)
    for words in broken:
        say(words, file=sys.stderr)
    if broken:
        raise typer.Exit(1)


@app.command()
def study(
    name: Annotated[str, typer.Argument(help="Names the study; the same name continues or extends it.")],
    sequence: Annotated[
        str, typer.Option(help="Archives in the order they are learned: a,b,c. Default: params.yaml's.")
    ] = "",
    detector: Annotated[str, typer.Option(help="The detector every run trains.")] = "rsia_net",
    strategies: Annotated[str, typer.Option(help="Strategies to compare: a,b,c. Default: all of them.")] = "",
    variants: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="YAML with rows of their own, LABEL: {strategy, changes}, beside --strategies.",
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(help="One run of each strategy for every seed.")] = "0,1,2",
    orders: Annotated[
        int, typer.Option(help="Orders of the sequence: the given one, and others at random.", min=1)
    ] = 1,
    benchmarks: Annotated[str, typer.Option(help="Archives to examine on that nobody learns: a,b.")] = "",
    ablate: Annotated[
        str, typer.Option(help="Instead: compare this strategy with itself, each of its parts left out in turn.")
    ] = "",
    pooled: Annotated[
        str, typer.Option("--with", help="Studies on other streams whose runs count in the tests as well: a,b.")
    ] = "",
    on: Annotated[
        Literal["validation", "test"], typer.Option(help="The faces that the report tells of; nothing is raised again.")
    ] = "validation",
    only_tell: Annotated[bool, typer.Option(help="Run nothing; report on what is finished.")] = False,
    protocol: Annotated[
        str, typer.Option(help="A paper's: its order, archives, few-shot counts and memory; see `perennial protocols`.")
    ] = "",
    as_json: Json = False,
    root: Root = None,
) -> None:
    """Compare strategies on one sequence: table, figure and data in reports/studies/NAME/SPLIT."""
    from components import strategies as catalogue
    from flows import protocols
    from flows import study as studies
    from flows.terminal import console, watching

    workspace = _workspace(root)
    params = workspace.params()
    rows = studies.variants_in(variants) if variants else {}
    if ablate:
        rows = {**studies.ablations(ablate, detector, params), **rows}
    elif strategies or not rows:
        rows = {**studies.variants_of(studies.parsed(strategies) or catalogue.names()), **rows}
    chosen = studies.Study(
        name=name,
        detector=detector,
        variants=rows,
        sequence=studies.parsed(sequence) or params.sequence,
        seeds=studies.numbers(seeds),
        orders=orders,
        benchmarks=studies.parsed(benchmarks),
        reference=ablate or ("cffd" if "cffd" in rows else next(iter(rows), "")),
        pooled=studies.parsed(pooled),
    )
    if protocol:
        protocols.expect_no_order(sequence)
        chosen = protocols.applied(workspace, chosen, protocol)
    outcome: Outcome | None = None
    if only_tell:
        folder = studies.tell(workspace, chosen, on)
    else:
        with watching(workspace.root, aside=as_json):
            folder, outcome = studies.run(workspace, chosen, on)
    if as_json:
        _say_json({"folder": str(folder), "study": json.loads((folder / "study.json").read_text()), **_told(outcome)})
        _end(outcome, quiet=True)
        return
    console.print((folder / "table.md").read_text(), soft_wrap=True)
    if protocol and on == "test":
        console.print(protocols.tell(workspace, chosen, protocol).read_text(), soft_wrap=True)
    say(f"Table, figure and data: {folder}")
    _end(outcome)


@app.command()
def tune(
    name: Annotated[str, typer.Argument(help="Names the study; the same name continues or extends it.")],
    strategy: Annotated[str, typer.Option(help="The strategy whose options are tried.")],
    grid: Annotated[
        list[str],
        typer.Option(help="SECTION.OPTION=a,b with strategy, detector, memory or training as section; again for more."),
    ],
    one_at_a_time: Annotated[
        bool, typer.Option(help="What params.yaml says and every value by itself, in place of all combinations.")
    ] = False,
    metric: Annotated[str, typer.Option(help="What is best: a metric of study.json.")] = "average",
    seeds: Annotated[str, typer.Option(help="One run of each point for every seed.")] = "0",
    orders: Annotated[
        int, typer.Option(help="Orders of the sequence: the given one, and others at random.", min=1)
    ] = 1,
    sequence: Annotated[
        str, typer.Option(help="Archives in the order they are learned: a,b,c. Default: params.yaml's.")
    ] = "",
    detector: Annotated[str, typer.Option(help="The detector every run trains.")] = "rsia_net",
    root: Root = None,
) -> None:
    """Try a grid of options on the validation split: what was tried and chosen in reports/studies/NAME/tune.md."""
    from components.reports.tune import lines
    from flows import study as studies
    from flows import tune as tuning
    from flows.terminal import console, watching

    workspace = _workspace(root)
    study = studies.Study(
        name=name,
        detector=detector,
        variants={},
        sequence=studies.parsed(sequence) or workspace.params().sequence,
        seeds=studies.numbers(seeds),
        orders=orders,
    )
    asked = tuning.grid_of(grid)
    with watching(workspace.root):
        found = tuning.tune(workspace, study, strategy, asked, metric=metric, one_at_a_time=one_at_a_time)
    console.print((found.folder / "tune.md").read_text(), soft_wrap=True)
    say(f"Nothing was changed. To adopt the choice, in params.yaml:\n{lines(found.adopt)}")
    say(f"What was tried: {found.folder / 'tune.json'}")
    _end(found.outcome)


@app.command()
def protocols(
    name: Annotated[str, typer.Argument(help="One of them, with everything its file says.")] = "", root: Root = None
) -> None:
    """Protocols that papers compare under: their orders, what they still need, what is not known of them."""
    from flows import protocols as known

    workspace = _workspace(root)
    say(known.described(workspace, name) if name else known.listed(workspace))


@app.command(name="import-scores")
def import_scores(
    study: Annotated[str, typer.Argument(help="The study the line is to stand in.")],
    label: Annotated[str, typer.Argument(help="What the line is called: the detector.")],
    tables: Annotated[list[str], typer.Argument(help="TASK=FILE: a CSV file with the columns clip,p_fake a task.")],
    missing: Annotated[
        Literal["refuse", "chance"], typer.Option(help="Test clips without a score: an error, or answered with 0.5.")
    ] = "refuse",
    root: Root = None,
) -> None:
    """Let scores of other people's detectors stand in a study as a line of their own."""
    from flows import foreign

    found = foreign.import_scores(_workspace(root), study, label, foreign.files_of(tables), chance=missing == "chance")
    say(foreign.told(found))
    say(f"Next: perennial study {study} --only-tell, with the options it had.")


@app.command()
def detectors(
    size: Annotated[Literal["paper", "tiny"], typer.Option(help="As in the paper, or for one CPU core.")] = "paper",
    measure: Annotated[
        bool, typer.Option("--measure", help="Also run a batch here, scoring it and learning from it.")
    ] = False,
    batch: Annotated[int, typer.Option(min=2, help="Faces of the measured batch.")] = 2,
    as_json: Json = False,
) -> None:
    """The detectors side by side: their papers, and what each of them costs."""
    from dataclasses import asdict

    from rich.markup import escape

    from components.detectors import names, options
    from components.evaluation import cost
    from components.machine import device
    from flows.terminal import console, costs_table, detectors_table

    costs = []
    with console.status("") as status:
        for name in names():
            status.update(escape(f"looking at '{name}'"))
            chosen = options(name, {"size": size})
            if measure:
                costs.append(cost.measure(name, chosen, batch=batch, device=device()))
            else:
                costs.append(cost.count(name, chosen))
    if as_json:
        say(json.dumps([asdict(one) for one in costs], indent=2))
    else:
        console.print(detectors_table(costs))
        if measure:
            console.print(costs_table(costs))


@app.command()
def doctor(as_json: Json = False, root: Root = None) -> None:
    """Check what is here: tools, accelerators, weights, disk, the workspace, MLflow, Prefect, DVC's cache and remote."""
    from dataclasses import asdict

    from rich.text import Text

    from flows.doctor import examine
    from flows.terminal import console

    findings = examine(root or settings().workspace)
    if as_json:
        _say_json([asdict(finding) for finding in findings])
    for finding in () if as_json else findings:
        mark = {"good": ("✓", "green"), "absent": ("·", "yellow"), "bad": ("✗", "red")}[finding.state]
        console.print(Text.assemble(mark, f" {finding.what}: {finding.words}"), soft_wrap=True)
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(1)


@lab.command()
def sheet(
    out: Path,
    portraits: Annotated[
        Path | None, typer.Option(help="Forge these photographs instead: <identity>/<file>.jpg.")
    ] = None,
) -> None:
    """Draw a contact sheet: people, and what every forgery family makes of them."""
    from components.lab.sheet import contact_sheet

    say(str(contact_sheet(out, portraits=portraits, yunet=settings().yunet_weights)))


@lab.command()
def render(
    out: Path,
    family: Annotated[list[str], typer.Option(help="A forgery family; may be given more than once.")],
    people: Annotated[int, typer.Option(min=6)] = 36,
    clips: Annotated[
        int, typer.Option(min=1, help="Genuine clips of each person, and as many forged ones of each family.")
    ] = 2,
    frames: Annotated[int, typer.Option(min=1)] = 8,
    size_px: int = 160,
    seed: int = 0,
    first_person: Annotated[
        int, typer.Option(help="Number of the first person: archives with other numbers show other people.")
    ] = 0,
) -> None:
    """Render an archive of clips in layout lab; land it with --layout lab."""
    from components.lab.archive import render_archive

    render_archive(
        out,
        families=family,
        people=people,
        clips_per_person=clips,
        frames=frames,
        size_px=size_px,
        seed=seed,
        first_person=first_person,
    )
    say(str(out))


@lab.command()
def forge(
    out: Path,
    portraits: Annotated[Path, typer.Argument(help="Photographs: <identity>/<file>.jpg.")],
    family: Annotated[list[str], typer.Option(help="A forgery family; may be given more than once.")],
    people: Annotated[int, typer.Option(min=6)] = 60,
    per_person: Annotated[int, typer.Option(min=1, help="Photographs of each person; who has fewer is left out.")] = 3,
    up_to: Annotated[int | None, typer.Option(min=1, help="The most photographs of a person who has more.")] = None,
    seed: int = 0,
    first_person: int = 0,
) -> None:
    """Forge photographs into an archive in layout lab; faces are found by YuNet (PERENNIAL_YUNET_WEIGHTS)."""
    from components.faces.detection import yunet
    from components.lab.archive import forge_portraits

    forge_portraits(
        out,
        portraits,
        families=family,
        people=people,
        per_person=per_person,
        seed=seed,
        yunet=yunet.weights(),
        first_person=first_person,
        up_to=up_to,
    )
    say(str(out))


def main() -> None:
    """Entry point: a PerennialError is advice, not a traceback."""
    hush()
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    # The terminal shows stages itself; what a service did is also read in Prefect's pages.
    command = _command(sys.argv[1:])
    serves = command == "deploy"
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO" if serves else "CRITICAL")
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING" if serves else "CRITICAL")
    if command not in ("deploy", "serve"):  # their servers end by rules of their own
        words = f"Stopped; `perennial {command}` continues." if command in CONTINUES else "Stopped."
        stopping.prompt(words, well=command == "watch")
    try:
        app()
    except stopping.Stopped as stopped:
        stopping.end(stopped)
    except PerennialError as error:
        say(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as fault:
        if not (said := in_words(fault)):
            raise
        say(said, file=sys.stderr)
        sys.exit(1)


def _command(words: Sequence[str]) -> str:
    """The command among the words after `perennial`; empty where there is none."""
    values = {place + 1 for place, word in enumerate(words) if word in WORKSPACE}
    return next((word for place, word in enumerate(words) if place not in values and not word.startswith("-")), "")


def _workspace(root: Path | None) -> Workspace:
    from flows import pipeline
    from flows.workspace import Workspace

    workspace = Workspace.at(root or settings().workspace)
    pipeline.refresh(workspace.root)
    return workspace


def _run(workspace: Workspace, again: list[str] | None = None, *, as_json: bool = False) -> Outcome | None:
    """Run the lifecycle, or say that there is nothing to do without starting an engine for it."""
    from flows.pending import look

    if not look(workspace) and not again:
        say("Everything is up to date: nothing to run.", file=sys.stderr if as_json else sys.stdout)
        return None
    from flows.lifecycle import descendants, lifecycle
    from flows.terminal import watching

    descendants(workspace, again or [])  # an unknown name is refused before an engine is started
    with watching(workspace.root, aside=as_json):
        return lifecycle(workspace.root, again or [])


def _recognised(path: str) -> str:
    """The layout that the files of a folder have, said to whoever landed it."""
    from flows.layouts import recognised

    layout, said = recognised(path)
    say("\n".join(said), file=sys.stderr)
    return layout


def _verify(path: str, layout: str, as_json: bool) -> NoReturn:
    """Say how much of an archive is there; the exit code says it too."""
    from components.archives.coverage import look
    from components.errors import BadParams

    if "://" in path:
        raise BadParams(f"expected a folder to verify, found '{path}'. Fetch it first.")
    found = look(layout, Path(path).expanduser())
    say(json.dumps(found.json(), indent=1) if as_json else "\n".join(found.lines()))
    raise typer.Exit(int(found.outcome))


def _show(workspace: Workspace) -> None:
    from components.reports.terminal import status_json, status_table
    from flows import drift, provenance, retries
    from flows.serving import champions
    from flows.terminal import console

    console.print(
        status_table(
            status_json(workspace.lineage_file, workspace.data, champions(workspace), provenance.today(workspace))
        )
    )
    for words in [*drift.told(drift.found(workspace)), *retries.told(workspace)]:
        say(words)


def _told(outcome: Outcome | None) -> dict[str, Any]:
    """What a lifecycle did, for a machine; the same keys where there was nothing to do."""
    from dataclasses import asdict

    from flows.outcome import Outcome

    return asdict(outcome or Outcome())


def _say_json(said: Any) -> None:
    say(json.dumps(said, indent=2))


def _end(outcome: Outcome | None, *, quiet: bool = False) -> None:
    """Say what was refused and what failed; the exit code is 1 where something failed. `quiet`: what was refused was said."""
    if outcome is None:
        return
    for name, why in outcome.refused.items() if not quiet else ():
        say(f"{name} was not promoted: {why}")
    for name, why in outcome.failed.items():
        say(f"{name} failed:\n{why}\n", file=sys.stderr)
    if outcome.failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
