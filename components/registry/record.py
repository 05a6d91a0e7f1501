"""Project one generation into MLflow: a run under its line's run, a model version, and nothing twice.

    perennial (experiment)
    └── rsia_net               one run per line: curves over generations, the page
        ├── rsia_net-M1        one run per generation: params, named losses, its matrix row, inputs, verdict, code, model
        └── rsia_net-M2

What is on disk is the truth. The run carries the digest of what it was made from; running again with the same files
changes nothing, whatever moment the last attempt was killed at: a finished run is kept, an unfinished one is deleted
and made again, and a version is created only if these weights have none. Two generations of one line must not be
recorded at the same time (the flow sees to it).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models.signature import ModelSignature
from mlflow.types.schema import Schema, TensorSpec

from components.archives.report import read_report
from components.digests import file_digest
from components.evaluation import MATRIX_FILE
from components.evaluation.point_files import POINT_FILE
from components.evaluation.scores import METRICS_FILE
from components.gates.files import GenerationFiles
from components.gates.verdict import VERDICT_FILE
from components.generations.card import CARD, CARRY_OVER, WEIGHTS, code_state, read_card
from components.registry import catalogue, ledger, model_card
from components.registry.ledger import Holder
from components.tracking import Tracking
from components.vocabulary import TEST, TRAIN

COMPONENTS = Path(__file__).resolve().parents[1]
SERVED = COMPONENTS / "serving" / "model.py"
SERVED_FILES = {"weights": WEIGHTS, "carry_over": CARRY_OVER, "card": CARD}
# What the served code imports; pinned to what is installed here, where the generation was seen to work.
REQUIREMENTS = (
    "mlflow", "numpy", "opencv-python-headless", "pandas", "pydantic", "pydantic-settings", "pyyaml", "safetensors", "scipy",
    "timm", "torch", "torchvision", "open_clip_torch",
)  # fmt: skip
LINE_TAG, DIGEST_TAG = "perennial.line", "perennial.digest"
REPORT_TAG, DOCS_TAG, DRIFT_TAG = "perennial.report", "perennial.data_docs", "perennial.drift"
CODE_TAG, COMMIT_TAG, CODE_STATE_TAG = "perennial.code", "perennial.commit", "perennial.code_state"
PARENT_TAG, NOTE_TAG = "mlflow.parentRunId", "mlflow.note.content"
LIVE_TAG = "perennial.live"
"""Of a run whose generation still learns, or is not judged yet: its name (`components.registry.live`)."""
IN_FRONT = ("average_auc", "forgetting")
"""Summaries that stand by themselves; the variants of them stand under ``transfer/``."""
COMPARED = ("detector", "strategy", "memory", "training", "evaluation")
"""Sections of its founder's recipe that are params of a line."""
MATRIX_ROW = ("auc", "acc", "ap", "eer", "false_alarms")
AT_THRESHOLD = ("accuracy", "balanced_accuracy", "calibration_error")
EXAMPLE = np.linspace(0, 255, 16 * 16 * 3).astype(np.uint8).reshape(1, 16, 16, 3)
"""One small face, as somebody may send it: (B, H, W, 3) RGB."""
PER_BATCH = 100  # params or tags MLflow takes at once
LONGEST_PARAM = 500
LONGEST_DIGEST = 36  # MLflow's column


@dataclass(frozen=True)
class Recorded:
    """Where a generation is now found in MLflow."""

    run_id: str
    name: str
    """Of the registered model."""
    version: str


