"""What a result was made of: the modules and data files behind each stage and each choice, as digests.

    python -m components.code data/code      # the stage `code`: one small file a stage and a choice, "name digest" a line

A stage's closure is what its module imports, at its top or inside its functions, and what those import in turn. What is
chosen by name (a detector, a strategy, a layout, a face detector) is loaded by its catalogue when it is asked for: it
lies in a closure of its own, so that editing one choice leaves the results of the others valid.

Three rules find a closure without importing anything:
  imports   of this package, but not under ``if TYPE_CHECKING``; packages above a module come along
  names     a string that is a module's whole dotted name (it is started with ``python -m``)
  data      a string that names a file, or a folder without Python, beside the module; files of the same stem come along

A module's digest is over its syntax: comments, docstrings and formatting change nothing, and every supported Python
finds the same one. Uses the standard library alone, so that any interpreter can be asked.
"""

from __future__ import annotations

import ast
import compileall
import hashlib
import json
import os
import py_compile
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
"""The folder that holds the package: a checkout, or site-packages."""
PACKAGE = Path(__file__).resolve().parent.name
STAGES = {
    "ingest": "components.archives.ingest",
    "validate": "components.archives.validate",
    "crop": "components.faces.crop",
    "gauge": "components.faces.gauge",
    "add_benchmark": "components.evaluation.add_benchmark",
    "evolve": "components.generations.evolve",
    "curate": "components.generations.curate",
    "evaluate": "components.evaluation.evaluate",
    "examine": "components.evaluation.examine",
    "calibrate": "components.evaluation.calibrate",
    "judge": "components.gates.judge",
    "publish": "components.reports.publish",
}
CATALOGUES = {
    "detectors": "components.detectors",
    "strategies": "components.strategies",
    "layouts": "components.archives.layouts",
    "faces": "components.faces.detection",
}
"""Packages whose modules are chosen by name, one file a choice."""
WORDS = frozenset(f"components.{name}" for name in ("code", "errors", "printing", "progress", "settings"))
"""Modules that shape no result: this one, error messages, what is printed, progress, and settings, which say where things
run and give defaults that a recipe freezes. They belong to no closure, so rewording a message makes nothing stale."""
FOLDER = Path("data/code")
CACHE = Path(".perennial/code.json")
"""Where a workspace has both."""
INIT = "__init__.py"
FORMAT = 1
"""Of the cache; a change of the rules below raises it."""

Parts = dict[str, str]
"""Digest by name: of a module ``components.params``, of a data file ``components/reports/page.css``."""


def parts(root: Path = ROOT, cache: Path | None = None) -> dict[str, Parts]:
    """The closure of every stage and choice, by ``stages/<stage>``, ``detectors/<name>``, …, as today's files have it."""
    package = _Package(root, cache)
    found = {f"stages/{stage}": package.closure(module) for stage, module in STAGES.items()}
    for kind, catalogue in CATALOGUES.items():
        for name in package.choices(catalogue):
            found[f"{kind}/{name}"] = package.closure(f"{catalogue}.{name}")
    package.remember()
    return found


def closure(module: str, root: Path = ROOT, cache: Path | None = None) -> Parts:
    """What one module leads to, as today's files have it; `cache` is read and left as it is."""
    return _Package(root, cache).closure(module)


def text(found: Mapping[str, str]) -> str:
    """One line a part, sorted: two texts show which parts differ."""
    return "".join(f"{name} {digest}\n" for name, digest in sorted(found.items()))


def read(content: str) -> Parts:
    """The parts that `text` wrote."""
    return dict(line.rsplit(" ", 1) for line in content.splitlines())


