"""Run a stage: one function of paths and typed params, called with the arguments written in ``dvc.yaml``.

    def crop(archive: Path, faces: Path, *, faces_params: CropOptions) -> None: ...

    if __name__ == "__main__":
        stage.run(crop)        # python -m components.faces.crop ARCHIVE FACES

Paths come in the order of the signature. A keyword ``<section>_params`` receives that section of ``params.yaml``, and
``params`` the whole of it. Other keywords are options (``--name VALUE``).

``--made-of FILE …`` names the files of ``data/code`` that tell which code the stage and its choices are made of. A stage
begins only if that is the code at work, so that DVC never writes down another; a keyword ``made_of`` receives the digest.
What it is made of is imported before it begins, so that an edit meanwhile changes nothing. A stage that takes seconds
(``run(publish, brief=True)``) imports what it uses, and compares once more when it ends.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from components import code, guardian
from components import params as _params
from components.errors import PerennialError, StageFailed, in_words
from components.settings import hush

WHOLE, SECTION, MADE_OF = "params", "_params", "made_of"
REFRESH = "`dvc repro` takes note of today's code before it runs a stage, and so does every `perennial` command."


def run(stage: Callable[..., Any], *, brief: bool = False) -> None:
    """Call `stage` from the command line; a PerennialError becomes its advice on stderr and exit code 1.

    `brief`: it takes seconds, less than importing everything that its choices are made of.
    """
    hush()
    _die_with_the_engine()
    try:
        arguments, files = _arguments(stage, sys.argv[1:])
        recorded = _recorded(files)
        _compare(recorded)
        if not brief:
            _import_all(recorded)
            _compare(recorded)  # nothing was edited while they were imported
        if MADE_OF in inspect.signature(stage).parameters:
            arguments[MADE_OF] = code.digest(map(code.read, recorded.values())) if recorded else ""
        stage(**arguments)
        if _recorded(files) != recorded:
            raise StageFailed("the files of data/code were written anew while this stage was at work. Run it again.")
        if brief:
            _compare(recorded)
    except PerennialError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except Exception as fault:
        if not (said := in_words(fault)):
            raise
        sys.exit(said)


def _recorded(files: Sequence[Path]) -> dict[str, str]:
    """What the files of ``data/code`` say, by ``stages/<stage>``, ``detectors/<name>``, …"""
    try:
        return {f"{file.parent.name}/{file.name}": file.read_text(encoding="utf-8") for file in files}
    except OSError:
        raise StageFailed(
            f"expected {', '.join(map(str, files))}, which tell what this stage is made of, found them not all. {REFRESH}"
        ) from None


def _import_all(recorded: Mapping[str, str]) -> None:
    """Import every module the stage is made of."""
    own = getattr(sys.modules["__main__"].__spec__, "name", "")
    for name in {name for text in recorded.values() for name in code.read(text) if "/" not in name} - {own}:
        importlib.import_module(name)


def _compare(recorded: Mapping[str, str]) -> None:
    """Raise StageFailed unless the code on the disk is the one that was recorded."""
    today = code.parts(cache=code.CACHE) if recorded else {}
    for name, text in recorded.items():
        if edited := code.differing(code.read(text), today.get(name, {})):
            raise StageFailed(
                f"expected the code that {code.FOLDER / name} tells of, found another in {', '.join(edited)}: it was edited "
                f"since. {REFRESH}"
            )


def _die_with_the_engine() -> None:
    """Stop when the DVC process or the flow that started this stage is gone: an orphan must not go on writing.

    So does a process of a training on several devices, when the one that began it is.
    """
    parents = psutil.Process().parents()[:4]
    engines = [p for p in parents if any("dvc" in word for word in _command(p)[:5])]
    if os.environ.get("LOCAL_RANK", "0") != "0":
        engines += parents[:1]
    flow = os.environ.get("PERENNIAL_GUARDIAN")
    if flow:
        try:
            engines.append(psutil.Process(int(flow)))
        except psutil.NoSuchProcess:  # it died while this stage was being imported
            sys.exit(f"the flow that started this stage (process {flow}) is gone; nothing was written.")

    if engines:
        guardian.end_unless(lambda: all(_lives(engine) for engine in engines))


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _arguments(stage: Callable[..., Any], argv: list[str]) -> tuple[dict[str, Any], list[Path]]:
    """What `stage` is to be called with, and the files that tell what it is made of."""
    hints = typing.get_type_hints(stage)
    parser = argparse.ArgumentParser(prog=stage.__name__, description=inspect.getdoc(stage))
    parser.add_argument("--made-of", dest=MADE_OF, nargs="+", type=Path, default=[])
    sections: list[str] = []
    for name, parameter in inspect.signature(stage).parameters.items():
        kind = hints[name]
        if name == MADE_OF:
            continue
        if isinstance(kind, type) and issubclass(kind, _params.Section):
            sections.append(name)
        elif parameter.kind is parameter.KEYWORD_ONLY:
            required = parameter.default is parameter.empty
            default = None if required else parameter.default
            parser.add_argument("--" + name.replace("_", "-"), dest=name, type=kind, required=required, default=default)
        else:
            parser.add_argument(name, type=kind)
    arguments = vars(parser.parse_args(argv))
    files: list[Path] = arguments.pop(MADE_OF)
    if sections:
        whole = _params.load(Path("params.yaml"))
        arguments |= {name: _section(whole, name) for name in sections}
    return arguments, files


def _section(whole: _params.Params, name: str) -> Any:
    return whole if name == WHOLE else getattr(whole, name.removesuffix(SECTION))
