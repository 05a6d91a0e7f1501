"""What a result was made of: closures without holes, and digests that see code and nothing else."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components import code
from components.code import CATALOGUES, ROOT, STAGES, WORDS, Parts, parts, syntax_digest

SAMPLE = Path(__file__).with_name("sample.txt")
SAMPLE_DIGEST = "e08588de83b1144abe0170045fe3c4dc8e56de06dd47353421a83f335af405c7"
TODAY = parts()


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, beside a cache that knows it."""
    root = tmp_path_factory.mktemp("copied")
    copy(root, shutil.copy2)
    parts(root, root / "code.json")
    return root


def copy(root: Path, how: Callable[[str, str], object]) -> None:
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "components", root / "components", ignore=without, copy_function=how, dirs_exist_ok=True)


def unless_alike(source: str, target: str) -> None:
    if not (Path(target).is_file() and filecmp.cmp(source, target, shallow=False)):
        shutil.copy2(source, target)


@pytest.fixture
def package(copied: Path) -> Iterator[Path]:
    """The copy, to change: it is what it was when the test has ended."""
    yield copied
    for path in (copied / "components").rglob("*"):
        if path.is_file() and not (ROOT / path.relative_to(copied)).is_file():
            path.unlink()
    copy(copied, unless_alike)
    parts(copied, copied / "code.json")


@pytest.fixture
def cache(package: Path) -> Path:
    """A cache that knows the copy."""
    return package / "code.json"


def changed(before: dict[str, Parts], after: dict[str, Parts]) -> set[str]:
    """Stages and choices that another code makes otherwise."""
    return {name for name in {*before, *after} if before.get(name) != after.get(name)}


def source(root: Path, module: str) -> Path:
    path = root.joinpath(*module.split("."))
    return path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"


def edit(path: Path, more: str) -> None:
    path.write_text(path.read_text() + more)


# -- closures ------------------------------------------------------------------------------------------------------------


def test_every_stage_and_every_choice_has_a_closure() -> None:
    stages = {f"stages/{stage}" for stage in STAGES}
    assert stages <= TODAY.keys()
    assert {name.partition("/")[0] for name in TODAY} == {"stages", *CATALOGUES}
    for name, made_of in TODAY.items():
        assert "components" in made_of, name
        assert not WORDS & made_of.keys(), name


@pytest.mark.slow
def test_a_change_of_any_part_changes_those_that_have_it_and_a_comment_nobody(package: Path, cache: Path) -> None:
    for part in {part for made_of in TODAY.values() for part in made_of}:
        path = package / part if "/" in part else source(package, part)
        before = path.read_bytes()
        if "/" not in part:
            path.write_bytes(before + b"\n# a comment\n")
            assert parts(package, cache) == TODAY, part
        path.write_bytes(before + b"\nchanged = 1\n")
        after = parts(package, cache)
        users = {name for name, made_of in TODAY.items() if part in made_of}
        assert changed(TODAY, after) == users, part
        assert all(code.digest([after[name]]) != code.digest([TODAY[name]]) for name in users)
        path.write_bytes(before)


@pytest.mark.parametrize("kind", CATALOGUES)
def test_editing_one_choice_leaves_the_others_and_every_stage_alone(kind: str, package: Path, cache: Path) -> None:
    for name in [name for name in TODAY if name.startswith(f"{kind}/")]:
        path = source(package, f"{CATALOGUES[kind]}.{name.partition('/')[2]}")
        kept = path.read_bytes()
        edit(path, "\nchanged = 1\n")
        assert changed(TODAY, parts(package, cache)) == {name}
        path.write_bytes(kept)


def test_a_loss_belongs_to_the_choices_that_use_it_and_to_no_stage() -> None:
    users = {name for name, made_of in TODAY.items() if "components.losses.distillation" in made_of}
    assert users
    assert not any(name.startswith(("stages/", "detectors/")) for name in users)


def test_words_change_nothing(package: Path, cache: Path) -> None:
    edit(package / "components/errors.py", "\nchanged = 1\n")
    edit(package / "components/settings.py", "\nchanged = 1\n")
    assert parts(package, cache) == TODAY