def differing(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Names of parts that are in one alone or have another digest."""
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))


def digest(of: Iterable[Mapping[str, str]]) -> str:
    """One digest of what several closures hold together: of a stage and its choices."""
    together: Parts = {}
    for found in of:
        together |= found
    return hashlib.sha256(text(together).encode()).hexdigest()


def raised_by(found: Mapping[str, Parts], detector: str, strategy: str) -> str:
    """The digest a generation of this detector and strategy has in its card, if that code raised it."""
    return digest(found.get(name, {}) for name in ("stages/evolve", f"detectors/{detector}", f"strategies/{strategy}"))


def commit(root: Path = ROOT) -> str | None:
    """The commit that is checked out where the package lies; None where it is no checkout."""
    if not (root / ".git").exists():
        return None
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True)
    return asked.stdout.strip() if asked.returncode == 0 else None


def write(folder: Path, found: Mapping[str, Parts]) -> None:
    """One file a stage and choice below `folder`; a choice that is gone loses its file."""
    for old in folder.glob("*/*"):
        if f"{old.parent.name}/{old.name}" not in found:
            old.unlink()
    for name, made_of in found.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text(made_of), encoding="utf-8")


def is_current(folder: Path, found: Mapping[str, Parts]) -> bool:
    """Whether the files below `folder` say `found`, and nothing else."""
    there = {f"{path.parent.name}/{path.name}": path for path in folder.glob("*/*")}
    return there.keys() == found.keys() and all(
        path.read_text(encoding="utf-8") == text(found[name]) for name, path in there.items()
    )


# -- closures ------------------------------------------------------------------------------------------------------------


class _Package:
    """The files below `root` as they are now, each source parsed once, or not at all where the cache knows the file."""

    def __init__(self, root: Path, cache: Path | None) -> None:
        self._root = root
        self._cache = cache
        self._known = _read_cache(cache)
        self._fresh: dict[str, Any] = {}
        self._stats = dict(_stats(root))
        self._neighbours: dict[str, tuple[Parts, tuple[str, ...]]] = {}

    def choices(self, catalogue: str) -> list[str]:
        """The modules directly in a package."""
        folder = catalogue.replace(".", "/") + "/"
        inside = (path.removeprefix(folder) for path in self._stats if path.startswith(folder))
        return sorted(
            name.removesuffix(".py") for name in inside if "/" not in name and name.endswith(".py") and name != INIT
        )

    def closure(self, start: str) -> Parts:
        """Digests of the module `start` and of everything it leads to."""
        found: Parts = {}
        waiting = [start]
        while waiting:
            name = waiting.pop()
            if name not in found and name not in WORDS:
                own, leads_to = self._look(name)
                found |= own
                waiting += leads_to
        return found

    def remember(self) -> None:
        """Keep what was computed; a cache that cannot be written is done without."""
        if self._cache is None or self._fresh == self._known:
            return
        try:
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            partial = self._cache.with_name(f"{self._cache.name}.{os.getpid()}")
            partial.write_text(json.dumps({"format": FORMAT, "files": self._fresh}))
            partial.replace(self._cache)
        except OSError:
            return

    def _look(self, name: str) -> tuple[Parts, tuple[str, ...]]:
        """Digests of a module and its data, and the modules it leads to: what it mentions, and the packages around it."""
        if name not in self._neighbours:
            path = self._source(name)
            if path is None:
                raise FileNotFoundError(f"expected the source of module '{name}' below '{self._root}', found none")
            digest, mentions, files = self._kept(path, lambda source: _said(source, name, path.endswith(INIT)))
            data = {file: self._kept(file, _bytes_digest)[0] for file in self._data(path, files)}
            above = [name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1)]
            leads_to = tuple(dict.fromkeys([*above, *(other for other in mentions if self._source(other))]))
            self._neighbours[name] = ({name: digest, **data}, leads_to)
        return self._neighbours[name]

    def _source(self, name: str) -> str | None:
        """The file of a module or package; None where the name is something else."""
        path = name.replace(".", "/")
        return next((file for file in (f"{path}.py", f"{path}/{INIT}") if file in self._stats), None)

    def _data(self, source: str, mentioned: Iterable[str]) -> list[str]:
        """Files that are no Python, beside `source` or in folders beside it, that its strings name."""
        places = {f"{source.rpartition('/')[0]}/{name}" for name in mentioned}
        stems = {place.rpartition(".")[0] for place in places if place in self._stats}
        folders = tuple(f"{place}/" for place in places if f"{place}/{INIT}" not in self._stats)
        data = (file for file in self._stats if not file.endswith(".py"))
        return [file for file in data if file.rpartition(".")[0] in stems or file.startswith(folders)]

    def _kept(self, file: str, compute: Callable[[bytes], list[Any]]) -> Any:
        """What was computed of this file, anew unless the cache knows it by its size and times."""
        if file not in self._fresh:
            known = self._known.get(file)
            is_known = known and known[0] == self._stats[file]
            self._fresh[file] = known if is_known else [self._stats[file], compute((self._root / file).read_bytes())]
        return self._fresh[file][1]


def _stats(root: Path) -> Iterator[tuple[str, list[int]]]:
    """Size and times of every file of the package, by its path below `root`; the time of the inode cannot be set back."""
    for folder, folders, files in os.walk(root / PACKAGE):
        folders[:] = [name for name in folders if name != "__pycache__"]
        below = Path(folder).relative_to(root).as_posix()
        for name in files:
            if not name.endswith(".pyc"):
                about = (Path(folder) / name).stat()
                yield f"{below}/{name}", [about.st_size, about.st_mtime_ns, about.st_ctime_ns]


def _bytes_digest(content: bytes) -> list[Any]:
    return [hashlib.sha256(content).hexdigest()]


def _read_cache(cache: Path | None) -> dict[str, Any]:
    try:
        found = json.loads(cache.read_bytes()) if cache else {}
        return dict(found["files"]) if found.get("format") == FORMAT else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


# -- one module ----------------------------------------------------------------------------------------------------------

FILE_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")
MODULE_NAME = re.compile(rf"{PACKAGE}(\.\w+)+")


def _said(source: bytes, name: str, is_package: bool) -> list[Any]:
    """[digest, mentions, files] of a source; one that cannot be parsed is known by its bytes, and leads nowhere."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return [*_bytes_digest(source), [], []]
    mentions, files = set(), set()
    for node in _reached(tree):
        if isinstance(node, ast.Import):
            mentions |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(node, name, is_package)
            mentions |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if MODULE_NAME.fullmatch(node.value):
                mentions.add(node.value)
            if len(node.value) <= 100 and FILE_NAME.fullmatch(node.value):
                files.add(node.value)
    inside = {found for found in mentions if found.partition(".")[0] == PACKAGE}
    return [syntax_digest(source), sorted(inside), sorted(files)]


def _reached(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below, but those that only a type checker reads."""
    for child in ast.iter_child_nodes(node):
        yield child
        if isinstance(child, ast.If) and _asks_for_type_checking(child.test):
            for other in child.orelse:
                yield other
                yield from _reached(other)
        else:
            yield from _reached(child)


def _asks_for_type_checking(test: ast.expr) -> bool:
    return getattr(test, "id", getattr(test, "attr", "")) == "TYPE_CHECKING"


def _absolute(node: ast.ImportFrom, name: str, is_package: bool) -> str:
    """The module that ``from … import`` names."""
    if not node.level:
        return node.module or ""
    above = name.split(".")[: len(name.split(".")) - node.level + is_package]
    return ".".join([*above, *([node.module] if node.module else [])])


# -- syntax --------------------------------------------------------------------------------------------------------------

UNSEEN = {"kind", "type_comment", "type_ignores"}
"""Fields that say how something was written, not what."""


def syntax_digest(source: bytes) -> str:
    """sha256 of what a source means, the same on every Python that can parse it; raises SyntaxError.

    Comments, docstrings, formatting and positions do not count, nor do fields that are empty: a newer Python adds such.
    """
    written: list[bytes] = []
    _write(ast.parse(source), written)
    return hashlib.sha256(b"".join(written)).hexdigest()


def _write(value: Any, out: list[bytes]) -> None:
    """Append `value` in a form that is read back in one way only: a kind, then lengths where a length may vary."""
    if isinstance(value, ast.AST):
        fields = list(_fields(value))
        out.append(f"({type(value).__name__} {len(fields)} ".encode())
        for name, content in fields:
            out.append(name.encode() + b"=")
            _write(content, out)
        out.append(b")")
    elif isinstance(value, list):
        out.append(b"[%d " % len(value))
        for item in value:
            _write(item, out)
        out.append(b"]")
    else:
        kind, raw = _plain(value)
        out.append(b"%s%d:%s;" % (kind, len(raw), raw))


def _fields(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """The fields of a node that say something, in the order of their names."""
    for name in sorted(node._fields):
        value: Any = getattr(node, name, None)
        if isinstance(value, list):
            value = _without_docstrings(value) if name == "body" else value
            value = _merged(value) if isinstance(node, ast.JoinedStr) else value
        says_nothing = value is None or value == [] or (name == "format_spec" and not _merged(value.values))
        if name not in UNSEEN and not says_nothing:
            yield name, value


def _without_docstrings(body: list[Any]) -> list[Any]:
    """A body without statements that are a mere string: docstrings, and what is said below a field."""
    return [statement for statement in body if not _is_mere_string(statement)]


def _is_mere_string(statement: Any) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _merged(values: list[Any]) -> list[Any]:
    """The values of an f-string, neighbouring texts as one and empty ones left out: Pythons cut them differently."""
    merged: list[Any] = []
    for value in values:
        text = value.value if isinstance(value, ast.Constant) else None
        if text is None:
            merged.append(value)
        elif merged and isinstance(merged[-1], ast.Constant):
            merged[-1] = ast.Constant(f"{merged[-1].value!s}{text!s}")
        elif text:
            merged.append(value)
    return merged


def _plain(value: Any) -> tuple[bytes, bytes]:
    """The kind of a constant or an identifier, and its bytes."""
    if value is None or value is ... or isinstance(value, bool):
        return b"c", repr(value).encode()
    if isinstance(value, str):
        return b"s", value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes):
        return b"b", value
    if isinstance(value, int):
        return b"i", b"%x" % value
    if isinstance(value, float):
        return b"f", value.hex().encode()
    if isinstance(value, complex):
        return b"j", f"{value.real.hex()} {value.imag.hex()}".encode()
    raise TypeError(f"no syntax tree should hold a {type(value).__name__}")


def main(folder: Path) -> None:
    """Write the digests of today's code.

    DVC looks at every file of the package, compiled ones too: compile all, so that no import adds one later, and by
    content, so that a source that is restored is what it was. In a checkout `.dvcignore` leaves them out.
    """
    if Path.cwd() != ROOT:
        by_content = py_compile.PycInvalidationMode.CHECKED_HASH
        compileall.compile_dir(str(ROOT / PACKAGE), quiet=2, force=True, invalidation_mode=by_content)
    write(folder, parts(cache=CACHE))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
