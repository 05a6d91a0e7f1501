"""Data Docs: one site a workspace, one HTML file that needs nothing else, of what Great Expectations said of its archives.

The stages keep its results as JSON, with the words it renders for other front ends (`ExpectationValidationResult.render`).
Its own pages ask six servers for their style and copy 4 MB of fonts beside each site; this one shows the same. The same
results give the same bytes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from components.archives.report import Validation, read_report, read_validations
from components.reports import PAGE_FILE, Place
from components.reports.pages import render
from components.writing import replace_text

KINDS = {"validation": "Manifest", "face_validation": "Faces", "drift": "Drift"}
"""Kinds of ``data/<kind>/<archive>`` that hold what was expected, in the words of the page."""
PASSED, WARNED, BROKEN = "true", "null", "false"
"""What became of an expectation; a style each."""


@dataclass(frozen=True)
class Expectation:
    """One line of a suite."""

    words: str
    rendered: str
    """The same in the words of Great Expectations."""
    kind: str
    severity: str
    state: str
    observed: str
    rows: tuple[str, ...]
    """The first that broke it."""
    more: int
    """How many more did."""


@dataclass(frozen=True)
class Suite:
    """What was expected of one table."""

    name: str
    kind: str
    expectations: tuple[Expectation, ...]

    @property
    def met(self) -> int:
        return sum(one.state == PASSED for one in self.expectations)


@dataclass(frozen=True)
class Archive:
    """Everything that was expected of an archive."""

    name: str
    role: str
    suites: tuple[Suite, ...]
    drift: Mapping[str, Any]
    """The report of stage `gauge`; nothing where it was not run."""

    @property
    def expectations(self) -> tuple[Expectation, ...]:
        return tuple(one for suite in self.suites for one in suite.expectations)

    @property
    def state(self) -> str:
        return _worst(self.expectations)

    def of(self, kind: str) -> tuple[str, str] | None:
        """(state, `12 of 13`) of all suites of a kind; None where there is none."""
        found = tuple(one for suite in self.suites if suite.kind == kind for one in suite.expectations)
        return (_worst(found), f"{sum(one.state == PASSED for one in found)} of {len(found)}") if found else None


def write_docs(folder: Path, data: Place, archives: Sequence[str]) -> bool:
    """Make `folder` hold the site of these archives and nothing else; True if it was written anew."""
    told = [_archive(name, data) for name in archives]
    every = [one for archive in told for one in archive.expectations]
    counts = {state: sum(one.state == state for one in every) for state in (PASSED, WARNED, BROKEN)}
    versions = sorted({said["meta"]["great_expectations_version"] for name in archives for said in _said(name, data)})
    text = render("data_docs.html", archives=told, kinds=KINDS.values(), counts=counts, versions=versions)
    for other in folder.glob("*"):
        if other.is_dir():  # a site of an older version, which had one for each archive
            shutil.rmtree(other)
    return replace_text(folder / PAGE_FILE, text)


def _said(name: str, data: Place) -> Iterator[Validation]:
    for kind in KINDS:
        yield from read_validations(data(kind, name))


def _archive(name: str, data: Place) -> Archive:
    suites = tuple(_suite(said, word) for kind, word in KINDS.items() for said in read_validations(data(kind, name)))
    report = read_report(data("validation", name)) or {}
    return Archive(name, report.get("role", ""), suites, read_report(data("drift", name)) or {})


def _suite(said: Validation, kind: str) -> Suite:
    return Suite(said["suite_name"], kind, tuple(map(_expectation, said["results"])))


def _expectation(said: Mapping[str, Any]) -> Expectation:
    about, found = said["expectation_config"], said["result"]
    broken, rows = found.get("unexpected_count") or 0, tuple(said["meta"]["rows"])
    failed = WARNED if about["severity"] == "warning" else BROKEN
    return Expectation(
        words=about["notes"],
        rendered=_rendered(about),
        kind=about["type"],
        severity=about["severity"],
        state=PASSED if said["success"] else failed,
        observed=_observed(found),
        rows=rows,
        more=max(broken - len(rows), 0),
    )


def _observed(found: Mapping[str, Any]) -> str:
    """How many rows it looked at, and how many of them were not as expected."""
    if "element_count" not in found:
        return "–"
    looked_at = found["element_count"] - (found.get("missing_count") or 0)
    broken = found["unexpected_count"]
    return f"{broken} of {looked_at} ({broken / looked_at:.1%})" if broken else f"none of {looked_at}"


def _rendered(said: Mapping[str, Any]) -> str:
    """The sentence of rendered content, its parameters filled in."""
    (content,) = [one["value"] for one in said["rendered_content"] if one["value_type"] == "StringValueType"]
    values = {name: _plain(param.get("value")) for name, param in content["params"].items()}
    return Template(content["template"]).safe_substitute(values)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _worst(expectations: Sequence[Expectation]) -> str:
    states = {one.state for one in expectations}
    return next((state for state in (BROKEN, WARNED) if state in states), PASSED)
