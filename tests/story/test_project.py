"""What runs elsewhere is what runs here: CI's workflow, the hooks before a commit."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_the_workflow_of_ci_runs_the_script_that_runs_at_home_and_nothing_else():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    assert shutil.which(str(ROOT / ".ci" / "run"))


def test_the_hooks_before_a_commit_are_the_checks_of_make_with_the_tools_of_the_project():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    hooks = [hook["entry"] for repo in config["repos"] for hook in repo["hooks"]]
    assert all(entry.startswith(".venv/bin/") for entry in hooks)
    checks = re.search(r"^check:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split("\n")
    assert {" ".join(entry.removeprefix(".venv/bin/").split()[:1]) for entry in hooks} == {
        check.split()[0] for check in checks if check.strip()
    }
