"""How many deliberate faults do the tests notice? Draws some, lets mutmut try each, prints the share and those that got away.

    python tests/mutants.py --count 150 --seed 9        (`make mutants`)

A mutant is one small change of one function: `<` for `<=`, None for an argument, another number. As many are drawn from
each package; the draw depends on the seed and the mutants' names, so that an edit of one function leaves the others' as
they were. Left out are changes of nothing but the wording of a sentence, and those of equivalent_mutants.toml, which
change nothing that a caller could see; each has its reason there. What remains counts, however hard it is to notice.

mutmut works on a copy in mutants/, which is left there: `mutmut show NAME` and `mutmut browse` tell more.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import random
import shutil
import subprocess
import sys
import textwrap
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from mutmut.mutation.file_mutation import mutate_file_contents

PACKAGES = ("losses", "strategies", "memory", "evaluation", "gates")
EQUIVALENT = Path("tests/equivalent_mutants.toml")
COPY = Path("mutants")
NOTICED = ("killed", "timeout", "segfault")
ENOUGH = 0.9


@dataclass(frozen=True)
class Mutant:
    """One change of one function: `name` as mutmut calls it, `was` and `now` the lines that differ."""

    name: str
    was: str
    now: str

    @property
    def function(self) -> str:
        """components.losses.focal.x_focal__mutmut_3 -> components.losses.focal.focal"""
        module, _, mangled = self.name.partition("__mutmut_")[0].rpartition(".")
        return f"{module}.{mangled.removeprefix('x').removeprefix('_').replace('ǁ', '.').removeprefix('.')}"

    def __str__(self) -> str:
        return f"{self.name}\n{textwrap.indent(self.was, '  - ')}\n{textwrap.indent(self.now, '  + ')}"


def offered(path: Path) -> Iterator[Mutant]:
    """Every mutant of a file but for those of wording."""
    file = mutate_file_contents(str(path), path.read_text())
    lines = file.code.splitlines()

    def source(function: str) -> str:
        span = file.line_span_by_function_name[function]
        return textwrap.dedent("\n".join(lines[span.start - 1 : span.end])).replace(function, "_")

    module = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    for name in file.mutant_names:
        was, now = source(f"{name.partition('__mutmut_')[0]}__mutmut_orig"), source(name)
        if _without_sentences(was) != _without_sentences(now):
            yield Mutant(f"{module}.{name}", *_changed(was, now))


def _without_sentences(source: str) -> str:
    class Blank(ast.NodeTransformer):
        def visit_Constant(self, node: ast.Constant) -> ast.Constant:
            return ast.Constant("") if isinstance(node.value, str) and " " in node.value else node

    return ast.dump(Blank().visit(ast.parse(source)))


def _changed(was: str, now: str) -> tuple[str, str]:
    """The lines that differ, without their common indent."""
    differ = [line for line in difflib.ndiff(was.splitlines(), now.splitlines()) if line[0] in "-+"]
    sides = ("\n".join(line[2:] for line in differ if line[0] == sign) for sign in "-+")
    before, after = (textwrap.dedent(side).strip() for side in sides)
    return before, after


def drawn(count: int, seed: int) -> list[Mutant]:
    """As many of each package, in a random order of their own."""
    chosen: list[Mutant] = []
    for number, package in enumerate(PACKAGES):
        share = count // len(PACKAGES) + (number < count % len(PACKAGES))
        mutants = [mutant for path in sorted(Path("components", package).rglob("*.py")) for mutant in offered(path)]
        mutants.sort(key=lambda mutant: random.Random(f"{seed} {mutant.name}").random())
        chosen += islice(mutants, share)
    return chosen


def equivalent() -> set[tuple[str, str, str]]:
    """(function, was, now) of those that a reason was given for."""
    listed = tomllib.loads(EQUIVALENT.read_text())["equivalent"]
    return {(each["function"], each["was"].strip(), each["now"].strip()) for each in listed if each["reason"]}


def tried(mutants: list[Mutant]) -> dict[str, str]:
    """What mutmut says of each: killed, survived, no tests, timeout, …"""
    shutil.rmtree(COPY, ignore_errors=True)
    if subprocess.run(["mutmut", "run", *(mutant.name for mutant in mutants)]).returncode:
        sys.exit("expected mutmut to try every mutant, found that it stopped, see above. Do the tests pass without it?")
    said = subprocess.run(["mutmut", "results", "--all", "true"], check=True, capture_output=True, text=True).stdout
    found = dict(line.strip().rsplit(": ", 1) for line in said.splitlines() if ": " in line)
    return {mutant.name: found[mutant.name] for mutant in mutants}


def report(mutants: list[Mutant], found: dict[str, str]) -> float:
    """Print who got away and the score of each package; returns the whole score."""
    away = [mutant for mutant in mutants if found[mutant.name] not in NOTICED]
    for mutant in away:
        print(f"\n{found[mutant.name]}: {mutant}")
    total = Counter(mutant.name.split(".")[1] for mutant in mutants)
    missed = Counter(mutant.name.split(".")[1] for mutant in away)
    print()
    for package in PACKAGES:
        print(f"{package:12}{total[package] - missed[package]:4} of {total[package]:3} noticed")
    score = 1 - len(away) / len(mutants)
    print(f"{'score':12}{len(mutants) - len(away):4} of {len(mutants):3}, {score:.1%}")
    return score


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--count", type=int, default=150)
    options.add_argument("--seed", type=int, default=9)
    options.add_argument("--list", action="store_true", help="print the draw and try none of it")
    chosen = options.parse_args()
    began, known = time.monotonic(), equivalent()
    draw = drawn(chosen.count, chosen.seed)
    mutants = [mutant for mutant in draw if (mutant.function, mutant.was, mutant.now) not in known]
    if chosen.list:
        print(*mutants, sep="\n\n")
        return 0
    score = report(mutants, tried(mutants))
    print(f"{len(draw) - len(mutants)} drawn mutants are equivalent; {(time.monotonic() - began) / 60:.0f} minutes")
    return score < ENOUGH


if __name__ == "__main__":
    sys.exit(main())