def record(
    generation: Path,
    *,
    recipe: Path,
    scores: Path,
    verdict: Path,
    tracking: Tracking,
    report: Path | None = None,
    today: str | None = None,
    drift: Path | None = None,
    docs: Path | None = None,
    raised: tuple[float, float] | None = None,
) -> Recorded:
    """Make MLflow show a generation as its files are; call it again whenever in doubt.

    `generation`, `scores` and `verdict` are the folders of that generation, `report` the page of its line, `today` the
    digest of the code that would raise it now, None where nobody asked, `drift` the folder of what was found of the faces
    it learned, `docs` the page of Data Docs, and `raised` when its training began and when it was judged, in seconds since
    1970: from then to then its run lasts, and without them as long as it takes to record it.
    Raises BrokenLineage when the files do not belong together.
    """
    files = GenerationFiles(generation, scores, verdict, recipe)
    files.expect_whole()
    parent = line_run(files.line, tracking)
    run = _finished_run(files, parent, tracking) or _make_run(files, parent, tracking, raised)
    for other in _live_runs(files.name, tracking):
        _clear(other, tracking)  # of a training that gave what was recorded before
    _tag_code(run, files.card, today, tracking)
    if drift is not None:
        _tell_drift(drift, run, files.index, tracking)
    registered = _register(files, run, tracking)
    _tell_choices(files, parent, tracking)
    _describe(files, parent, registered, tracking)
    _draw_curves(files, parent, tracking)
    for page, tag in ((report, REPORT_TAG), (docs, DOCS_TAG)):
        if page is not None:
            _attach(page, run, tracking, replace=False, tag=tag)  # the page as it was when this generation was judged
            _attach(page, parent, tracking, replace=True, tag=tag)
    tracking.client.set_terminated(parent.info.run_id)
    challenge(files.line, tracking)
    return Recorded(run.info.run_id, registered.name, str(registered.version))


def tell_code(generation: Path, *, today: str, tracking: Tracking) -> bool:
    """Let the runs of the generation in that folder say whether today's code, of digest `today`, raised it.

    True if one of them said something else before; again, it changes nothing. A generation that was not recorded has no
    run to say it.
    """
    card = read_card(generation)
    runs = _runs_of(card["generation"], card["weights"], tracking)
    changed = [_tag_code(run, card, today, tracking) for run in runs]
    return any(changed)


def tell_retired(line: str, retired: Collection[str], tracking: Tracking) -> bool:
    """Let the versions of a line and their runs say which generations are retired; True if one said otherwise before.

    Whoever is retired is no challenger. Runs of those that had not yet learned everything are cleared away.
    """
    client, changed = tracking.client, False
    for run in runs_where(f"tags.`{LINE_TAG}` = '{line}' and tags.`{LIVE_TAG}` like '%'", tracking):
        if run.data.tags[LIVE_TAG] in retired:
            _clear(run, tracking)
    for known in catalogue.versions(line, tracking):
        name, number, tag = known.name, str(known.version), catalogue.RETIRED_TAG
        is_retired = known.tags[catalogue.GENERATION_TAG] in retired
        if is_retired == (tag in known.tags):
            continue
        changed = True
        if is_retired:
            client.set_tag(known.run_id, tag, "true")
            client.set_model_version_tag(name, number, tag, "true")
        else:
            client.delete_tag(known.run_id, tag)
            client.delete_model_version_tag(name, number, tag)
    if changed:
        challenge(line, tracking)
    return changed


def tell_examination(
    examination: Path, *, generation: Path, verdict: Path, tracking: Tracking, report: Path | None = None
) -> bool:
    """Add the cell of a late examination to the runs of its generation and of its line; True if one lacked it.

    `report` is the page of the line, which the line's run then shows. A generation that was not recorded has no run.
    Raises BrokenLineage where the examination or the verdict is of other weights than the generation's.
    """
    files = GenerationFiles(generation, examination, verdict)
    files.expect_examined()
    parent = line_run(files.line, tracking)
    changed = _log_missing(parent, _row(files), files.index, tracking)
    for run in _runs_of(files.name, files.weights, tracking):
        if _log_missing(run, _row(files), files.index, tracking):
            tracking.client.log_inputs(run.info.run_id, datasets=list(_benchmarks(files)))
            changed = True
    if report is not None:
        _attach(report, parent, tracking, replace=True)
    tracking.client.set_terminated(parent.info.run_id)
    return changed


def tell_population(generation: str, weights: str, numbers: Mapping[str, float], step: int, tracking: Tracking) -> bool:
    """Draw ``asked/<number>`` on the runs of a generation, at a `step` in seconds since 1970; True if it has a run."""
    runs = _runs_of(generation, weights, tracking)
    for run in runs:
        _log_missing(run, {f"asked/{name}": value for name, value in numbers.items()}, step, tracking)
    return bool(runs)


