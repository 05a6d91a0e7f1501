"""A public layout as data: rules of names, an index where the archive brings one, a split, and what its publisher counts.

A layout file (`components/archives/layouts/<name>.py`) says what is peculiar to one archive; what holds for all is here:

  rules     the first rule whose pattern is a file's whole path says what the file is; a video or still that fits none is
            extra. A tree that lies one folder deeper than it should is read from there.
  index     facts by path, from the lists of the archive: they fill the templates beside the groups of the pattern. A file
            that must be listed and is not is extra, a listed file that is not there is missing, and a list that
            contradicts a folder's name is a mislabelled file.
  split     what the archive says. Where nothing is a test clip, people (sources, where nobody is known) are cut by a hash of
            their names, the same in every partial copy.
  guard     a clip whose source or person is in a more guarded split too (test, then val) is set aside, whatever the
            official list says: no source and no person is learned and examined.

A copy may be partial: `missing` is reported and no fault. Names of sources and people hold in every archive: `ffpp:033` is
video 033 of FaceForensics++ wherever a forgery was made from it (`layouts.spanning`).
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Final

from components.archives.held_out import position
from components.archives.listing import IMAGE_SUFFIXES, MEDIA_SUFFIXES, VIDEO_SUFFIXES, Clip, Faults, files_under
from components.errors import BadArchive
from components.texts import one_text, texts
from components.vocabulary import FORGED, GENUINE, LABEL_NAMES, REAL, SPLITS, TEST, TRAIN, VAL

VIDEO: Final = rf"\.(?:{'|'.join(sorted(suffix[1:] for suffix in VIDEO_SUFFIXES))})"
STILL: Final = rf"\.(?:{'|'.join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))})"
TEST_SHARE: Final = 0.2
"""Of people or sources, as the hash falls, where an archive has no test split."""
FEW_FOLDERS: Final = 8
"""At the root, of which one may hold the tree."""
ASIDE: Final = "aside"
"""A fact of the index: why this file is left out."""
BOTH_SIDES: Final = "one of its people is examined and another learned"
FRAGMENT: Final = "fragment"
"""A fact of the index: the part of the file that is the clip (`components.archives.fragments`)."""
LABEL_WORDS: Final = {
    REAL: ("real", "genuine", "original", "pristine", "0_real"),
    FORGED: ("fake", "forged", "manipulated", "1_fake"),
}
SPLIT_WORDS: Final = {
    TRAIN: ("train", "training"),
    VAL: ("val", "valid", "validation", "dev"),
    TEST: ("test", "testing"),
}

Facts = dict[str, str]
Template = str | Callable[[Facts], str]
"""A text with {names} of facts, or what makes one of them."""

_LABELS: Final = {word: label for label, words in LABEL_WORDS.items() for word in words}
_SPLITS: Final = {word: split for split, words in SPLIT_WORDS.items() for word in words}
_PACKED: Final = re.compile(r"\.(?:tar|tar\.gz|tgz|zip|z\d\d|7z|rar)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rule:
    """What a file is whose whole path, case apart, is `pattern`."""

    pattern: str
    label: int | None = None
    """None: the fact `label`, in words."""
    method: Template = "{method}"
    source: Template = ""
    people: tuple[Template, ...] = ()
    """Who must stay in one split: whoever is seen first, then whose face or expression was lent."""
    split: Template = TRAIN
    part: Template = ""
    """A variant of the same clips (a compression); the official counts hold for each."""
    mask: Template = ""
    """The file of its mask, if it is there."""
    listed: bool = False
    """The index must know it."""
    aside: str = ""
    """Why such a file is no clip of this archive; it is left out and counted."""
    silent: bool = False
    """No clip, and nothing to say about it: a mask, a download."""


def genuine(pattern: str, source: Template = "", **more: Any) -> Rule:
    return Rule(pattern, REAL, GENUINE, source, **more)


def forged(pattern: str, source: Template = "", method: Template = "{method}", **more: Any) -> Rule:
    return Rule(pattern, FORGED, method, source, **more)


def either(pattern: str, source: Template = "", method: Template = "{method}", **more: Any) -> Rule:
    """A group or a fact `label` says which."""
    return Rule(pattern, None, method, source, **more)


def aside(pattern: str, why: str) -> Rule:
    return Rule(pattern, aside=why)


def passed(pattern: str) -> Rule:
    return Rule(pattern, silent=True)


@dataclass(slots=True)
class Found:
    """One clip, as the rules and the index have it."""

    path: str
    facts: Facts
    label: int
    method: str
    source: str
    people: tuple[str, ...]
    split: str
    part: str
    mask: str
    aside: str = ""
    """Why it is set aside."""

    @property
    def names(self) -> tuple[str, ...]:
        return (self.source, *self.people)


@dataclass(frozen=True)
class Place:
    """Where an archive lies; `files` are relative to `base`, the folder its tree begins in."""

    base: Path
    files: frozenset[str]

    def named(self, pattern: str) -> list[str]:
        """Files whose whole path, case apart, is `pattern`; by path."""
        return sorted(name for name in self.files if _compiled(pattern).fullmatch(name))

    def ending(self, path: str, near: str = "", among: str = ".*") -> str:
        """The file that a path of a list means: one of them is the end of the other; `path` where it is none or several.

        Of several files the one below the same first folder as the list, `near`, is meant. `among` is a pattern.
        """
        parts = one_text(path).split("/")
        fits = [
            file for file in self._by_end.get("/".join(parts[-2:]), ()) if _is_end(one_text(file).split("/"), parts)
        ]
        fits = [file for file in fits if _compiled(among).fullmatch(file)]
        if len(fits) > 1:
            fits = [file for file in fits if file.partition("/")[0] == near.partition("/")[0]]
        return fits[0] if len(fits) == 1 else path

    @cached_property
    def _by_end(self) -> dict[str, list[str]]:
        ends: dict[str, list[str]] = {}
        for file in self.files:
            ends.setdefault("/".join(one_text(file).split("/")[-2:]), []).append(file)
        return ends

    def spelled(self, path: str) -> str:
        """The file with this name, as the disk spells it; "" where there is none."""
        return self._by_text.get(one_text(path), "")

    @cached_property
    def _by_text(self) -> dict[str, str]:
        return {one_text(file): file for file in self.files}

    def lines(self, name: str) -> list[str]:
        """The lines of a text that say something; raises BadArchive where it is none."""
        try:
            lines = map(one_text, (self.base / name).read_text("utf-8-sig").splitlines())
            return [line for line in lines if line]
        except (OSError, UnicodeDecodeError) as fault:
            raise _unread(self.base / name, "a list in UTF-8", fault) from fault

    def table(self, name: str, *columns: str) -> list[Facts]:
        """The rows of a CSV file with at least these columns; blank ones apart; raises BadArchive."""
        first, *rows = csv.reader(self.lines(name)) or [[]]
        header = [one_text(cell) for cell in first]
        if missing := [column for column in columns if column not in header]:
            raise BadArchive(
                f"expected the columns {', '.join(columns)} in '{self.base / name}', found no {', '.join(missing)}. "
                "Copy the official list again."
            )
        said = ([one_text(cell) for cell in row] for row in rows)
        return [dict(zip(header, row, strict=False)) for row in said if any(row)]

    def json(self, name: str) -> Any:
        """Raises BadArchive where the file is no JSON."""
        try:
            return texts(json.loads((self.base / name).read_text("utf-8-sig")))
        except (OSError, ValueError) as fault:
            raise _unread(self.base / name, "JSON", fault) from fault


@dataclass
class Survey:
    """What an archive holds, and what of it is as its publisher says."""

    faults: Faults
    found: list[Found] = field(default_factory=list)
    """Every clip, before any was set aside."""
    clips: list[Clip] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """Named by a list of the archive, and not there."""
    whole: bool = False
    """Whether a missing file is a fault."""
    extra: dict[str, list[str]] = field(default_factory=dict)
    """Kind -> files that have no place in the layout."""
    mislabelled: dict[str, list[str]] = field(default_factory=dict)
    """Kind -> files whose label a list and their place disagree about."""
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """Why -> files that are no clips here."""
    notes: list[str] = field(default_factory=list)

    def leave_out(self, why: str, path: str) -> None:
        self.left_out.setdefault(why, []).append(path)

    def add_extra(self, kind: str, path: str) -> None:
        self.extra.setdefault(kind, []).append(path)

    def contradict(self, found: Found, listed: int) -> None:
        """A list gives a clip another label than its place does."""
        here, there = LABEL_NAMES[found.label], LABEL_NAMES[listed]
        kind = f"the list says {there}, its place {here}"
        self.mislabelled.setdefault(kind, []).append(found.path)

    def settle(self) -> Survey:
        """Itself; raises BadArchive where files are extra or mislabelled or a list contradicts itself."""
        missing = {"listed but missing": self.missing} if self.whole else {}
        for kind, paths in (*self.mislabelled.items(), *missing.items(), *self.extra.items()):
            self.faults.extend(kind, (f"'{path}'" for path in paths))
        self.faults.settle()
        return self

    def words(self) -> list[str]:
        """What a person who lands it should know."""
        return [*self.notes, *(f"{len(paths)} files left out: {why}." for why, paths in self.left_out.items())]


Index = Callable[[Place, Survey], Mapping[str, Facts | list[Facts]]]
"""Facts by path; several where a file holds several clips, each with a `fragment` of its own."""
Assign = Callable[[list[Found], Place, Survey], None]


@dataclass(frozen=True)
class Layout:
    """A public archive; its tree stands in the docstring of its file."""

    title: str
    faces: str
    """The detector it needs unless told otherwise: one of params.Archive.faces."""
    rules: tuple[Rule, ...]
    lists: str = "none: names alone say it"
    """Where the list of its files, labels or splits comes from."""
    index: Index | None = None
    assign: Assign | None = None
    """Puts clips into splits, or joins their sources, by the official lists."""
    official: Callable[[list[Found]], Iterable[str]] | None = None
    """Paths that should be there beside what was found."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Official number of clips: of "genuine", "forged" or a method, perhaps of one split: "genuine test"."""
    unverified: tuple[str, ...] = ()
    """What here was inferred, not read from the publisher."""
    notes: tuple[str, ...] = ()
    carves: bool = True
    """Whether we cut a test split off its training clips where none is here."""
    namespace: str = ""
    """Of names of sources and people that say none themselves."""
    tells: tuple[str, ...] = ()
    """Patterns of which each must be a file's path before an archive is taken for one of this layout."""


