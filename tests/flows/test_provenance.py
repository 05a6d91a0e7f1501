"""What today's code would make otherwise, and in which modules."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from components import code
from components.errors import PerennialError, UnknownName
from flows import cache, pipeline, provenance
from flows.workspace import Workspace

EVOLVE, STRATEGY = "stages/evolve", "strategies/lwf"


def record(workspace: Workspace, stage: str, made_of: dict[str, str], *, cached: bool = True) -> None:
    """What DVC writes down of a stage, and keeps, when it was made of these texts."""
    lock = workspace.root / "dvc.lock"
    known: dict[str, Any] = yaml.safe_load(lock.read_text())
    deps = []
    for name, text in made_of.items():
        md5 = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        deps.append({"path": f"data/code/{name}", "hash": "md5", "md5": md5})
        if cached:
            kept = cache.where(workspace.root) / "files/md5" / md5[:2] / md5[2:]
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(text)
    known["stages"][stage] = {"cmd": "x", "deps": [*deps, {"path": "data/faces/a", "hash": "md5", "md5": "0.dir"}]}
    lock.write_text(yaml.safe_dump(known))


@pytest.fixture
def today(workspace: Workspace) -> dict[str, str]:
    """The texts of what an evolve is made of now."""
    found = provenance.today(workspace)
    return {name: code.text(found[name]) for name in (EVOLVE, STRATEGY)}


def edited(text: str, module: str) -> str:
    parts = code.read(text)
    assert module in parts
    return code.text({**parts, module: "0"})


def test_what_today_s_code_made_is_not_named(workspace: Workspace, today: dict[str, str]) -> None:
    record(workspace, "evolve@a-M1", today)
    assert provenance.outdated(workspace) == {}
    assert provenance.why(workspace, "a-M1") == ["evolve@a-M1: made by today's code"]


def test_what_other_code_made_is_named_with_the_modules_that_differ(
    workspace: Workspace, today: dict[str, str]
) -> None:
    loss = "components.losses.distillation"
    old = code.text({**code.read(edited(today[STRATEGY], loss)), "components.losses.once": "1"})
    record(workspace, "evolve@a-M1", {**today, STRATEGY: old})
    record(workspace, "evolve@b-M1", today)
    assert provenance.outdated(workspace) == {"evolve@a-M1": [STRATEGY]}
    assert provenance.why(workspace, "evolve@a-M1") == [
        "evolve@a-M1: today's code would make it otherwise",
        f"  {loss} was edited",
        "  components.losses.once is gone",
    ]


def test_an_old_text_that_was_not_kept_is_said_to_be_lost(workspace: Workspace, today: dict[str, str]) -> None:
    record(workspace, "evolve@a-M1", {**today, STRATEGY: "components.strategies.lwf 0\n"}, cached=False)
    (line,) = [line for line in provenance.why(workspace, "a-M1") if STRATEGY in line]
    assert "its old text is not in DVC's cache" in line


def test_a_stage_of_0_1_recorded_no_code(workspace: Workspace) -> None:
    record(workspace, "crop@swap", {})
    assert provenance.outdated(workspace) == {"crop@swap": []}
    assert "made by 0.1" in provenance.why(workspace, "crop@swap")[1]


def test_what_was_never_made_is_an_unknown_name(workspace: Workspace) -> None:
    with pytest.raises(UnknownName, match="stage or generation 'nobody'"):
        provenance.why(workspace, "nobody")


# -- the digests of a workspace ------------------------------------------------------------------------------------------


def test_a_new_workspace_has_today_s_digests_and_names_the_package_in_its_local_configuration_alone(
    workspace: Workspace,
) -> None:
    assert code.is_current(workspace.root / code.FOLDER, code.parts())
    local = workspace.root / ".dvc" / "config.local"
    assert f"url = {code.ROOT}" in local.read_text()
    mentions = [
        path
        for path in workspace.root.rglob("*")
        if path.is_file()
        and path != local
        and "tmp" not in path.parts
        and str(code.ROOT) in path.read_text(errors="replace")
    ]
    assert mentions == []


def test_refreshing_writes_what_differs_and_where_the_package_lies(workspace: Workspace) -> None:
    root = workspace.root
    (root / ".dvc" / "config.local").unlink()
    (root / code.FOLDER / EVOLVE).unlink()
    pipeline.refresh(root)
    assert code.is_current(root / code.FOLDER, code.parts())
    assert f"url = {code.ROOT}" in (root / ".dvc" / "config.local").read_text()


def test_a_workspace_of_0_1_is_told_to_upgrade(workspace: Workspace) -> None:
    wiring = workspace.root / "dvc.yaml"
    wiring.write_text(wiring.read_text().replace("remote://code/components", "components"))
    with pytest.raises(PerennialError, match="perennial upgrade"):
        pipeline.refresh(workspace.root)


def test_a_template_is_the_checkout_s_own_file(tmp_path: Path) -> None:
    from flows.workspace import CHECKOUT, template

    assert template("dvc.yaml") == (CHECKOUT / "dvc.yaml").read_text()
