"""A workspace in git: what git keeps of it, and that DVC uses git exactly where there is one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flows import pipeline
from flows.land import land
from flows.workspace import Workspace, template


def git(folder: Path, *words: str) -> str:
    named = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    return subprocess.run(["git", *named, *words], cwd=folder, capture_output=True, text=True, check=True).stdout


def dvc(folder: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "dvc", *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def landed(workspace: Workspace, archive: Path) -> Workspace:
    """In a git repository; an archive has landed, and other files lie about."""
    git(workspace.root, "init", "--quiet")
    pipeline.refresh(workspace.root)
    land(workspace, "swaps", str(archive), layout="crops")
    for name in ("mlflow.db", "mlartifacts/1/model", "reports/lines/small/index.html", "data/faces/swaps/faces.arrow"):
        (workspace.root / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace.root / name).write_text("large")
    (workspace.root / "ledger.jsonl").write_text("{}\n")
    return workspace


def test_git_keeps_choices_wiring_and_ledger_and_neither_clips_nor_what_was_made_of_them(landed: Workspace) -> None:
    git(landed.root, "add", "--all")
    kept = set(git(landed.root, "ls-files").split())
    assert {"dvc.yaml", "dvc.lock", "params.yaml", "lineage.yaml", "ledger.jsonl", ".dvc/config", ".gitignore"} <= kept
    assert {"data/archives/swaps.dvc", "data/generations/nobody/.gitkeep"} <= kept
    large = ("mlflow", "mlartifacts/", "reports/", ".perennial/", ".dvc/cache", ".dvc/tmp", "data/faces", "data/code")
    assert [name for name in kept if name.startswith(large) or name.endswith((".png", ".local"))] == []


def test_dvc_pushes_the_archives_that_git_leaves_out(landed: Workspace, tmp_path: Path) -> None:
    dvc(landed.root, "remote", "add", "--default", "store", str(tmp_path / "store"))
    dvc(landed.root, "push")
    (content,) = yaml.safe_load((landed.root / "data/archives/swaps.dvc").read_text())["outs"]
    assert (tmp_path / "store" / "files" / "md5" / content["md5"][:2] / content["md5"][2:]).is_file()


def test_choices_of_two_commits_are_compared_by_dvc_itself(landed: Workspace) -> None:
    git(landed.root, "add", "--all")
    git(landed.root, "commit", "--quiet", "--message", "as it began")
    landed.rewrite(lambda params: params["faces"].update(size_px=96))
    assert [line.split()[1:] for line in dvc(landed.root, "params", "diff").splitlines()[1:]] == [
        ["faces.size_px", "64", "96"]
    ]


def test_dvc_uses_git_where_it_begins_and_no_longer_where_it_ends(workspace: Workspace) -> None:
    local = workspace.root / ".dvc" / "config.local"
    assert "no_scm" not in local.read_text()
    git(workspace.root, "init", "--quiet")
    pipeline.refresh(workspace.root)
    assert "no_scm = false" in local.read_text()
    (workspace.root / ".git").rename(workspace.root.parent / "git elsewhere")
    pipeline.refresh(workspace.root)
    assert "no_scm" not in local.read_text()
    assert "up to date" in dvc(workspace.root, "status")


def test_a_workspace_that_a_repository_ignores_is_none_of_its_files(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / ".gitignore").write_text("/hidden/\n")
    for name in ("hidden", "seen"):
        (tmp_path / name).mkdir()
    assert [pipeline.in_git(tmp_path / name) for name in ("hidden", "seen")] == [False, True]


def test_lines_that_somebody_wrote_into_gitignore_stay(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("/mine/")
    pipeline.start(Workspace.create(tmp_path, template("params.yaml")).root)
    said = (tmp_path / ".gitignore").read_text().splitlines()
    assert said[0] == "/mine/" and set(pipeline.VERSIONED.splitlines()) <= set(said)
    (tmp_path / ".gitignore").write_text("/mine/\n")
    pipeline.refresh(tmp_path)
    assert (tmp_path / ".gitignore").read_text() == "/mine/\n"