def challenge(line: str, tracking: Tracking, champion: Holder | None = None) -> None:
    """Point ``challenger`` at the newest that is not retired while it is younger than the champion, else take it away.

    `champion` is the one the alias is about to name.
    """
    known = [version for version in catalogue.versions(line, tracking) if catalogue.RETIRED_TAG not in version.tags]
    name = catalogue.model_name(line)
    coming = catalogue.version_of(line, champion.generation, champion.weights, tracking) if champion else None
    reigning = coming or catalogue.holder(line, catalogue.CHAMPION, tracking)
    newest = known[-1] if known else None
    now = catalogue.holder(line, catalogue.CHALLENGER, tracking)
    if newest is not None and (reigning is None or _age(newest) > _age(reigning)):
        if now is None or str(now.version) != str(newest.version):
            tracking.client.set_registered_model_alias(name, catalogue.CHALLENGER, str(newest.version))
    elif now is not None:
        tracking.client.delete_registered_model_alias(name, catalogue.CHALLENGER)


def _age(registered: ModelVersion) -> tuple[int, int]:
    return int(registered.tags[catalogue.INDEX_TAG]), int(registered.version)


# -- the run of a line ------------------------------------------------------------------------------------------------


def line_run(line: str, tracking: Tracking) -> Run:
    found = runs_where(f"tags.`{LINE_TAG}` = '{line}' and tags.`perennial.kind` = 'line'", tracking)
    if found:
        return found[0]
    return tracking.client.create_run(
        tracking.experiment, run_name=line, tags={LINE_TAG: line, "perennial.kind": "line", **_source()}
    )


def _tell_choices(files: GenerationFiles, parent: Run, tracking: Tracking) -> None:
    """Let the run of a line say what its founder was made with, so that lines compare; params are written once.

    Where the founder was recorded by an older version, the first generation that is recorded speaks for it.
    """
    chosen = {key: files.recipe[key] for key in COMPARED if key in files.recipe}
    said = {**dict(_flatten(chosen)), "detector": files.card["detector"], "strategy": files.card["strategy"]}
    params = [Param(key, value) for key, value in said.items() if key not in parent.data.params]
    if files.index > 1 and parent.data.params:
        return
    _log_params(parent.info.run_id, params, tracking)


def _describe(files: GenerationFiles, parent: Run, registered: ModelVersion, tracking: Tracking) -> None:
    """Model cards as the descriptions of the version, and of the model and the run of its line, where they changed."""
    client, name, version = tracking.client, catalogue.model_name(files.line), str(registered.version)
    card = model_card.of_generation(files)
    if registered.description != card:
        client.update_model_version(name, version, card)
    if catalogue.versions(files.line, tracking)[-1].version == registered.version:
        card = model_card.of_line(files)
        if client.get_registered_model(name).description != card:
            client.update_registered_model(name, card)
        if parent.data.tags.get(NOTE_TAG) != card:
            client.set_tag(parent.info.run_id, NOTE_TAG, card)


def _draw_curves(files: GenerationFiles, parent: Run, tracking: Tracking) -> None:
    """The line's run shows every cell and every summary over generations; a step already drawn is left alone."""
    _log_missing(parent, {**_row(files), **_summary(files), **_point(files)}, files.index, tracking)
    tracking.client.log_dict(parent.info.run_id, files.matrix, MATRIX_FILE)


def _log_missing(run: Run, points: Mapping[str, float], step: int, tracking: Tracking) -> bool:
    """Log those of the points that the run does not have at that step; True if there were any."""
    drawn = {
        (key, metric.step, metric.value)
        for key in run.data.metrics.keys() & {_key(key) for key in points}
        for metric in tracking.client.get_metric_history(run.info.run_id, key)
    }
    missing = [metric(key, value, step) for key, value in points.items() if (_key(key), step, value) not in drawn]
    if missing:
        tracking.client.log_batch(run.info.run_id, metrics=missing)
    return bool(missing)


# -- the run of a generation ------------------------------------------------------------------------------------------


def _finished_run(files: GenerationFiles, parent: Run, tracking: Tracking) -> Run | None:
    """The run of exactly these files; unfinished ones are cleared away."""
    wanted = f"tags.`{PARENT_TAG}` = '{parent.info.run_id}' and tags.`{DIGEST_TAG}` = '{files.digest}'"
    finished = None
    for run in runs_where(wanted, tracking):
        if finished is None and run.info.status == "FINISHED":
            finished = run
        else:
            _clear(run, tracking)
    return finished


def _clear(run: Run, tracking: Tracking) -> None:
    for output in tracking.client.search_logged_models([tracking.experiment], f"source_run_id = '{run.info.run_id}'"):
        tracking.client.delete_logged_model(output.model_id)
    tracking.client.delete_run(run.info.run_id)