def survey(layout: Layout, name: str, root: Path) -> Survey:
    """Read an archive by the rules; raises BadArchive where it is none of this layout at all, or a list cannot be read."""
    seen = Survey(Faults(root, name))
    files = files_under(root, seen.faults)
    seen.faults.settle()
    prefix = _prefix(files, layout.rules)
    place = Place(root / prefix, frozenset(path[len(prefix) :] for path in files if path.startswith(prefix)))
    index = {one_text(path): told for path, told in (layout.index(place, seen) if layout.index else {}).items()}
    listed = set(index)
    for path in sorted(files):
        if PurePosixPath(path).suffix.lower() in MEDIA_SUFFIXES:
            _look(path, path[len(prefix) :] if path.startswith(prefix) else "", layout, index, place, prefix, seen)
            listed.discard(one_text(path[len(prefix) :]))
    seen.missing += sorted(listed)
    if layout.assign:
        layout.assign(seen.found, place, seen)
    if not seen.found and not seen.extra:
        raise _empty(layout, name, root, files)
    if layout.official:
        there = {found.path[len(prefix) :] for found in seen.found}
        seen.missing += sorted(set(layout.official(seen.found)) - there - set(seen.missing))
    seen.notes += [*layout.notes, *(f"Not verified: {words}" for words in layout.unverified)]
    _cut(layout, seen)
    return seen


