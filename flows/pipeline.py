"""The stages of a workspace, as ``dvc.yaml`` wires them: which are stale, run one of them, and what DVC must know for that."""

from __future__ import annotations

import json
import logging
import re
import subprocess
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from components import code
from components.documents import load_yaml
from components.errors import PerennialError, StageFailed
from components.writing import replace_text
from flows.dvc_process import (
    BY_WHOM,
    KILLED,
    PATIENCE_S,
    Busy,
    GivenUp,
    Listener,
    given_up,
    is_busy,
    last_words,
    must,
    patiently,
    run,
)
from flows.workspace import Workspace

IGNORED = "# DVC looks for dvc.yaml everywhere else\n/.perennial/\n/mlartifacts/\n"
IGNORED_IN_0_2 = IGNORED.replace("/.", ".").replace("/ml", "ml")
"""It left out folders of these names inside archives as well."""
CODE = "code"
"""The stage that writes digests of the code, and the remote where it finds the package."""
CODE_DEPENDENCY = f"remote://{CODE}/components"
ADVICE = "run-perennial-status-here-first"
VERSIONED = """\
# Choices, wiring, the family register and the ledger are git's; archives and what was made of them are DVC's.
/.dvc/cache
/.dvc/config.local
/.dvc/tmp
/.perennial/
/answers/
/data/*/?*
!/data/*/nobody/
!/data/archives/*.dvc
!/data/weights/*
!/data/withdrawals/*
/mlartifacts/
/mlflow.db*
/reports/
/told/
*.fresh
*.partial
"""
"""What git leaves out of a workspace. Not ``/data/*/*``: dulwich, whom DVC asks, takes that for ``data/archives/`` itself,
and DVC then knows of no archive."""
CONFIG = f"""\
[core]
    no_scm = True
    autostage = false
    analytics = false
['remote "{CODE}"']
    url = ../{ADVICE}
"""
"""Of a workspace. In a clone, nothing is there until a `perennial` command was run: DVC's own message gives the advice."""
UNFETCHED = ("ERROR:", "WARNING: Some of the cache files do not exist", "No remote")
"""How DVC begins to say that it could not fetch everything; its exit code is 0 where the remote lacks it too, or is none."""


def reproduce(
    root: Path,
    stage: str,
    *,
    timeout_s: float,
    listen: Listener | None = None,
    force: bool = False,
    environment: Mapping[str, str] | None = None,
) -> bool:
    """Bring one stage instance up to date, or with `force` run it whatever its state; returns whether it ran.

    `environment`: variables for this stage alone, such as the devices it may see.
    Raises Busy where another process holds its files, GivenUp where the run was told to stop, StageFailed with the stage's
    own last words otherwise.
    """
    if given_up.is_set():
        raise GivenUp(f"the run was stopped before stage {stage} began. Run again to go on.")
    how = ["--single-item", "--force"] if force else ["--single-item"]
    command = ["--wait-for-lock", "repro", *how, stage]
    began = False

    def hear(line: str) -> None:
        nonlocal began
        began = began or line.startswith("Running stage")
        if listen:
            listen(line)

    exit_code, lines = run(root, command, timeout_s, hear, is_stage=True, environment=environment)
    if exit_code == 0:
        return began
    if given_up.is_set():
        raise GivenUp(f"stage {stage} was stopped. Run again to go on.")
    if is_busy(lines):
        raise Busy(f"stage {stage} waits for another DVC process: {lines[-1] if lines else ''}")
    if any(KILLED.search(line) for line in lines):
        raise StageFailed(f"stage {stage} was killed {BY_WHOM}")
    raise StageFailed(f"stage {stage} failed: {last_words(lines)}")


def stale(root: Path, stages: Collection[str] = ()) -> set[str]:
    """Stage instances, of these or of all, whose inputs, command or outputs are not what ``dvc.lock`` says.

    A stage of a flow that was killed a moment ago is given `PATIENCE_S` to let go of its files.
    """
    status = patiently(lambda: _status(root, stages), PATIENCE_S)
    return {stage.rpartition("dvc.yaml:")[2] or stage for stage in status}


def _status(root: Path, stages: Collection[str]) -> dict[str, Any]:
    exit_code, lines = run(root, ["status", "--json", *stages], 600, None)
    if exit_code:
        raise (Busy if is_busy(lines) else StageFailed)(f"dvc status failed: {last_words(lines)}")
    found: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    return found