def _make_run(
    files: GenerationFiles, parent: Run, tracking: Tracking, raised: tuple[float, float] | None = None
) -> Run:
    client = tracking.client
    began, ended = (int(when * 1000) for when in raised) if raised else (None, None)
    run = _drawn_live(files, tracking) or client.create_run(
        tracking.experiment, began, _tags(files, parent), files.name
    )
    run_id = run.info.run_id
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in _tags(files, parent).items()])
    _log_params(run_id, [Param(key, value) for key, value in _params(files)], tracking)
    client.log_inputs(run_id, datasets=list(_inputs(files)))
    drawn = {(point.key, point.step) for point in _points(run, tracking)}  # while it learned
    losses = [point for point in _curve(files) if (point.key, point.step) not in drawn]
    for start in range(0, len(losses), PER_BATCH):
        client.log_batch(run_id, metrics=losses[start : start + PER_BATCH])
    shown = [files.judged / VERDICT_FILE, files.judged / MATRIX_FILE, files.scores / METRICS_FILE]
    shown += [path for path in [files.judged / POINT_FILE] if path.is_file()]
    for path in shown:
        client.log_artifact(run_id, str(path))
    with mlflow.start_run(run_id=run_id, nested=True):  # its end says FINISHED: a run without that word was killed
        model_id = _log_model(files)
        points = {**_row(files), **_summary(files), **_point(files)}
        cells = [metric(k, v, files.index, model_id) for k, v in points.items()]
        client.log_batch(run_id, metrics=cells)
    if LIVE_TAG in run.data.tags:
        client.delete_tag(run_id, LIVE_TAG)
    client.set_terminated(run_id, end_time=ended)
    return client.get_run(run_id)


def _drawn_live(files: GenerationFiles, tracking: Tracking) -> Run | None:
    """The run that was drawn while it learned, if its curves are those on disk; others are cleared away."""
    expected = {(point.key, point.step): point.value for point in _curve(files)}
    for run in _live_runs(files.name, tracking):
        if all(expected.get((point.key, point.step)) == point.value for point in _points(run, tracking)):
            return run
        _clear(run, tracking)
    return None


def _live_runs(generation: str, tracking: Tracking) -> list[Run]:
    return runs_where(f"tags.`{LIVE_TAG}` = '{generation}'", tracking)


def _tags(files: GenerationFiles, parent: Run) -> dict[str, str]:
    return {
        PARENT_TAG: parent.info.run_id,
        LINE_TAG: files.line,
        DIGEST_TAG: files.digest,
        "perennial.kind": "generation",
        catalogue.GENERATION_TAG: files.name,
        catalogue.WEIGHTS_TAG: files.weights,
        catalogue.OPENS_TAG: str(files.verdict["opens"]).lower(),
        "perennial.learns": files.learns,
        "perennial.teacher": files.card["teacher"],
        "perennial.detector": files.card["detector"],
        "perennial.strategy": files.card["strategy"],
        NOTE_TAG: model_card.of_generation(files),
        **_source((files.card.get("code") or {}).get("commit")),
    }


def _source(commit: str | None = None) -> dict[str, str]:
    """By whose hand, and from which commit of the code where that is known; MLflow shows them under these names."""
    said = {"mlflow.user": ledger.somebody(), "mlflow.source.name": "perennial", "mlflow.source.type": "PROJECT"}
    return {**said, "mlflow.source.git.commit": commit} if commit else said


def _tag_code(run: Run, card: Mapping[str, Any], today: str | None, tracking: Tracking) -> bool:
    """Set the tags of the code that raised a generation; True if one was missing or another."""
    code = card.get("code") or {}
    wanted = {CODE_TAG: code.get("digest"), COMMIT_TAG: code.get("commit"), CODE_STATE_TAG: code_state(card, today)}
    news = {key: str(value) for key, value in wanted.items() if value and run.data.tags.get(key) != value}
    if news:
        tracking.client.log_batch(run.info.run_id, tags=[RunTag(key, value) for key, value in news.items()])
    return bool(news)


