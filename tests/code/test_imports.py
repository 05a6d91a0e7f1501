"""What a command or a stage does not touch, it does not import: nobody waits for torch to read a table of rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flows import pipeline
from flows.workspace import Workspace

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "numpy", "pandas", "sklearn", "scipy", "matplotlib", "mlflow", "prefect", "dvc", "jinja2")
PARAMS = """\
archives: {}
lines:
  small: {detector: rsia_net, strategy: cffd}
faces: {}
validation: {}
gate: [{rule: infra}]
"""
COMMAND = """\
import json, sys
from flows.cli import main
heavy, sys.argv = json.loads(sys.argv[1]), ["perennial", *sys.argv[2:]]
try:
    main()
finally:
    print(json.dumps([name for name in heavy if name in sys.modules]))
"""


def imported(code: str, *words: str) -> list[str]:
    """The heavy packages a fresh process has imported; `code` prints them last, as JSON."""
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One with a line that has learned nothing, because nothing has landed."""
    workspace = Workspace.create(tmp_path_factory.mktemp("waits") / "workspace", PARAMS)
    pipeline.start(workspace.root)
    return workspace


@pytest.mark.parametrize("command", ["status", "history"])
def test_a_look_at_a_workspace_imports_nothing_heavy(workspace: Workspace, command: str) -> None:
    assert imported(COMMAND, json.dumps(HEAVY), command, "-C", str(workspace.root)) == []


def test_a_run_with_nothing_to_do_imports_detectors_only_where_it_has_not_checked_these_choices(
    workspace: Workspace,
) -> None:
    run = (COMMAND, json.dumps(HEAVY), "run", "-C", str(workspace.root))
    assert "torch" in imported(*run)
    assert imported(*run) == []
    workspace.params_file.write_text(PARAMS.replace("cffd", "er"))
    assert "torch" in imported(*run)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("components.reports.publish", {"torch", "sklearn", "scipy"}),
        ("components.gates.judge", {"torch", "sklearn", "matplotlib"}),
        ("components.archives.ingest", {"torch", "sklearn", "scipy", "matplotlib"}),
        ("components.archives.validate", {"torch", "sklearn", "scipy", "matplotlib"}),
        ("components.faces.crop", {"torch", "sklearn", "scipy", "matplotlib"}),
        ("components.evaluation.add_benchmark", {"torch", "numpy", "pandas"}),
        ("components.generations.evolve", {"timm", "open_clip", "torchvision", "sklearn", "matplotlib", "lightning_fabric"}),
        ("components.generations.curate", {"timm", "open_clip", "torchvision", "matplotlib", "lightning_fabric"}),
        ("flows.lifecycle", {"torch", "sklearn", "mlflow", "dvc"}),
    ],
)  # fmt: skip
def test_a_stage_starts_without_what_it_may_never_need(module: str, absent: set[str]) -> None:
    code = f"import json, sys, {module}\nprint(json.dumps([n for n in {sorted(absent)} if n in sys.modules]))"
    assert imported(code) == []