@pytest.mark.parametrize(
    ("statement", "reached"),
    [
        ("import components.losses.focal", True),
        ("import components.losses.focal as f", True),
        ("from components.losses import focal", True),
        ("from components.losses.focal import anything", True),
        ("from ..losses import focal", True),
        ("def later():\n    from components.losses import focal", True),
        ("run = ['-m', 'components.losses.focal']", True),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from components.losses import focal", False),
        ("import typing\nif typing.TYPE_CHECKING:\n    from components.losses import focal", False),
        ("# from components.losses import focal", False),
        ("text = 'see components.losses.focal for more'", False),
    ],
)
def test_imports_are_followed_wherever_they_stand(statement: str, reached: bool, package: Path, cache: Path) -> None:
    (package / "components/detectors/fresh.py").write_text(statement + "\n")
    found = parts(package, cache)["detectors/fresh"]
    assert ("components.losses.focal" in found) is reached
    assert ("components.losses" in found) is reached  # what stands in a package's own file comes along


def test_a_new_choice_is_found_and_one_that_is_gone_is_not(package: Path, cache: Path) -> None:
    shutil.copyfile(package / "components/strategies/er.py", package / "components/strategies/er2.py")
    (package / "components/strategies/ewc.py").unlink()
    assert changed(TODAY, parts(package, cache)) == {"strategies/er2", "strategies/ewc"}


def test_data_beside_a_module_belongs_to_it_if_a_string_names_it(package: Path, cache: Path) -> None:
    folder = package / "components/detectors"
    (folder / "fresh.py").write_text("WEIGHTS = 'fresh.bin'\nPAGES = 'sheets'\n")
    (folder / "fresh.bin").write_bytes(b"1")
    (folder / "fresh.json").write_text("{}")
    (folder / "other.bin").write_bytes(b"1")
    (folder / "sheets/deep").mkdir(parents=True)
    (folder / "sheets/deep/a.html").write_text("")
    data = {name for name in parts(package, cache)["detectors/fresh"] if "/" in name}
    below = "components/detectors/"
    assert data == {below + "fresh.bin", below + "fresh.json", below + "sheets/deep/a.html"}


def test_every_data_file_of_the_package_belongs_to_somebody() -> None:
    lies_there = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "components").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc", ".typed") and "__pycache__" not in path.parts
        if "protocols" not in path.parts  # what they say of a generation stands in its recipe
        if "serving" not in path.parts  # no stage shows a page of it
    }
    assert lies_there <= {part for made_of in TODAY.values() for part in made_of}


def test_a_file_with_a_syntax_error_is_known_by_its_bytes(package: Path, cache: Path) -> None:
    edit(package / "components/strategies/er.py", "\ndef (:\n")
    assert changed(TODAY, parts(package, cache)) == {"strategies/er"}


# -- the syntax ----------------------------------------------------------------------------------------------------------

DOCUMENTED = '''
"""Module."""
import os  # comment
class A:
    """Class."""
    x: int = 1
    """Attribute."""
    def f(self, a, *, b=2):
        """Function."""
        return f"{a!r}" "tail" + 'single'
'''
BARE = """
import os
class A:
    x: int = 1
    def f(self, a, *,
          b=2):
        return (f"{a!r}tail"
            + "single")
"""


def test_comments_docstrings_and_formatting_change_nothing() -> None:
    assert syntax_digest(DOCUMENTED.encode()) == syntax_digest(BARE.encode())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = 0.0", "x = -0.0"),
        ("x = '1'", "x = b'1'"),
        ("x = 'a', 'b'", "x = 'ab',"),
        ("x = None", "x = ..."),
        ("x = 1e-9", "x = 1e-3"),
        ("f(a=1)", "f(b=1)"),
        ("f(*a)", "f(**a)"),
        ("x = {**a}", "x = {a: a}"),
        ("def f(a, /): pass", "def f(a): pass"),
        ("def f(a, *, b, c=1): pass", "def f(a, *, b=1, c): pass"),
        ("x = f'{a}b'", "x = f'a{b}'"),
        ("x = f'{a:>3}'", "x = f'{a:>4}'"),
        ("x = f'{a!r}'", "x = f'{a!s}'"),
        ("a[1:]", "a[:1]"),
        ("x = 1 if a else 2", "x = 2 if a else 1"),
        ("for x in y: pass\nelse: z()", "for x in y: pass\nz()"),
    ],
)
def test_what_means_something_else_has_another_digest(one: str, other: str) -> None:
    assert syntax_digest(one.encode()) != syntax_digest(other.encode())