def _tell_drift(folder: Path, run: Run, step: int, tracking: Tracking) -> None:
    """``drift/<measure>`` of the faces that were learned, and a tag that names the measures that drifted too far."""
    found = read_report(folder)
    if found is None or not found["measures"]:
        return
    _log_missing(run, {f"drift/{one['measure']}": one["drift"] for one in found["measures"]}, step, tracking)
    drifted = ", ".join(one["measure"] for one in found["measures"] if one["beyond"]) or "none"
    if run.data.tags.get(DRIFT_TAG) != drifted:
        tracking.client.set_tag(run.info.run_id, DRIFT_TAG, drifted)


def _params(files: GenerationFiles) -> Iterator[tuple[str, str]]:
    """Its recipe, and where it was raised: device, precision, versions."""
    yield from _flatten(files.recipe)
    if environment := files.card.get("environment"):
        yield from _flatten(environment, "environment")


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """``{"memory": {"budget": 500}}`` -> ``("memory.budget", "500")``; MLflow's params are flat text."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for position, inner in enumerate(value):
            yield from _flatten(inner, f"{prefix}.{position}")
    else:
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        yield _key(prefix), text[:LONGEST_PARAM]


def _inputs(files: GenerationFiles) -> Iterator[DatasetInput]:
    yield _input(files.learns, files.card["faces"], TRAIN, "training")
    if files.card.get("memory"):
        yield _input(f"memory of {files.card['teacher']}", files.card["memory"], TRAIN, "training")
    yield from _benchmarks(files)


def _benchmarks(files: GenerationFiles) -> Iterator[DatasetInput]:
    for benchmark, measured in files.metrics["benchmarks"].items():
        yield _input(benchmark, measured["faces"], TEST, "evaluation")


def _input(name: str, faces: str, split: str, context: str) -> DatasetInput:
    """One table of faces; its splits are two inputs, because MLflow keeps one context for each name and digest."""
    digest = f"{faces[: LONGEST_DIGEST - len(split) - 1]}:{split}"
    source = json.dumps({"faces": faces, "split": split}, sort_keys=True)  # whole: the digest column is too short
    dataset = Dataset(name=name, digest=digest, source_type="perennial", source=source)
    return DatasetInput(dataset, tags=[InputTag("mlflow.data.context", context)])


def _curve(files: GenerationFiles) -> Iterator[Metric]:
    """The training curve under the losses' own names; the step is its first column of ``step`` and ``epoch``."""
    for number, row in enumerate(files.curve):
        clock = next((name for name in ("step", "epoch") if name in row), "")
        for name, value in row.items():
            if name != clock:
                yield metric(f"training/{name}", value, int(row.get(clock, number)))


def _row(files: GenerationFiles) -> dict[str, float]:
    """The generation's row of the matrix: ``auc/<benchmark>`` and its sisters; a missing value stays missing."""
    return {
        f"{measure}/{benchmark}": float(cell[measure]["value"])
        for benchmark, cell in files.metrics["benchmarks"].items()
        for measure in MATRIX_ROW
        if measure in cell and cell[measure]["value"] is not None
    }


def _summary(files: GenerationFiles) -> dict[str, float]:
    summary = files.matrix["summary"].get(files.name, {})
    return {
        name if name in IN_FRONT else f"transfer/{name}": float(entry["value"])
        for name, entry in summary.items()
        if _known(entry)
    }


def _point(files: GenerationFiles) -> dict[str, float]:
    """Its operating point, how it does there (``threshold/…``), and the ladder (``ladder/<benchmark>/<rung>``, AUC)."""
    point, found = files.calibrated["point"], files.standing
    points: dict[str, float | None] = {}
    if point:
        points = {"threshold/score": point["threshold"], "threshold/cllr": point["found"]["cllr"]}
        points |= {f"threshold/{name}": found.get(name) for name in AT_THRESHOLD}
        for name in ("false_alarms", "misses"):
            points |= {f"threshold/{name}/{benchmark}": v for benchmark, v in (found.get(name) or {}).items()}
    for benchmark, climbed in (files.calibrated["ladder"] or {}).items():
        rungs = {"clean": climbed["clean"], **climbed["rungs"]}
        points |= {f"ladder/{benchmark}/{rung}": auc for rung, auc in rungs.items()}
    return {name: float(value) for name, value in points.items() if value is not None}


def _known(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("value"), int | float)