def place_of(layout: Layout, files: Iterable[str]) -> int:
    """How many of these files are clips of the layout; 0 where one of its `tells` is not among them."""
    names = set(files)
    prefix = _prefix(names, layout.rules)
    inner = [name[len(prefix) :] for name in names if name.startswith(prefix)]
    if not all(any(_compiled(tell).fullmatch(name) for name in inner) for tell in layout.tells):
        return 0
    matched = (_rule(layout.rules, name) for name in inner)
    return sum(rule is not None and not rule[0].silent and not rule[0].aside for rule in matched)


def split_of(word: str) -> str:
    """train, val or test, whatever the archive calls it; raises KeyError."""
    return _SPLITS[word.casefold()]


def label_of(word: str) -> int:
    """REAL or FORGED of a word; never of a number; raises KeyError."""
    return _LABELS[word.casefold()]


def _look(
    path: str,
    inner: str,
    layout: Layout,
    index: Mapping[str, Facts | list[Facts]],
    place: Place,
    prefix: str,
    seen: Survey,
) -> None:
    """Put one file where it belongs."""
    matched = _rule(layout.rules, inner)
    if matched is None:
        kind = "video" if PurePosixPath(path).suffix.lower() in VIDEO_SUFFIXES else "still"
        seen.add_extra(f"unexpected {kind}", path)
        return
    rule, groups = matched
    if rule.silent:
        return
    told = index.get(one_text(inner))
    rows = told if isinstance(told, list) else [told or {}]
    if rule.aside or ASIDE in rows[0]:
        seen.leave_out(rule.aside or rows[0][ASIDE], path)
    elif rule.listed and told is None:
        seen.add_extra("present but not listed", path)
    else:
        for row in rows:
            _take(path, rule, groups, row, place, prefix, seen)


