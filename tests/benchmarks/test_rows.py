"""Benchmarks measure what they say, at a size that takes no time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import data, faces, gpu, joint, peers, stages
from benchmarks.__main__ import BENCHMARKS, LONG
from components.tasks.dataset import Batch

ROOT = Path(__file__).parents[2]


def test_a_device_waits_for_a_batch_that_is_late_and_the_start_is_not_counted() -> None:
    import time

    def late() -> Iterator[Batch]:
        for seconds in (0.0, 0.2, 0.0):
            time.sleep(seconds)
            yield Batch.of(torch.zeros(1, 3, 4, 4), torch.zeros(1, dtype=torch.long))

    waited = data.waits(late(), consumes_s=0)
    assert len(waited) == 2
    assert waited[0] >= 0.2


def test_a_peer_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_: object) -> object:
        raise ImportError("No module named 'avalanche'")

    monkeypatch.setattr(peers, "_avalanche", nothing)
    monkeypatch.setattr(peers, "_mammoth", nothing)
    said = list(peers.measured(count=4, pairs=1))
    assert [row.name for row in said] == ["ER beside avalanche", "ER beside mammoth"]
    assert all(row.ratio is None and "not installed" in row.numbers for row in said)


def test_joint_training_stops_as_soon_as_it_is_as_good(tmp_path: Path, torch_as_it_was: None) -> None:
    splits = ["train"] * 16 + ["test"] * 8
    tables = [
        faces.written(tmp_path / name, faces.noise(24, 96, seed), 24, name=name, splits=splits)
        for seed, name in enumerate(("first", "second"))
    ]
    found = joint.jointly(tables, wanted=0.0, checkpoint=tmp_path / "joint.pt")
    assert (found["epochs"], found["reached"]) == (1, True)


def test_a_stage_is_what_dvc_yaml_says_with_this_interpreter(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    (tmp_path / "params.yaml").write_text("archives: {celeb: {after: nobody, layout: lab, role: both, faces: none}}\n")
    (tmp_path / "lineage.yaml").write_text("benches: {}\ngenerations: {}\nheads: {}\n")
    words = stages.command(tmp_path, "ingest", "celeb")
    assert words[:4] == [sys.executable, "-m", "components.archives.ingest", "data/archives/celeb"]
    assert not any("${" in word for word in words)


def test_every_benchmark_has_its_file_but_for_waits_which_may_come_later() -> None:
    there = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert {*BENCHMARKS, *LONG} - there <= {"waits"}


def test_a_detector_has_a_row_a_variant_on_the_accelerators_harness(torch_as_it_was: None) -> None:
    told = list(gpu.rates("rsia_net", torch.device("cpu"), "tiny", 0.1))
    assert [cells[1] for cells in told] == list(gpu.VARIANTS)
    assert float(told[0][4]) > 0
    assert all(len(cells) == len(gpu.HEADERS["rates"]) for cells in told)


class _Asked:
    """What the command line would say."""

    seconds, device, size, out, only = 5.0, "cpu", "tiny", None, ["rates", "many"]
    detectors = ["rsia_net"]


def test_a_part_that_is_stopped_keeps_what_it_told_and_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = ["rsia_net", "as it is", *["1"] * 5]
    script = f"print('ready'); input(); print({json.dumps(json.dumps(told))}, flush=True); import time; time.sleep(60)"

    def begun(self: gpu.Part, part: str, subject: str, asked: object) -> None:
        self.part, self.subject, self.stopped, self._ended = part, subject, False, False
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    monkeypatch.setattr(gpu.Part, "__init__", begun)
    asked = _Asked()
    asked.out = tmp_path / "gpu.md"  # type: ignore[assignment]
    asked.only = ["rates"]
    found = gpu.measured(asked)  # type: ignore[arg-type]
    assert found["rates"] == [told, ["rsia_net", gpu.STOPPED, *["–"] * 5]]
    assert "| rsia_net | as it is |" in (tmp_path / "gpu.md").read_text()


@pytest.mark.slow
def test_the_whole_command_runs_on_a_cpu_without_the_package_installed(tmp_path: Path) -> None:
    out = tmp_path / "gpu.md"
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--size", "tiny", "--seconds", "60"]
    subprocess.run(
        [*command, "--detectors", "rsia_net", "--only", "rates", "--out", str(out)], cwd=ROOT, check=True, timeout=120
    )
    assert "| rsia_net | as it is | 32 |" in out.read_text()
