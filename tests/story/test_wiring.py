"""The wiring and the tree say the same: stages and modules, files and imports, words and folders."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from components import code

ROOT = Path(__file__).parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
CODE = STAGES.pop("code")
TEXT = {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".lock", ".css", ".html", ".json", ".sh", ".cfg", ".ini", ""}


def modules() -> dict[str, str]:
    """verb -> module, of every module that ends by running itself as a stage."""
    found = {}
    for path in sorted((ROOT / "components").rglob("*.py")):
        if ran := re.findall(r"^    stage\.run\((\w+)(?:, brief=True)?\)", path.read_text(), re.MULTILINE):
            (found[ran[0]],) = [".".join(path.relative_to(ROOT).with_suffix("").parts)]
    return found


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True
    )
    if listed.returncode:
        pytest.skip("no git here: what is tracked cannot be told")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_every_stage_of_the_wiring_runs_the_module_of_its_verb_and_every_stage_module_is_wired():
    wired = {verb: re.search(r"python -m (\S+)", stage["do"]["cmd"])[1] for verb, stage in STAGES.items()}
    assert wired == modules() == code.STAGES
    assert all(module.rpartition(".")[2] == verb for verb, module in wired.items())


@pytest.mark.parametrize("verb", STAGES)
def test_a_stage_depends_on_the_code_it_is_made_of_and_is_told_so(verb):
    stage = STAGES[verb]["do"]
    made_of = [dep for dep in stage["deps"] if dep.startswith("data/code/")]
    assert made_of[0] == f"data/code/stages/{verb}"
    assert all(re.fullmatch(rf"data/code/({'|'.join(code.CATALOGUES)})/\$\{{item\.\w+\}}", dep) for dep in made_of[1:])
    assert stage["cmd"].split("--made-of ")[1].split() == made_of


@pytest.mark.parametrize("verb", STAGES)
def test_every_folder_a_stage_is_given_is_wired_as_what_it_reads_or_writes(verb):
    """Apart from the folders of which a stage opens what its inputs name."""
    stage = STAGES[verb]["do"]
    given = re.findall(r"(?:data|reports|recipes)/\S+", stage["cmd"])
    named_by_inputs = {"data/verdicts", "data/scores", "data/generations", "data/faces"}
    shown = [
        next(iter(one)) if isinstance(one, dict) else one
        for kind in ("metrics", "plots")
        for one in stage.get(kind, ())
    ]
    wired = [f"{path}/" for path in (*stage["deps"], *stage["outs"], *shown)]
    within = {path for path in given for one in wired if f"{path}/".startswith(one) or one.startswith(f"{path}/")}
    assert [path for path in given if path not in within | named_by_inputs] == []


def test_the_wiring_can_be_read_while_the_register_is_still_empty(found):
    place = found()
    assert place.dvc("stage", "list", "--name-only").split() == ["code"]
    assert "up to date" in place.dvc("repro")


def test_imports_point_to_the_left_and_every_tool_has_one_door(tmp_path):
    lint = Path(sys.executable).with_name("lint-imports")
    said = subprocess.run([lint, "--cache-dir", tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout


def test_no_tracked_file_names_a_folder_of_somebodys_machine():
    home = re.compile(r"/(?:home|Users)/[a-z]\w*/|[A-Z]:\\Users\\")
    here = [str(path) for path in (ROOT, ROOT.parent / "shared") if len(path.parts) > 2]
    for path in tracked():
        if path.suffix in TEXT and path.name != "requirements.lock":
            text = path.read_text(errors="replace")
            assert not home.search(text), path
            assert not any(folder in text for folder in here), path


def test_the_readme_names_every_package():
    readme = (ROOT / "README.md").read_text()
    packages = ["flows", *(path.parent.name for path in sorted((ROOT / "components").glob("*/__init__.py")))]
    assert [name for name in packages if f"{name}/" not in readme] == []
