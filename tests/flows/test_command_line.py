"""The command line as its users expect it: where -C stands, what a machine reads, what a shell completes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.settings import settings
from flows import cli, doctor, index
from flows.durations import Ahead
from flows.workspace import Workspace

ROOT = Path(__file__).parents[2]


@pytest.fixture
def said() -> Callable[..., str]:
    def run(*words: str | Path) -> str:
        done = CliRunner().invoke(cli.app, [str(word) for word in words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def test_the_workspace_may_be_named_before_or_after_the_command(said, workspace: Workspace, archive: Path) -> None:
    said("-C", workspace.root, "land", "before", archive, "--layout", "crops")
    said("land", "after", archive, "--layout", "crops", "-C", workspace.root)
    assert list(workspace.params().archives) == ["before", "after"]


@pytest.mark.parametrize(
    ("words", "command"),
    [(["run"], "run"), (["-C", "here", "deploy"], "deploy"), (["--workspace", "x", "-h"], ""), (["run", "-C", "x"], "run")],
)  # fmt: skip
def test_the_command_is_found_among_the_words(words: list[str], command: str) -> None:
    assert cli._command(words) == command


def test_a_short_word_asks_for_help_everywhere(said) -> None:
    assert said("-h") == said("--help")
    assert "Make the previous champion" in said("rollback", "-h")
    assert "contact sheet" in said("lab", "sheet", "-h")


def test_a_shell_completes_commands() -> None:
    program = "import sys; sys.argv = ['perennial']; from flows.cli import main; main()"
    asked = {"_PERENNIAL_COMPLETE": "complete_bash", "COMP_WORDS": "perennial ro", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={**os.environ, **asked}, capture_output=True, text=True
    )
    assert done.stdout.split() == ["rollback"]


def test_what_landed_and_what_a_run_did_can_be_read_by_a_machine(said, workspace: Workspace, archive: Path) -> None:
    assert json.loads(said("run", "--json", "-C", workspace.root)) == {
        "ran": [], "failed": {}, "planned": [], "promoted": [], "refused": {},
    }  # fmt: skip
    landed = json.loads(said("land", "swaps", archive, "--layout", "crops", "--json", "-C", workspace.root))
    assert (landed["name"], landed["clips"], landed["already"]) == ("swaps", 8, False)


def test_doctor_looks_at_the_services_around_a_workspace(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {check.what: check for check in doctor.examine(workspace.root)}
    assert found["mlflow server"].words.startswith("embedded: ") and found["prefect server"].state == "good"
    assert "copy" in found["dvc cache"].words and found["dvc remote"].state == "absent"
    monkeypatch.setenv("PERENNIAL_TRACKING_URI", "http://127.0.0.1:1")
    settings.cache_clear()
    try:
        away = doctor._tracking(workspace.root)
    finally:
        settings.cache_clear()
    assert away.state == "bad" and "PERENNIAL_TRACKING_URI='http://127.0.0.1:1'" in away.words


@pytest.mark.parametrize(
    ("more", "state", "words"),
    [
        ("", "bad", "expected DVC's remote 'away' to answer, found: "),
        ("['remote \"away\"']\n    url = ../empty\n", "absent", "'away' holds nothing that can be seen from here"),
    ],
)
def test_a_remote_is_said_with_its_name(workspace: Workspace, more: str, state: str, words: str) -> None:
    config = workspace.root / ".dvc" / "config"
    config.write_text(config.read_text().replace("[core]", "[core]\n    remote = away") + more)
    (remote,) = [check for check in doctor._dvc(workspace.root) if check.what == "dvc remote"]
    assert remote.state == state and remote.words.startswith(words)


def test_how_far_a_run_is_follows_from_what_ended_and_what_stages_of_a_kind_took() -> None:
    clock = [0.0]
    ahead = Ahead({"evolve@a-M1": 100.0}, now=lambda: clock[0])
    for name in ("evolve@a-M2", "judge@a-M2", "evolve@a-M3"):
        ahead.expect(name)
    assert ahead.words() == "stage 1 of 3"
    ahead.begin("evolve@a-M2")
    clock[0] = 100.0
    ahead.end("evolve@a-M2")
    assert ahead.words() == "stage 2 of 3", "nobody knows how long judging takes"
    ahead.begin("judge@a-M2")
    clock[0] = 110.0
    ahead.end("judge@a-M2")
    assert ahead.words() == "stage 3 of 3, about 2 min left"
    ahead.begin("evolve@a-M3")
    clock[0] = 160.0
    assert ahead.left_s == pytest.approx(50 / (110 / 160))


def test_two_stages_at_once_take_half_as_long() -> None:
    clock = [0.0]
    ahead = Ahead({}, now=lambda: clock[0])
    names = [f"crop@{letter}" for letter in "abcd"]
    for name in names:
        ahead.expect(name)
    for name in names[:2]:
        ahead.begin(name)
    clock[0] = 60.0
    for name in names[:2]:
        ahead.end(name)
    assert ahead.left_s == pytest.approx(60)


def test_the_first_page_is_written_although_mlflow_is_away(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "mlflow ui --backend-store-uri sqlite:///mlflow.db" in index.write(workspace).read_text()
    monkeypatch.setenv("PERENNIAL_TRACKING_URI", "http://127.0.0.1:1")
    settings.cache_clear()
    try:
        assert '<a href="http://127.0.0.1:1">' in index.write(workspace).read_text()
    finally:
        settings.cache_clear()
