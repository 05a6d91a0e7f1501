"""The demo is a test: the control line forgets, the line with CFFD forgets measurably less."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "workspace"
    _perennial("demo", "--path", str(root))
    return root


def _perennial(*arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=1500,
        env=dict(os.environ),
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + (done.stderr if code else "")


def test_the_control_forgets_and_cffd_forgets_measurably_less(demo: Path) -> None:
    lines = json.loads(_perennial("status", "--json", "-C", str(demo)))["lines"]
    cffd, control = (lines[name]["generations"] for name in ("cffd", "control"))
    assert [g["learns"] for g in cffd] == [g["learns"] for g in control] == ["swap", "reenactment", "mesh"]
    assert control[-1]["forgetting"] >= 0.2
    assert cffd[-1]["forgetting"] <= control[-1]["forgetting"] / 2
    assert cffd[-1]["average_auc"] >= control[-1]["average_auc"] + 0.1


def test_each_line_learned_what_it_was_taught_and_has_a_champion(demo: Path) -> None:
    lines = json.loads(_perennial("status", "--json", "-C", str(demo)))["lines"]
    for line in lines.values():
        assert all(g["scores"][g["learns"]]["auc"] >= 0.8 for g in line["generations"])
        assert line["champion"] in [g["name"] for g in line["generations"] if g["opens"]]


def test_each_line_has_a_page_of_its_own_that_needs_nothing_else(demo: Path) -> None:
    for line in ("cffd", "control"):
        page = (demo / "reports" / "lines" / line / "index.html").read_text()
        card = json.loads((demo / "data" / "generations" / f"{line}-M3" / "card.json").read_text())
        assert card["weights"] in page
        assert "http://" not in page.replace("http://www.w3.org", "")
        assert "https://" not in page


def test_a_second_run_has_nothing_to_do_and_says_so(demo: Path) -> None:
    assert "Everything is up to date" in _perennial("run", "-C", str(demo))


def test_the_champion_answers_for_no_file_because_it_learned_annotated_faces(demo: Path) -> None:
    clip = next((demo / "data" / "archives" / "swap" / "clips").glob("*_identity_swap.mp4"))
    for faces in ((), ("--faces", "none")):
        said = _perennial("score", str(clip), "--line", "cffd", *faces, "--json", "-C", str(demo), code=1)
        assert (
            "Refused: expected faces that can be found in a file" in said
            or "Faces cut otherwise do not compare" in said
        )
