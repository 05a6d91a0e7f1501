"""Killed at any moment and run again, everything ends as if it had been left alone, and nobody writes on in the dark."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import yaml

from components.errors import StageFailed
from components.registry import ledger
from components.tracking import connect
from flows import pipeline
from flows.workspace import Workspace

ROOT = Path(__file__).parents[2]
PATIENCE_S = 900
LINGER = """\
import time
from pathlib import Path
from components import stage

def linger(folder: Path) -> None:
    (folder / "began").touch()
    time.sleep(60)

stage.run(linger)
"""


def start(root: Path) -> psutil.Popen:
    environment = {"PERENNIAL_DEVICE": "cpu", "PERENNIAL_WORKERS": "2", **os.environ}
    log = (root.parent / f"{root.name}.log").open("ab")
    with log:
        command = [sys.executable, "-m", "flows.cli", "run", "-C", str(root)]
        return psutil.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)


def said(root: Path) -> str:
    return (root.parent / f"{root.name}.log").read_text()


def finish(root: Path) -> None:
    assert start(root).wait(PATIENCE_S) == 0, said(root)


def until(moment: Callable[[], object], process: psutil.Popen, root: Path) -> None:
    """Wait for the moment; the process must not have ended before it."""
    deadline = time.monotonic() + PATIENCE_S
    while not moment():
        assert process.poll() is None, f"ended before it could be killed\n{said(root)}"
        assert time.monotonic() < deadline, said(root)
        time.sleep(0.005)


def writers(root: Path) -> list[psutil.Process]:
    """Every DVC and every stage at work in the workspace."""
    return [process for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == str(root)]


def gone(root: Path, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while writers(root) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not writers(root)


def power_cut(process: psutil.Popen) -> None:
    """Flow, server, DVC and stage are gone at once."""
    for one in [*process.children(recursive=True), process]:
        if one.is_running():
            one.kill()
    process.wait()


def flow_alone(process: psutil.Popen) -> None:
    """``kill -9`` of the flow: what it had started ends by itself, Prefect's server as well."""
    started = process.children(recursive=True)
    process.kill()
    process.wait()
    _, left = psutil.wait_procs(started, timeout=60)
    assert not left


def outs(root: Path) -> dict[str, str]:
    stages = yaml.safe_load((root / "dvc.lock").read_text())["stages"].values()
    return {out["path"]: out["md5"] for stage in stages for out in stage["outs"]}


def counts(root: Path) -> dict[str, int]:
    """Everything in the books that could be doubled."""
    tracking = connect(root)
    client, experiment = tracking.client, tracking.experiment
    runs = client.search_runs([experiment])
    return {
        "runs": len(runs),
        "finished": sum(run.info.status == "FINISHED" for run in runs),
        "models": len(client.search_logged_models([experiment])),
        "versions": len(client.search_model_versions()),
        "promotions": len(ledger.read(root / "ledger.jsonl")),
    }


@pytest.fixture(scope="module")
def undisturbed(_landed, tmp_path_factory) -> Path:
    """The same workspace, raised in peace."""
    root = shutil.copytree(_landed, tmp_path_factory.mktemp("peace") / "workspace", symlinks=True)
    finish(root)
    return root


MOMENTS = {
    "crop": ("data/faces/.swaps.partial", power_cut),
    "evolve": (".perennial/checkpoints/cffd-M1/*.pt", flow_alone),
    "evaluate": (".perennial/scores/**/*.parquet", power_cut),
    "record": ("mlartifacts/**/*.safetensors", power_cut),
}


@pytest.mark.slow
def test_a_run_that_is_killed_in_crop_evolve_evaluate_and_record_ends_like_one_left_alone(workspace, undisturbed):
    root = workspace.root
    for stage, (trace, kill) in MOMENTS.items():
        before = {path: path.stat().st_mtime_ns for path in root.glob(trace)}
        process = start(root)
        until(lambda trace=trace, before=before: set(root.glob(trace)) - before.keys(), process, root)
        kill(process)
        assert gone(root, within_s=15), f"somebody went on writing after the kill in {stage}"
        assert not judged(workspace) or stage == "record"
        assert not list(root.glob(".perennial/recorded/*/*")), "nothing was recorded in full"
    finish(root)
    assert outs(root) == outs(undisturbed)
    assert counts(root) == counts(undisturbed)
    assert counts(root) == {"runs": 2, "finished": 2, "models": 1, "versions": 1, "promotions": 1}
    assert not list(root.glob(".perennial/checkpoints/*/*"))


@pytest.mark.slow
def test_a_run_that_is_told_to_stop_takes_its_queue_along_and_goes_on_when_run_again(workspace, undisturbed):
    root = workspace.root
    process = start(root)
    until(lambda: list(root.glob(".perennial/checkpoints/cffd-M1/*.pt")), process, root)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    try:
        assert process.wait(60) == 128 + signal.SIGINT, said(root)
    finally:
        if process.poll() is None:
            power_cut(process)
    assert gone(root, within_s=5), "a stage goes on"
    assert said(root).endswith("Stopped; `perennial run` continues.\n")
    assert "✗" not in said(root) and "Traceback" not in said(root)
    assert not (root / "data/generations/cffd-M1/card.json").exists()
    finish(root)
    assert outs(root) == outs(undisturbed)


