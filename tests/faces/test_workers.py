"""Faces cut by other processes and other machines are the same faces, and a machine that dies costs nothing but time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

from components.errors import BadParams, StageFailed
from components.faces import alignment, detection, workers
from components.faces.workers import Cut, Task, cuts
from components.params import CropOptions
from components.settings import settings

PARAMS = CropOptions(frames=4, size_px=64)
CLIPS = 12


@pytest.fixture(scope="module")
def landmarks() -> np.ndarray:
    return 30 + alignment.template(96, 1.3)


@pytest.fixture
def archive(tmp_path: Path, film: Callable[..., Path], grey: Callable[..., np.ndarray], landmarks: np.ndarray) -> Path:
    """Annotated clips of 12 frames."""
    rows = []
    for number in range(CLIPS):
        film(tmp_path / f"{number:02}.mp4", [grey(40 + 10 * i + number, landmarks) for i in range(12)])
        rows += [(f"{number:02}.mp4", index, landmarks.ravel().tolist()) for index in range(12)]
    pd.DataFrame(rows, columns=["file", "frame", "landmarks"]).to_parquet(tmp_path / "landmarks.parquet")
    return tmp_path


@pytest.fixture
def cut(archive: Path) -> Callable[..., list[list[Cut]]]:
    """The cuts of all clips; `said` is who makes them."""
    names = [f"{number:02}.mp4" for number in range(CLIPS)]
    jobs = [[(name, archive / name)] for name in names]
    task = Task(archive, "annotated", PARAMS, None, lengths=dict.fromkeys(names, 12))
    finder = detection.build("annotated", PARAMS, archive=archive)
    return lambda said=cuts: list(said(jobs, task, finder))


def plain(found: list[list[Cut]]) -> list[Any]:
    return [
        (
            c.clip,
            c.frame,
            c.outcome,
            c.image,
            c.mask,
            {name: np.asarray(value).tobytes() for name, value in c.face.items()},
        )
        for job in found
        for c in job
    ]


@pytest.mark.slow
def test_a_process_for_each_accelerator_cuts_the_same_faces(cut: Callable[..., list[list[Cut]]]) -> None:
    here = plain(cut())
    assert len(here) == 4 * CLIPS
    assert plain(cut(lambda jobs, task, _: workers._by_processes(jobs, task, 2))) == here


def test_a_worker_with_other_weights_or_libraries_is_refused(archive: Path) -> None:
    task = Task(archive, "annotated", PARAMS, "b" * 64)
    with pytest.raises(StageFailed, match=r"expected the weights bbbbbbbbbbbb .* on every machine"):
        workers._elsewhere([], task, 1, workers._made_of("annotated"))
    with pytest.raises(StageFailed, match=r"expected cv2 1\.0 on every machine that crops, found cv2 \d"):
        workers._elsewhere([], task, 1, {**workers._made_of("annotated"), "cv2": "1.0"})


# -- Ray: the extra [scale]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two machines of one core each, both of them this one."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'perennial[scale]'")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(Path(workers.__file__).parents[2]))
    store = 80 * 2**20
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": store})
    cluster.add_node(num_cpus=1, object_store_memory=store)
    monkeypatch.setenv("PERENNIAL_RAY_ADDRESS", cluster.address)
    settings.cache_clear()
    yield cluster
    settings.cache_clear()
    cluster.shutdown()


@pytest.mark.slow
def test_a_cluster_cuts_the_same_faces_though_a_worker_and_then_a_machine_are_killed(
    cluster: Any, cut: Callable[..., list[list[Cut]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = plain(cut())
    killed = []

    def kill() -> None:
        deadline = time.monotonic() + 60
        while not killed and time.monotonic() < deadline:
            for process in psutil.process_iter(["name", "cmdline"]):
                if "_elsewhere" in " ".join(process.info["cmdline"] or ()) and _mine(process):
                    process.kill()
                    killed.append(process.pid)
                    break
            time.sleep(0.01)
        cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    survived = plain(cut())
    killer.join()
    assert killed, "no worker was met at work"
    monkeypatch.setenv("PERENNIAL_RAY_ADDRESS", "")
    settings.cache_clear()
    here = plain(cut())
    assert there == here
    assert survived == here


def _mine(process: psutil.Process) -> bool:
    """Whether a process belongs to the cluster of this test and to nobody else's."""
    try:
        return os.getpid() in {parent.pid for parent in process.parents()}
    except psutil.Error:
        return False


@pytest.mark.usefixtures("archive")
def test_an_address_where_nobody_answers_or_without_ray_is_refused_with_advice(
    cut: Callable[..., list[list[Cut]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    monkeypatch.setenv("PERENNIAL_RAY_ADDRESS", "127.0.0.1:9")
    settings.cache_clear()
    with pytest.raises(BadParams, match=r"Ray is not installed.*pip install 'perennial\[scale\]'"):
        cut()
    settings.cache_clear()