def _take(path: str, rule: Rule, groups: Facts, told: Facts, place: Place, prefix: str, seen: Survey) -> None:
    """Add one clip, or say why it cannot be told what it is."""
    try:
        found = _found(path + told.get(FRAGMENT, ""), rule, groups | told, place, prefix)
        listed = label_of(told["label"]) if "label" in told else found.label
    except KeyError as fault:
        seen.faults.add(f"no telling its label, method, source or split: '{fault.args[0]}' is not known", f"'{path}'")
        return
    seen.found.append(found)
    if listed != found.label:
        seen.contradict(found, listed)


def _found(path: str, rule: Rule, facts: Facts, place: Place, prefix: str) -> Found:
    label = rule.label if rule.label is not None else label_of(facts["label"])
    mask = place.spelled(_filled(rule.mask, facts)) if rule.mask else ""
    split = _filled(rule.split, facts)
    return Found(
        path=path,
        facts=facts,
        label=label,
        method=GENUINE if label == REAL else _filled(rule.method, facts),
        source=_filled(rule.source, facts),
        people=tuple(who for who in (_filled(person, facts) for person in rule.people) if who),
        split=split_of(split) if split else "",
        part=_filled(rule.part, facts),
        mask=prefix + mask if label == FORGED and mask else "",
    )


def _cut(layout: Layout, seen: Survey) -> None:
    """Give every clip its split and set aside what would be learned and examined."""
    found = seen.found
    if layout.carves and found and all(one.split != TEST for one in found):
        found = _carved(found, seen)
    guarded: dict[str, int] = {}
    for one in found:
        for name in () if one.aside else one.names:
            guarded[name] = max(guarded.get(name, 0), SPLITS.index(one.split))
    for one in found:
        behind = SPLITS[max(guarded.get(name, 0) for name in one.names)]
        if not one.aside and one.split != behind:
            one.aside = f"their source or person is also in split {behind}"
        if one.aside:
            seen.leave_out(one.aside, one.path)
        else:
            seen.clips.append(_clip(one))


def _carved(found: list[Found], seen: Survey) -> list[Found]:
    """The clips with test people cut off by a hash of their names; what shows people of both sides is set aside."""
    cut = []
    what = "person" if any(one.people for one in found) else "source"
    for one in found:
        sides = {position(name) < TEST_SHARE for name in one.people or (one.source,)}
        torn = BOTH_SIDES if len(sides) > 1 else ""
        known = one.split != TRAIN or one.aside
        cut.append(one if known else replace(one, split=TEST if sides == {True} else TRAIN, aside=torn))
    seen.notes.append(f"No test split is here: we cut one by {what}, about {TEST_SHARE:.0%}, by a hash of the names.")
    return cut


def _clip(found: Found) -> Clip:
    return Clip(
        path=found.path,
        label=found.label,
        method=found.method,
        identity=found.people[0] if found.people else "",
        source=found.source,
        split=found.split,
        mask=found.mask,
    )


def _rule(rules: Iterable[Rule], path: str) -> tuple[Rule, Facts] | None:
    for rule in rules:
        if match := _compiled(rule.pattern).fullmatch(path):
            return rule, {name: one_text(text) for name, text in match.groupdict().items() if text is not None}
    return None


def _prefix(files: Iterable[str], rules: tuple[Rule, ...]) -> str:
    """ "" where a clip fits from the root; else the one folder that all files lie in, if one fits from there."""
    names = sorted(files)
    clips = tuple(rule for rule in rules if not rule.silent)
    if any(_rule(clips, name) for name in names):
        return ""
    tops = {name.partition("/")[0] for name in names if "/" in name}
    if len(tops) > FEW_FOLDERS:
        return ""
    fits = [top + "/" for top in tops if any(_rule(clips, n[len(top) + 1 :]) for n in names if n.startswith(top + "/"))]
    return fits[0] if len(fits) == 1 else ""


def _filled(template: Template, facts: Facts) -> str:
    return template(facts) if callable(template) else template.format_map(facts)


def _is_end(one: list[str], other: list[str]) -> bool:
    shorter = min(len(one), len(other))
    return one[-shorter:] == other[-shorter:]


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _unread(path: Path, what: str, fault: Exception) -> BadArchive:
    return BadArchive(f"expected '{path}' to be {what}: {fault}. Copy the official file again.")


def _empty(layout: Layout, name: str, root: Path, files: Iterable[str]) -> BadArchive:
    packed = sorted(file for file in files if _PACKED.search(file))
    advice = (
        f"{len(packed)} files are packed ('{packed[0]}'): unpack them first."
        if packed
        else f"Point at the folder that holds the tree; `perennial layouts {name}` shows it."
    )
    return BadArchive(f"expected clips of {layout.title} under '{root}', found none. {advice}")
