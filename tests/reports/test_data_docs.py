"""Data Docs are one file that needs nothing else, and say what was expected of every archive."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from components.archives.expectations import check
from components.archives.rules import ColumnRule, Table
from components.reports import PAGE_FILE
from components.reports.data_docs import write_docs

FETCHES = {"src", "srcset", "data", "poster", "action", "background", "formaction", "xlink:href"}
"""Attributes by which a page asks for something as it opens; `href` does in every element but a link to follow."""


class References(HTMLParser):
    """What a page asks for, and where its links lead."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.scripts = 0
        self.style = ""
        self._inside = ""

    def handle_starttag(self, tag, attrs):
        self._inside = tag
        self.scripts += tag in ("script", "iframe", "object", "embed")
        for name, value in attrs:
            if name == "style":
                self.style += value
            elif name == "id":
                self.ids.add(value)
            elif name == "href" and tag == "a":
                self.links.append(value)
            elif name in FETCHES or name == "href":
                self.fetched.append(value)

    def handle_data(self, data):
        if self._inside == "style":
            self.style += data


def references(page: str) -> References:
    found = References()
    found.feed(page)
    found.fetched += re.findall(r"url\(([^)]*)\)|@import\s+([^;]*)", found.style)
    return found


def clips() -> pd.DataFrame:
    return pd.DataFrame(
        {"path": [f"<b>{n}</b>.jpg" for n in range(40)], "width": [8] * 30 + [300] * 10, "copies": [2] * 40}
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A sound archive, one that was refused, and one that only landed."""
    root = tmp_path_factory.mktemp("data")
    wide = ColumnRule("sides", "every side measures 64 px or more", "width", least=64)
    once = ColumnRule("once", "no file is there twice", "copies", most=1, warns=True)
    tables = {"sound": (wide, clips()[30:]), "torn": (wide, clips())}
    for name, (rule, rows) in tables.items():
        report = check([Table("manifest", rows, "path", (rule, once))])
        report.write(root / "validation" / name, {"archive": name, "role": "both"})
    measure = {
        "measure": "sharpness of genuine faces",
        "distance": 0.42,
        "chance": 0.002,
        "drift": 0.42,
        "beyond": True,
        "before": 5.0,
    }
    check([]).write(
        root / "drift" / "sound", {"compared_with": ["a"], "left_out": ["b"], "measures": [measure | {"now": None}]}
    )
    return root


def page_of(data: Path, folder: Path, archives: tuple[str, ...] = ("sound", "torn", "landed")) -> str:
    write_docs(folder, lambda kind, name: data / kind / name, archives)
    return (folder / PAGE_FILE).read_text()


def test_no_request_leaves_the_file(data, tmp_path):
    page = page_of(data, tmp_path)
    found = references(page)
    assert [one for one in found.fetched if not one.startswith("data:")] == []
    assert found.scripts == 0
    assert "http:" not in page and "https:" not in page
    assert found.links and {link.removeprefix("#") for link in found.links} <= found.ids, "and every link stays inside"


def test_every_archive_is_there_with_what_was_met_warned_of_and_broken(data, tmp_path):
    page = page_of(data, tmp_path)
    assert "1 expectation was broken" in page
    assert "1 of 2" in page and "0 of 2" in page and "not looked at" in page
    assert "expect_column_values_to_be_between" in page
    assert "width values must be greater than or equal to 64" in page
    assert "30 of 40 (75.0%)" in page and "and 20 more" in page
    assert "sharpness of genuine faces" in page and "because their faces are not here: b." in page


def test_words_from_data_are_no_markup(data, tmp_path):
    page = page_of(data, tmp_path)
    assert "&lt;b&gt;0&lt;/b&gt;.jpg" in page and "<b>0</b>" not in page


def test_the_same_results_give_the_same_bytes_and_nothing_else_stays_in_the_folder(data, tmp_path):
    (tmp_path / "sound" / "local_site").mkdir(parents=True)
    first = page_of(data, tmp_path)
    assert page_of(data, tmp_path) == first
    assert [path.name for path in tmp_path.iterdir()] == [PAGE_FILE]
    assert not write_docs(tmp_path, lambda kind, name: data / kind / name, ("sound", "torn", "landed"))


def test_a_workspace_without_archives_has_a_page_too(data, tmp_path):
    assert "No archive has landed." in page_of(data, tmp_path, ())
