"""Run a stage: one function of paths and typed params, called with the arguments written in ``dvc.yaml``.

    def crop(archive: Path, faces: Path, *, faces_params: CropOptions) -> None: ...

    if __name__ == "__main__":
        stage.run(crop)        # python -m components.faces.crop ARCHIVE FACES

Paths come in the order of the signature. A keyword ``<section>_params`` receives that section of ``params.yaml``, and
``params`` the whole of it. Other keywords are options (``--name VALUE``).
"""

from __future__ import annotations

import argparse
import inspect
import os
import sys
import threading
import time
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from components import params as _params
from components.errors import PerennialError
from components.settings import hush

WHOLE, SECTION = "params", "_params"


def run(stage: Callable[..., Any]) -> None:
    """Call `stage` from the command line; a PerennialError becomes its advice on stderr and exit code 1."""
    hush()
    _die_with_the_engine()
    try:
        stage(**_arguments(stage, sys.argv[1:]))
    except PerennialError as error:
        sys.exit(f"{type(error).__name__}: {error}")


def _die_with_the_engine() -> None:
    """Stop when the DVC process or the flow that started this stage is gone: an orphan must not go on writing."""
    engines = [p for p in psutil.Process().parents()[:3] if any("dvc" in word for word in _command(p)[:3])]
    guardian = os.environ.get("PERENNIAL_GUARDIAN")
    if guardian:
        try:
            engines.append(psutil.Process(int(guardian)))
        except psutil.NoSuchProcess:  # it died while this stage was being imported
            sys.exit(f"the flow that started this stage (process {guardian}) is gone; nothing was written.")

    def watch() -> None:
        while all(_lives(engine) for engine in engines):
            time.sleep(0.5)
        os._exit(137)

    if engines:
        threading.Thread(target=watch, daemon=True, name="engine-watch").start()


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


def _arguments(stage: Callable[..., Any], argv: list[str]) -> dict[str, Any]:
    hints = typing.get_type_hints(stage)
    parser = argparse.ArgumentParser(prog=stage.__name__, description=inspect.getdoc(stage))
    sections: list[str] = []
    for name, parameter in inspect.signature(stage).parameters.items():
        kind = hints[name]
        if isinstance(kind, type) and issubclass(kind, _params.Section):
            sections.append(name)
        elif parameter.kind is parameter.KEYWORD_ONLY:
            required = parameter.default is parameter.empty
            default = None if required else parameter.default
            parser.add_argument("--" + name.replace("_", "-"), dest=name, type=kind, required=required, default=default)
        else:
            parser.add_argument(name, type=kind)
    arguments = vars(parser.parse_args(argv))
    if sections:
        whole = _params.load(Path("params.yaml"))
        arguments |= {name: _section(whole, name) for name in sections}
    return arguments


def _section(whole: _params.Params, name: str) -> Any:
    return whole if name == WHOLE else getattr(whole, name.removesuffix(SECTION))
