"""What a stage really opens of the package lies in what it is made of, seen from outside by an audit hook."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from components import code

ROOT = Path(__file__).parents[2]
TODAY = code.parts()
HOOK = """
import json, os, sys
def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        opened.add(os.path.abspath(arguments[0]))
opened = set()
sys.addaudithook(watch)
"""
STAGE = f"""{HOOK}
import runpy
told, sys.argv = sys.argv[1], sys.argv[2:]
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
finally:
    with open(told, "w") as file:
        json.dump(sorted(opened), file)
"""
CHOICES = f"""
import importlib, warnings
warnings.simplefilter("ignore")
import cv2, numpy, pandas, pyarrow.parquet, rich.progress, torch
{HOOK}
for kind, module, name in json.loads(sys.argv[1]):
    read, write = os.pipe()
    if os.fork() == 0:
        importlib.import_module(f"{{module}}.{{name}}")
        if kind == "detectors":
            catalogue = importlib.import_module(module)
            catalogue.build(name, catalogue.options(name, {{"size": "tiny"}}))
        with os.fdopen(write, "w") as pipe:
            json.dump(sorted(opened), pipe)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        print(json.dumps([f"{{kind}}/{{name}}", json.load(pipe)]), flush=True)
    os.wait()
"""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def parts_of(opened: Iterable[str]) -> set[str]:
    """Modules and data files of the package among opened files; a compiled one is its source."""
    found = set()
    for path in map(Path, opened):
        if not path.is_relative_to(ROOT / "components") or path.is_dir():
            continue
        if path.suffix == ".pyc":
            path = path.parents[1] / f"{path.name.partition('.')[0]}.py"
        below = path.relative_to(ROOT)
        module = below.with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        found.add(module if path.suffix == ".py" else below.as_posix())
    return found


def run(script: str, *words: str, cwd: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PERENNIAL_DEVICE": "cpu", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", script, *words]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def ask(place) -> None:
    """Let the founder be examined again, on a benchmark it has met, so that the stage ran."""
    lineage = place.root / "lineage.yaml"
    said = yaml.safe_load(lineage.read_text())
    row = {key: said["generations"]["cffd-M1"][key] for key in ("detector", "strategy")}
    said["examinations"]["again"] = {"generation": "cffd-M1", "benchmark": "first", "after": "nobody", **row}
    lineage.write_text(yaml.safe_dump(said, sort_keys=False))
    place.dvc("repro", "--single-item", "examine@again")


@pytest.mark.parametrize("verb", code.STAGES)
def test_every_file_a_stage_opens_lies_in_what_it_is_made_of(verb, raised, copied, tmp_path):
    place = copied(raised)
    if verb == "examine":
        ask(place)
    stages = yaml.safe_load((place.root / "dvc.lock").read_text())["stages"]
    entry = [entry for name, entry in stages.items() if name.partition("@")[0] == verb][-1]
    for made in (place.root / out["path"] for out in entry["outs"]):
        shutil.rmtree(made) if made.is_dir() else made.unlink()
    words, _, made_of = entry["cmd"].partition(" --made-of ")
    run(STAGE, str(tmp_path / "opened"), *shlex.split(words)[2:], cwd=place.root)
    known = {part for name in made_of.split() for part in TODAY[name.removeprefix("data/code/")]}
    opened = parts_of(json.loads((tmp_path / "opened").read_text()))
    assert code.STAGES[verb] in opened
    assert opened - known - code.WORDS == set()


def test_every_file_a_choice_opens_lies_in_what_it_is_made_of(tmp_path):
    asked = [
        (kind, module, name.partition("/")[2])
        for kind, module in code.CATALOGUES.items()
        for name in TODAY
        if name.startswith(f"{kind}/")
    ]
    for line in run(CHOICES, json.dumps(asked), cwd=tmp_path).splitlines():
        name, opened = json.loads(line)
        assert parts_of(opened) - TODAY[name].keys() - code.WORDS == set(), name