@pytest.mark.slow
def test_a_crop_on_a_cluster_of_which_the_driver_or_a_worker_is_killed_ends_like_one_left_alone(
    workspace, cluster, cutting, content, tmp_path
):
    root, one = workspace.root, {"PERENNIAL_RAY_ADDRESS": ""}
    assert _reproducing(root, "validate@swaps", one).wait(PATIENCE_S) == 0, said(root)
    peace = shutil.copytree(root, tmp_path / "peace", symlinks=True)
    assert _reproducing(peace, "crop@swaps", one).wait(PATIENCE_S) == 0, said(peace)

    dvc = _reproducing(root, "crop@swaps")
    until(cutting, dvc, root)
    (driver,) = (child for child in dvc.children(recursive=True) if "components.faces.crop" in child.cmdline())
    driver.kill()
    assert dvc.wait(PATIENCE_S) != 0
    assert not (root / "data/faces/swaps").exists()
    deadline = time.monotonic() + 30
    while cutting() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not cutting(), "the cluster goes on with a crop that nobody waits for"

    dvc = _reproducing(root, "crop@swaps")
    until(cutting, dvc, root)
    cutting()[0].kill()
    assert dvc.wait(PATIENCE_S) == 0, said(root)
    faces, undisturbed = (
        {name: digest for name, digest in content(place).items() if name.startswith("data/")} for place in (root, peace)
    )
    assert faces == undisturbed
    assert outs(root) == outs(peace)


def judged(workspace: Workspace) -> bool:
    return (workspace.data("verdicts", "cffd-M1") / "verdict.json").is_file()


@pytest.mark.slow
def test_a_killed_training_goes_on_from_its_checkpoint(undisturbed, tmp_path):
    root = shutil.copytree(undisturbed, tmp_path / "workspace", symlinks=True)
    first = _evolving(root)
    until(lambda: list(root.glob(".perennial/checkpoints/*/*.pt")), first, root)
    first.kill()
    first.wait()
    assert gone(root, within_s=15), "the stage must die with the DVC process that started it"
    assert not (root / "data/generations/cffd-M1/card.json").exists()
    (checkpoint,) = root.glob(".perennial/checkpoints/*/*.pt")
    assert checkpoint.stat().st_size
    second = _evolving(root)
    assert second.wait(PATIENCE_S) == 0, said(root)
    epochs = [line for line in said(root).splitlines() if "epoch 1/" in line]
    assert len(epochs) == 1, "the second attempt began again from the first epoch"
    assert outs(root) == outs(undisturbed)


@pytest.mark.slow
def test_a_stage_that_the_system_kills_for_its_memory_is_said_with_advice_and_goes_on_when_run_again(
    undisturbed, tmp_path
):
    root = shutil.copytree(undisturbed, tmp_path / "workspace", symlinks=True)

    def reproduce() -> bool:
        return pipeline.reproduce(root, "evolve@cffd-M1", timeout_s=PATIENCE_S, force=True)

    with ThreadPoolExecutor(1) as pool:
        raising = pool.submit(reproduce)
        deadline = time.monotonic() + PATIENCE_S
        while not list(root.glob(".perennial/checkpoints/*/*.pt")):
            assert not raising.done() and time.monotonic() < deadline
            time.sleep(0.01)
        (stage,) = (one for one in writers(root) if "components.generations.evolve" in one.cmdline())
        stage.kill()
        with pytest.raises(StageFailed) as caught:
            raising.result()
    said = str(caught.value)
    assert "was killed by somebody, or because memory was short" in said and "training.batch" in said
    assert len(said.splitlines()) == 1
    assert gone(root, within_s=15)
    assert reproduce()
    assert outs(root) == outs(undisturbed)


def _evolving(root: Path) -> psutil.Popen:
    return _reproducing(root, "evolve@cffd-M1", force=True)


def _reproducing(
    root: Path, stage: str, variables: Mapping[str, str] | None = None, *, force: bool = False
) -> psutil.Popen:
    """``dvc repro`` of one stage, by hand."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment |= {"PYTHONUNBUFFERED": "1", "PERENNIAL_DEVICE": "cpu", **(variables or {})}
    command = [sys.executable, "-m", "dvc", "repro", *(["--force"] if force else []), "--single-item", stage]
    with (root.parent / f"{root.name}.log").open("ab") as log:
        return psutil.Popen(command, cwd=root, env=environment, stdout=log, stderr=log)


@pytest.fixture
def linger(tmp_path) -> Callable[[int], subprocess.Popen]:
    """Start a stage that does nothing for a minute, with this process as its guardian."""
    script = tmp_path / "linger.py"
    script.write_text(LINGER)

    def begin(guardian: int) -> subprocess.Popen:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PERENNIAL_GUARDIAN": str(guardian)}
        return subprocess.Popen([sys.executable, str(script), str(tmp_path)], env=environment)

    return begin


def test_a_stage_ends_when_the_flow_that_asked_for_it_ends(linger, tmp_path):
    guardian = subprocess.Popen(["sleep", "60"])
    stage = linger(guardian.pid)
    while not (tmp_path / "began").exists():
        assert stage.poll() is None
        time.sleep(0.02)
    guardian.kill()
    guardian.wait()
    assert stage.wait(10) == 137


def test_a_stage_does_not_begin_when_the_flow_that_asked_for_it_is_gone_already(linger, tmp_path):
    guardian = subprocess.Popen(["true"])
    guardian.wait()
    stage = linger(guardian.pid)
    try:
        assert stage.wait(10) == 1
        assert not (tmp_path / "began").exists()
    finally:
        stage.kill()
        stage.wait()