def test_strings_that_utf8_cannot_write_have_a_digest() -> None:
    assert syntax_digest(rb"x = '\ud800'") != syntax_digest(rb"x = '\ud801'")


def test_the_digest_of_all_kinds_of_syntax_is_the_one_of_every_python() -> None:
    assert syntax_digest(SAMPLE.read_bytes()) == SAMPLE_DIGEST


def pythons() -> list[str]:
    """Other interpreters of supported versions on this machine."""
    found = []
    for version in ("3.11", "3.12", "3.13", "3.14"):
        if version != f"{sys.version_info.major}.{sys.version_info.minor}":
            kept = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}*/bin/python"))
            found += [str(path) for path in kept[:1]] or [p for p in [shutil.which(f"python{version}")] if p]
    return found


@pytest.mark.parametrize("python", pythons() or [pytest.param("", marks=pytest.mark.skip("no other Python is here"))])
def test_other_pythons_find_the_same_digests(python: str, tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        from pathlib import Path
        from components import code
        code.write(Path("data/code"), code.parts())
        print(code.syntax_digest(Path({str(SAMPLE)!r}).read_bytes()))
    """)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run([python, "-c", script], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == SAMPLE_DIGEST
    assert code.is_current(tmp_path / "data/code", TODAY)


# -- the files -----------------------------------------------------------------------------------------------------------


def test_what_was_written_is_current_until_something_differs(tmp_path: Path) -> None:
    code.write(tmp_path, TODAY)
    assert code.is_current(tmp_path, TODAY)
    assert code.read((tmp_path / "stages/evolve").read_text()) == TODAY["stages/evolve"]
    (tmp_path / "strategies/gone").write_text("")
    assert not code.is_current(tmp_path, TODAY)
    code.write(tmp_path, TODAY)
    assert code.is_current(tmp_path, TODAY)
    edit(tmp_path / "stages/crop", "components.more 0\n")
    assert not code.is_current(tmp_path, TODAY)


def test_differing_names_the_parts_that_are_not_the_same() -> None:
    assert code.differing({"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "2", "d": "1"}) == ["b", "c", "d"]


def test_a_combination_is_told_by_all_its_parts() -> None:
    stage, one, other = {"a": "1", "b": "1"}, {"b": "1", "c": "1"}, {"b": "1", "c": "2"}
    assert code.digest([stage, one]) != code.digest([stage, other])
    assert code.digest([stage, one]) == code.digest([one, stage])


def test_the_cache_answers_as_the_files_do(package: Path, cache: Path) -> None:
    assert parts(package, cache) == TODAY
    path = package / "components/strategies/er.py"
    was = path.stat()
    path.write_text(path.read_text().replace("Strategy", "Strategx"))  # as long as before
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))  # and as old
    assert changed(TODAY, parts(package, cache)) == {"strategies/er"}


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 1, "files": 3}', '{"format": 0, "files": {}}'])
def test_a_corrupt_cache_is_computed_again(content: str, package: Path) -> None:
    cache = package / "code.json"
    cache.write_text(content)
    assert parts(package, cache) == TODAY
    assert cache.read_text() != content


def test_a_cache_that_cannot_be_written_is_done_without(package: Path) -> None:
    (package / "file").touch()
    assert parts(package, package / "file" / "code.json") == TODAY


def test_asking_again_costs_milliseconds(package: Path, cache: Path) -> None:
    costs = []
    for _ in range(5):
        started = time.perf_counter()
        parts(package, cache)
        costs.append(time.perf_counter() - started)
    assert min(costs) < 0.1
