"""A workspace that git and DVC's remote brought elsewhere is the same one, and goes on learning there."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from components.registry import catalogue, ledger
from components.tracking import connect

pytestmark = pytest.mark.slow


def git(folder: Path, *words: str) -> str:
    named = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    return subprocess.run(["git", *named, *words], cwd=folder, capture_output=True, text=True, check=True).stdout


def status(place) -> dict:
    """What is said of its lines."""
    return json.loads(place.perennial("status", "--json"))


@pytest.fixture(scope="module")
def kept(raised, copied, tmp_path_factory):
    """In a git repository, pushed to a remote of DVC's."""
    place, remote = copied(raised), tmp_path_factory.mktemp("remote")
    git(place.root, "init", "--quiet")
    place.perennial("status")  # tells DVC that there is git now
    place.dvc("remote", "add", "--default", "store", str(remote))
    git(place.root, "add", "--all")
    git(place.root, "commit", "--quiet", "--message", "two generations")
    place.dvc("push", "--quiet")
    return place


@pytest.fixture(scope="module")
def elsewhere(kept, place_at, tmp_path_factory):
    """Cloned and pulled by git and DVC alone."""
    folder = tmp_path_factory.mktemp("elsewhere") / "clone"
    git(folder.parent, "clone", "--quiet", str(kept.root), str(folder))
    place = place_at(folder)
    place.dvc("pull", "--quiet")
    return place


def test_a_clone_says_the_same_of_its_lines_and_knows_its_champion(kept, elsewhere):
    assert status(elsewhere) == status(kept)
    assert ledger.standing(elsewhere.root / "ledger.jsonl", "cffd").champion.generation == "cffd-M2"
    assert "is whole" in elsewhere.perennial("history", "--verify")


def test_a_clone_has_the_pages_of_its_lines_byte_for_byte(kept, elsewhere):
    page = Path("reports/lines/cffd/index.html")
    assert (elsewhere.root / page).read_bytes() == (kept.root / page).read_bytes()


def test_a_clone_goes_on_learning_and_its_registry_catches_up(elsewhere, copied, archives):
    place = copied(elsewhere)
    place.land("third", archives["third"])
    outcome = place.lifecycle()
    assert (outcome["planned"], outcome["promoted"], outcome["failed"]) == (["cffd-M3"], ["cffd-M3"], {})
    assert [stage for stage in outcome["ran"] if stage.startswith("evolve")] == ["evolve@cffd-M3"]
    registered = catalogue.versions("cffd", connect(place.root))
    assert {one.tags[catalogue.GENERATION_TAG] for one in registered} == {"cffd-M1", "cffd-M2", "cffd-M3"}
