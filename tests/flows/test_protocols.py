"""A protocol run for real, as a study, and a stranger's scores beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.faces.table import FaceTable
from components.params import Line
from flows import pipeline
from flows.land import land
from flows.study import FOLDER
from flows.workspace import Workspace

ROOT = Path(__file__).parents[2]
TINY = """\
archives: {}
sequence: []
benchmarks: []
lines: {}
faces: {size_px: 64, frames: 2}
validation: {min_per_class: 2, min_side_px: 32}
detectors:
  rsia_net: {size: tiny, trunk: small, width: 8, input_px: 96}
training: {faces_per_clip: 1}
evaluation: {bootstrap: 20}
gate:
  - {rule: infra}
"""


def perennial(place: Workspace, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flows.cli", *words, "-C", str(place.root)]
    environment = {**os.environ, "PERENNIAL_DEVICE": "cpu"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1500)


def painted(root: Path, methods: list[str], seed: int) -> Path:
    """Crops: four genuine faces in train and four in test, and as many of every method, forged from them."""
    chance, rows = np.random.default_rng(seed), ["file,label,method,source,split"]
    for folder in ("real", "fake"):
        (root / folder).mkdir(parents=True)
    for split in ("train", "test"):
        for number in range(4):
            pixels = chance.integers(0, 256, (48, 48, 3), dtype=np.uint8)
            for which, method in enumerate(("genuine", *methods)):
                label = int(which > 0)
                file = f"{'fake' if label else 'real'}/{method}_{split}_{number}.png"
                Image.fromarray(pixels ^ np.uint8(which)).save(root / file)
                rows.append(f"{file},{label},{method},{seed}_{split}_{number},{split}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which stand-ins of the archives of SUR-LID's second protocol landed."""
    root = tmp_path_factory.mktemp("protocol")
    workspace = Workspace.create(root / "workspace", TINY)
    pipeline.start(workspace.root)
    for seed, (name, methods) in enumerate(
        {"ffpp": ["Deepfakes"], "df40": ["MCNET", "blendface", "StyleGAN3"]}.items()
    ):
        land(workspace, name, str(painted(root / name, methods, seed)), layout="crops")
    return workspace


@pytest.mark.slow
def test_a_protocol_runs_over_parts_of_archives_and_is_told_beside_what_was_reported(
    parent: Workspace, prefect_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", prefect_server)
    asked = ("study", "second", "--protocol", "sur_lid_p2", "--strategies", "icarl", "--seeds", "0", "--on", "test")
    done = perennial(parent, *asked)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    own = Workspace.at(parent.root / FOLDER / "second")
    tasks = ("hybrid", "mcnet", "blendface", "stylegan3")
    assert own.params().lines["icarl_s0"] == Line(
        detector="rsia_net", strategy="icarl", seed=0, sequence=tasks, changes=own.params().lines["icarl_s0"].changes
    )
    assert own.params().faces.frames == 32 and own.params().faces.size_px == 256
    methods = {task: set(FaceTable.load(own.data("faces", task)).rows["method"]) for task in tasks}
    assert methods == {"hybrid": {"genuine", "Deepfakes"}, "mcnet": {"genuine", "MCNET"},
                       "blendface": {"genuine", "blendface"}, "stylegan3": {"genuine", "StyleGAN3"}}  # fmt: skip
    report = parent.root / "reports" / "studies" / "second" / "test"
    told = json.loads((report / "protocol.json").read_text())
    assert told["measured"]["icarl"]["metric"] == "auc" and None not in told["measured"]["icarl"]["R"][0][-1]
    (row,) = (row for row in told["beside"] if row["label"])
    assert row["row"] == "iCaRL" and row["difference"] == pytest.approx(
        told["measured"]["icarl"]["tasks"]["average"] - 0.6828
    )
    assert "DevFD, arXiv 2509.19230" in done.stdout

    tables = []
    for task in tasks:
        rows = FaceTable.load(own.data("faces", task)).rows.query("split == 'test'")
        lines = [f"{clip},{0.25 + label / 2}" for clip, label in zip(rows["clip"], rows["label"], strict=True)]
        (tmp_path / f"{task}.csv").write_text("\n".join(["clip,p_fake", *lines, "elsewhere.png,0.5"]) + "\n")
        tables.append(f"{task}={tmp_path / task}.csv")
    brought = perennial(parent, "import-scores", "second", "xception", *tables)
    assert brought.returncode == 0, brought.stderr
    assert "mcnet: 8 test clips; 1 that are no test clips were passed over: 'elsewhere.png'." in brought.stdout
    again = perennial(parent, *asked, "--only-tell")
    assert again.returncode == 0, again.stderr
    assert "| xception | 1 | 1.000 | 1.000 | 1.000 | 1.000 |" in again.stdout

    refused = perennial(parent, "import-scores", "second", "icarl", tables[0])
    assert refused.returncode == 1 and "expected a label that none of ours has, found 'icarl'" in refused.stderr


@pytest.mark.slow
def test_protocols_are_listed_with_what_is_missing_and_how_to_land_it(parent: Workspace) -> None:
    done = perennial(parent, "protocols")
    assert "ready: perennial study NAME --protocol sur_lid_p2" in done.stdout
    assert "missing 'dfdcp', DFDC preview: `perennial land dfdcp PATH --layout dfdc_preview`" in done.stdout
    one = perennial(parent, "protocols", "dfil")
    assert "clips_per_class: 25" in one.stdout and "missing 'cdf2'" in one.stdout