def checkout(root: Path) -> None:
    """Put back what the cache has and the workspace lacks; what was never made is no error.

    A cache that was put elsewhere after `perennial init` lacks the digests of the code, and DVC would put back nothing.
    """
    arguments = ["checkout", "--quiet", "--allow-missing"]
    exit_code, _ = run(root, arguments, 24 * 3600, None)
    if exit_code and code.is_current(root / code.FOLDER, code.parts(cache=root / code.CACHE)):
        run(root, ["commit", "--quiet", "--force", CODE], 600, None)
        run(root, arguments, 24 * 3600, None)


def bring_back(root: Path) -> str:
    """Fetch from the remote what the cache lacks and check everything out; why not all could be fetched, in DVC's words."""
    _, lines = run(root, ["--wait-for-lock", "fetch"], 24 * 3600, None)
    checkout(root)
    return "; ".join(line.removeprefix("ERROR: ") for line in lines if line.startswith(UNFETCHED))


def complete(root: Path) -> None:
    """`checkout`, if anything is lacking that stages made: to look costs less than to start DVC."""
    if not all((root / out["path"]).exists() for stage in locked(root).values() for out in stage.get("outs", ())):
        checkout(root)


def locked(root: Path) -> dict[str, Any]:
    """What ``dvc.lock`` says of every stage that was made."""
    lock = root / "dvc.lock"
    said = load_yaml(lock.read_bytes()) if lock.is_file() else None
    return (said or {}).get("stages") or {}


def start(root: Path) -> None:
    """Make `root` a DVC repository unless it is one."""
    if not (root / ".dvc").is_dir():
        must(root, ["init", "--no-scm", "--quiet"])
        (root / ".dvc" / "config").write_text(CONFIG)
        (root / ".dvcignore").write_text(IGNORED)
    if root.resolve() != code.ROOT:
        _complete_lines(root / ".gitignore", VERSIONED)
    refresh(root)


def use_git(root: Path) -> None:
    """Let DVC use git where the workspace lies in a repository that does not ignore it, and git leave out what is DVC's.

    Whether it does is said in ``.dvc/config.local``: a copy of the workspace may lie elsewhere. A ``.gitignore`` that is
    there stays as it is.
    """
    if not (root / ".gitignore").is_file():
        replace_text(root / ".gitignore", VERSIONED)
    local = root / ".dvc" / "config.local"
    said = "no_scm = false" in local.read_text(encoding="utf-8") if local.is_file() else False
    if said != (found := in_git(root)):
        how = ["core.no_scm", "false"] if found else ["--unset", "core.no_scm"]
        must(root, ["config", "--local", *how])


def in_git(root: Path) -> bool:
    """Whether git would keep what lies there; asked of git only below the top of a repository."""
    if (root / ".git").exists():
        return True
    if not any((parent / ".git").exists() for parent in root.resolve().parents):
        return False
    with suppress(OSError):  # no git here
        asked = subprocess.run(["git", "check-ignore", "--quiet", str(root)], cwd=root, capture_output=True)
        return asked.returncode == 1
    return False


def _complete_lines(file: Path, text: str) -> None:
    """Have every line of `text` in the file; one that somebody wrote keeps what it says."""
    said = file.read_text(encoding="utf-8") if file.is_file() else ""
    missing = [line for line in text.splitlines() if line not in said.splitlines()]
    if missing:
        replace_text(file, said + ("\n" if said and not said.endswith("\n") else "") + "\n".join(missing) + "\n")


def refresh(root: Path, *, patience_s: float = 0) -> None:
    """Write today's digests into ``data/code`` unless they are there, and where the package lies, which moves.

    While a stage is at work the files stay as they are, because it rests on them; `patience_s` is how long to wait for
    it. Raises PerennialError where the workspace is wired as 0.1 did.
    """
    if not (root / ".dvc").is_dir():
        return
    if is_old(root):
        raise PerennialError(
            f"expected '{root}' to be wired as this version does, found the wiring of an older version. "
            "`perennial upgrade` mends the workspace; nothing is raised again."
        )
    Workspace(root).complete()
    if (ignored := root / ".dvcignore").is_file() and ignored.read_text(encoding="utf-8") == IGNORED_IN_0_2:
        replace_text(ignored, IGNORED)
    _point_to_the_package(root)
    if root.resolve() != code.ROOT:
        use_git(root)
    if not code.is_current(root / code.FOLDER, code.parts(cache=root / code.CACHE)):
        with suppress(Busy):
            patiently(lambda: reproduce(root, CODE, timeout_s=600), patience_s)