def _log_model(files: GenerationFiles) -> str:
    """Log the generation as a pyfunc of code and safetensors, nothing pickled; returns MLflow's id of it."""
    forged = TensorSpec(np.dtype("float32"), (-1,))  # (B,); what goes in the model looks at itself (`serving.model`)
    with catalogue.own_modules():  # MLflow loads it, to see that it answers its example
        info = mlflow.pyfunc.log_model(
            name=files.name,
            python_model=str(SERVED),
            artifacts={name: str(files.folder / file) for name, file in SERVED_FILES.items()},
            code_paths=[str(COMPONENTS)],
            signature=ModelSignature(outputs=Schema([forged])),
            input_example=EXAMPLE,
            pip_requirements=_requirements(),
            tags={catalogue.WEIGHTS_TAG: files.weights, catalogue.GENERATION_TAG: files.name},
        )
    return str(info.model_id)


def _requirements() -> list[str]:
    pinned = []
    for package in REQUIREMENTS:
        try:
            pinned.append(f"{package}=={version(package).partition('+')[0]}")  # "+cpu" is no index's version
        except PackageNotFoundError:
            continue
    return pinned


# -- the registered version -------------------------------------------------------------------------------------------


def _register(files: GenerationFiles, run: Run, tracking: Tracking) -> ModelVersion:
    """The one version of these weights; a generation judged again gets a new verdict, not a new version."""
    client, name = tracking.client, catalogue.model_name(files.line)
    opens = str(files.verdict["opens"]).lower()
    known = catalogue.version_of(files.line, files.name, files.weights, tracking)
    if known is not None:
        if known.tags.get(catalogue.OPENS_TAG) != opens:
            client.set_model_version_tag(name, str(known.version), catalogue.OPENS_TAG, opens)
        return known
    try:
        client.create_registered_model(name, tags={LINE_TAG: files.line})
    except MlflowException as exists:
        if exists.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    logged = client.search_logged_models([tracking.experiment], f"source_run_id = '{run.info.run_id}'")[0]
    return client.create_model_version(
        name,
        source=f"models:/{logged.model_id}",
        run_id=run.info.run_id,
        model_id=logged.model_id,
        description=model_card.of_generation(files),
        tags={
            catalogue.GENERATION_TAG: files.name,
            catalogue.WEIGHTS_TAG: files.weights,
            catalogue.INDEX_TAG: str(files.index),
            catalogue.OPENS_TAG: opens,
            catalogue.MODEL_TAG: catalogue.logged_digest(logged.model_id, tracking),
        },
    )


# -- small things -----------------------------------------------------------------------------------------------------


def _attach(page: Path, run: Run, tracking: Tracking, *, replace: bool, tag: str = REPORT_TAG) -> None:
    """Log a page as an artifact, in the folder that the tag of its digest names."""
    digest, before = file_digest(page), run.data.tags.get(tag)
    if before == digest or (before is not None and not replace):
        return
    tracking.client.log_artifact(run.info.run_id, str(page), tag.removeprefix("perennial."))
    tracking.client.set_tag(run.info.run_id, tag, digest)


def _runs_of(generation: str, weights: str, tracking: Tracking) -> list[Run]:
    """Those that were recorded; more than one where it was raised again with the same weights."""
    named = {catalogue.GENERATION_TAG: generation, catalogue.WEIGHTS_TAG: weights}
    return runs_where(" and ".join(f"tags.`{tag}` = '{value}'" for tag, value in named.items()), tracking)


def _points(run: Run, tracking: Tracking) -> Iterator[Metric]:
    """Every point of every curve of a run."""
    for key in run.data.metrics:
        yield from tracking.client.get_metric_history(run.info.run_id, key)


def _log_params(run_id: str, params: Sequence[Param], tracking: Tracking) -> None:
    for start in range(0, len(params), PER_BATCH):
        tracking.client.log_batch(run_id, params=params[start : start + PER_BATCH])


def runs_where(wanted: str, tracking: Tracking) -> list[Run]:
    """Oldest first, so that every process picks the same one."""
    return list(tracking.client.search_runs([tracking.experiment], wanted, order_by=["attributes.start_time ASC"]))


def metric(key: str, value: float, step: int, model_id: str | None = None) -> Metric:
    return Metric(_key(key), value, int(time.time() * 1000), step, model_id=model_id)


def _key(text: str) -> str:
    return re.sub(r"[^\w\-. /]", "_", text)


__all__ = ["Recorded", "challenge", "record", "tell_code", "tell_examination"]
