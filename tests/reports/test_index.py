"""The first page of a workspace leads to every other, and mixes no two generations."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from components.reports.index import write_index


def generation(name: str, average: float | None, forgetting: float | None, opens: bool | None) -> dict[str, Any]:
    return {"name": name, "learns": "swap", "average_auc": average, "forgetting": forgetting, "opens": opens}


STATUS = {
    "lines": {
        "kept": {
            "champion": "kept-M1",
            "generations": [generation("kept-M1", 0.9, None, True), generation("kept-M2", 0.5, 0.4, False)],
        },
        "<new>": {"champion": None, "generations": [generation("<new>-M1", None, None, None)]},
    }
}


def touched(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_a_line_is_told_by_the_numbers_of_its_champion(tmp_path: Path) -> None:
    html = write_index(tmp_path, "family", STATUS, "mlflow ui").read_text()
    row = re.search(r"<tr><th scope=\"row\">kept.*?</tr>", html, re.DOTALL)[0]
    assert re.findall(r"<td class=\"sum\">(.*?)(?:<small>(.*?)</small>)?</td>", row)[:3] == [
        ("kept-M1", ""), ("0.900", "kept-M1"), ("–", "kept-M1"),
    ]  # fmt: skip
    assert "kept-M2<small>learned swap; the gate stayed closed" in row


def test_it_links_what_is_there_and_nothing_else(tmp_path: Path) -> None:
    assert re.findall(r'<a href="(.*?)"', write_index(tmp_path, "family", STATUS, "mlflow ui").read_text()) == []
    for name in (
        "lines/<new>/index.html",
        "asked/kept/index.html",
        "data_docs/index.html",
        "studies/first/test/table.md",
    ):
        touched(tmp_path / name)
    html = write_index(tmp_path, "family", STATUS, "http://mlflow:5000/#/experiments/1").read_text()
    assert re.findall(r'<a href="(.*?)"', html) == [
        "asked/kept/index.html", "lines/%3Cnew%3E/index.html", "data_docs/index.html", "http://mlflow:5000/#/experiments/1",
        "studies/first/test/table.md",
    ]  # fmt: skip
    assert "<new>" not in html and "&lt;new&gt;" in html


def test_a_workspace_without_a_generation_has_one_too(tmp_path: Path) -> None:
    assert "perennial run" in write_index(tmp_path, "family", {"lines": {}}, "mlflow ui").read_text()