def is_old(root: Path) -> bool:
    """Whether the workspace is wired as 0.1 did: its stages depend on source files."""
    lock = root / "dvc.lock"
    wired = CODE_DEPENDENCY in (root / "dvc.yaml").read_text(encoding="utf-8")
    return not wired or (lock.is_file() and "- path: components/" in lock.read_text(encoding="utf-8"))


def name_remote(root: Path) -> None:
    """Name the remote where the stage `code` finds the package, as a new workspace does; other settings stay."""
    if root.resolve() != code.ROOT:
        must(root, ["remote", "add", "--quiet", "--force", CODE, ADVICE])
    _point_to_the_package(root)


def adopt(root: Path, renamed: Mapping[str, str], changed: Collection[str]) -> int:
    """Let what was made stand for what today's wiring would make; returns how many stage instances do.

    ``dvc.lock`` keeps what it says of inputs and outputs. It takes up today's commands, the inputs it did not know, and
    the outputs in `changed` as they are now, wherever they are inputs too, also those of stages that never ran. `renamed`:
    stages by their names before.
    """
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.WARNING)  # it reports every entry it writes
    _rename_stages(root / "dvc.lock", renamed)
    reproduce(root, CODE, timeout_s=600)
    with Repo(str(root)) as repo, repo.lock:
        made = [
            stage
            for stage in repo.index.stages
            if not stage.is_data_source
            and stage.name != CODE
            and any(out.hash_info or out.def_path in changed for out in stage.outs)
        ]
        for stage in [one for one in made if any((out.metric or out.plot) and not out.hash_info for out in one.outs)]:
            made.remove(stage)  # an older version wrote no numbers: it is made anew
            stage.dvcfile._lockfile.remove_stage(stage)
        today = {}
        for output in (out for stage in made for out in stage.outs if out.def_path in changed or not out.hash_info):
            before = output.hash_info
            folder = Path(output.fs_path)
            if not before and not any(folder.glob("*")):  # what an older version did not write
                folder.mkdir(parents=True, exist_ok=True)
                (folder / ".gitkeep").touch()
            output.save()
            output.commit()
            today[output.def_path] = (before, output)
        for stage in made:
            for dep in stage.deps:
                before, output = today.get(dep.def_path, (None, None))
                if not dep.hash_info:
                    dep.save()
                elif output is not None and dep.hash_info == before:
                    dep.hash_info, dep.meta = output.hash_info, output.meta
            stage.dump(update_pipeline=False)
    return len(made)


def commit_moved(root: Path, output: str) -> None:
    """Note that an output lies in another form than its stage made it in; whatever was made of it stands."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo, repo.lock:
        stages = [stage for stage in repo.index.stages if not getattr(stage, "cmd_changed", False)]
        (maker, moved) = next((stage, out) for stage in stages for out in stage.outs if out.def_path == output)
        before = moved.hash_info
        moved.save()
        moved.commit()
        maker.dump(update_pipeline=False)
        for stage in stages:
            if rests := [dep for dep in stage.deps if dep.def_path == output and dep.hash_info == before]:
                for dep in rests:
                    dep.hash_info, dep.meta = moved.hash_info, moved.meta
                stage.dump(update_pipeline=False)


def _rename_stages(lock: Path, renamed: Mapping[str, str]) -> None:
    if not lock.is_file():
        return
    text = lock.read_text(encoding="utf-8")
    for old, new in renamed.items():
        text = re.sub(rf"^  {old}@", f"  {new}@", text, flags=re.MULTILINE)
    lock.write_text(text, encoding="utf-8")


def _point_to_the_package(root: Path) -> None:
    """Name the package's folder in ``.dvc/config.local``, which no version control keeps; a checkout has its own."""
    local = root / ".dvc" / "config.local"
    said = local.read_text(encoding="utf-8") if local.is_file() else ""
    if root.resolve() != code.ROOT and f"url = {code.ROOT}" not in map(str.strip, said.splitlines()):
        must(root, ["remote", "add", "--quiet", "--force", "--local", CODE, str(code.ROOT)])
