"""The lab sequence, nothing to download: three forgeries land one after another; a line with CFFD learns them, and
beside it a control line that is merely fine-tuned."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from components.lab.archive import render_archive
from flows import pipeline
from flows.land import land
from flows.workspace import Workspace

ARCHIVES = {"swap": "identity_swap", "reenactment": "reenactment", "mesh": "mesh_swap"}
PEOPLE = 36
FRAMES = 4

PARAMS = """\
# The demo: three archives from the lab, one line that remembers and one that does not.
seed: 0
archives: {}
sequence: []
benchmarks: []
lines:
  cffd: {detector: rsia_net, strategy: cffd}
  control: {detector: rsia_net, strategy: finetune}
faces: {frames: 4, size_px: 96}
validation: {min_side_px: 64, min_per_class: 2, min_yield: 0.9}
detectors:
  rsia_net: {size: tiny}
memory: {budget: 120}
training:
  founder_epochs: 10
  epochs: 8
  batch: 32
  faces_per_clip: 4
  learning_rate: 0.003
  step_epochs: 3
evaluation: {bootstrap: 500}
gate:
  - {rule: absolute, min_auc: 0.7, max_false_alarms: 0.5}
  - {rule: relative, max_drop: 0.1}
  - {rule: forgetting, max_mean: 0.15, max_worst: 0.3}
  - {rule: infra}
"""


def prepare(root: Path, say: Callable[[str], None]) -> Workspace:
    """The demo's workspace with its archives landed; what is there already stays. `say` is told what takes time."""
    workspace = Workspace.create(root, PARAMS)
    pipeline.start(workspace.root)
    for number, (name, family) in enumerate(ARCHIVES.items()):
        if name in workspace.params().archives:
            continue
        say(f"rendering '{name}': {PEOPLE} people, genuine clips and as many of {family}")
        rendered = workspace.root / ".perennial" / "rendered" / name
        shutil.rmtree(rendered, ignore_errors=True)
        render_archive(
            rendered,
            families=[family],
            people=PEOPLE,
            clips_per_person=2,
            frames=FRAMES,
            size_px=160,
            seed=number,
            first_person=number * PEOPLE,
        )
        say(f"landing '{name}'")
        land(workspace, name, str(rendered), layout="lab")
        shutil.rmtree(rendered)
    return workspace
