"""The state of all lines in a terminal, and the same for a machine; read from the workspace's files, nothing heavy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.style import Style
from rich.table import Table
from rich.text import Text

from components import code
from components.documents import load_yaml
from components.evaluation import MATRIX_FILE, late, point_files
from components.gates.verdict import verdict_if_any
from components.generations.card import CARD, code_state, read_card
from components.reports import Place
from components.vocabulary import NOBODY

Status = dict[str, Any]
"""``{"lines": {LINE: {"champion": NAME|null, "generations": [...]}}}``, see `status_json`."""


def status_json(
    lineage: Path,
    data: Place,
    champions: Mapping[str, str | None] | None = None,
    today: Mapping[str, code.Parts] | None = None,
) -> Status:
    """What stands in the lineage and what became of it.

    lineage     lineage.yaml
    today       what today's code is made of; without it no generation is called older
    champions   who answers for each line, as the ledger knows; a line that is not in it has nobody

        {"lines": {LINE: {"champion": NAME | null, "generations": [
            {"name", "learns", "teacher", "retired", "detector", "strategy", "opens": true | false | null (not judged yet),
             "scores": {BENCHMARK: {"auc": float | null, "low": float | null, "high": float | null}},
             "code": "today's" | "older" | "before 0.2" | null (not born yet, or nobody asked),
             "forgetting": float | null, "average_auc": float | null, "refused": [words of the rules that refused],
             "threshold": float | null, "no_threshold": null | why it has none}]}}}
    """
    raw = (load_yaml(lineage.read_bytes()) or {}) if lineage.is_file() else {}
    lines: Status = {}
    for name, row in (raw.get("generations") or {}).items():
        line = lines.setdefault(row["line"], {"champion": (champions or {}).get(row["line"]), "generations": []})
        line["generations"].append(_generation(name, row, data, today or {}))
    for name, line in lines.items():
        head = (raw.get("heads") or {}).get(name, {})
        _tell_retired(line["generations"])
        _fill(line["generations"], data, late.read(data("examinations", head.get("examined", NOBODY))))
    return {"lines": lines}


def status_table(status: Status) -> RenderableType:
    """One panel per line: generations down, benchmarks across, AUC in colour, a star for the champion."""
    if not status["lines"]:
        return Text("No generation yet. `perennial plan` shows what would be born, `perennial run` raises it.")
    return Group(*(_panel(name, line) for name, line in status["lines"].items()))


def _generation(name: str, row: Mapping[str, Any], data: Place, today: Mapping[str, code.Parts]) -> Status:
    verdict = data("verdicts", name)
    judged, matrix = verdict_if_any(verdict) or {}, _matrix(verdict / MATRIX_FILE)
    cells = matrix.get("cells", {}).get(name, {})
    summary = matrix.get("summary", {}).get(name, {})
    return {
        "name": name,
        "learns": row["learns"],
        "teacher": row["teacher"],
        "detector": row["detector"],
        "strategy": row["strategy"],
        "opens": judged.get("opens"),
        "code": _code(data("generations", name), row, today),
        "scores": {benchmark: _auc(cells.get(benchmark, {})) for benchmark in matrix.get("benchmarks", [])},
        "forgetting": summary.get("forgetting", {}).get("value"),
        "average_auc": summary.get("average_auc", {}).get("value"),
        "refused": [rule["words"] for rule in judged.get("rules", []) if rule["passed"] is False],
        **_threshold(point_files.told(verdict) if judged else None),
    }


def _tell_retired(generations: list[Status]) -> None:
    """Whoever is no ancestor of the youngest is retired: others learned in its place."""
    living = {one["name"] for one in _ancestors(generations[-1], generations)}
    for one in generations:
        one["retired"] = one["name"] not in living


def _ancestors(one: Status, generations: Iterable[Status]) -> list[Status]:
    """A generation and those who taught it, youngest first."""
    named, found = {other["name"]: other for other in generations}, [one]
    while (teacher := named.get(found[-1]["teacher"])) and teacher not in found:
        found.append(teacher)
    return found


def _threshold(said: Mapping[str, Any] | None) -> Status:
    if said is None:
        return {"threshold": None, "no_threshold": "it was not judged yet"}
    return {"threshold": said["point"]["threshold"] if said["point"] else None, "no_threshold": said["reason"]}


def _fill(generations: list[Status], data: Place, cells: Iterable[late.Cell]) -> None:
    """Cells that were measured after a generation was judged: as its heir's teacher, or by `perennial examine`."""
    named = {one["name"]: one for one in generations}
    for one in generations:
        for name, row in _matrix(data("verdicts", one["name"]) / MATRIX_FILE).get("cells", {}).items():
            for benchmark, cell in row.items():
                _add(named.get(name), benchmark, cell)
    for cell in cells:
        folder = data("generations", cell.generation)
        if (folder / CARD).is_file() and read_card(folder)["weights"] == cell.weights:
            _add(named.get(cell.generation), cell.benchmark, cell.measured)


def _add(one: Status | None, benchmark: str, cell: Mapping[str, Any]) -> None:
    auc = _auc(cell)
    if one is not None and auc["auc"] is not None and one["scores"].get(benchmark, {}).get("auc") is None:
        one["scores"][benchmark] = auc


def _auc(cell: Mapping[str, Any]) -> Status:
    auc = cell.get("auc", {})
    return {"auc": auc.get("value"), "low": auc.get("low"), "high": auc.get("high")}


def _code(folder: Path, row: Mapping[str, Any], today: Mapping[str, code.Parts]) -> str | None:
    """Whether today's code would raise a generation as it was raised."""
    if not (folder / CARD).is_file():
        return None
    return code_state(read_card(folder), code.raised_by(today, row["detector"], row["strategy"]) if today else None)


def _matrix(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def _panel(name: str, line: Status) -> Panel:
    generations = line["generations"]
    benchmarks = list(dict.fromkeys(benchmark for one in generations for benchmark in one["scores"]))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("", "generation", "learned", "gate"):
        table.add_column(heading, no_wrap=True)
    for heading in (*benchmarks, "average", "forgotten"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in generations:
        learned = {other["learns"] for other in _ancestors(one, generations)}
        star = Text("★" if one["name"] == line["champion"] else "", "bold yellow")
        cells = [_cell(one, benchmark, known=benchmark in learned) for benchmark in benchmarks]
        sums = [_number(one["average_auc"], 2), _number(one["forgetting"], 3)]
        born = one["code"] if one["code"] in ("older", "before 0.2") else ""
        notes = ", ".join([*(["retired"] if one["retired"] else []), *([f"code {born}"] if born else [])])
        who_made = Text.assemble((one["name"], "dim" if one["retired"] else ""), (f"  {notes}" if notes else "", "dim"))
        table.add_row(star, who_made, Text(one["learns"]), _gate(one["opens"]), *cells, *sums)
    last = generations[-1]
    refused = [Text(f"{last['name']}: {words}", "red") for words in last["refused"]]
    answering = [one for one in generations if one["name"] == line["champion"]]
    at = [Text(f"{one['name']}: {_at(one)}", "dim") for one in answering]
    who = f"champion {line['champion']}" if line["champion"] else "no champion yet"
    title = Text.assemble((name, "bold"), "  ", (f"{last['detector']} · {last['strategy']} · {who}", "dim"))
    return Panel(Group(table, *at, *refused), title=title, title_align="left", border_style="dim", padding=(1, 2))


def _at(one: Status) -> str:
    """Where it cuts, or why nowhere."""
    if one["threshold"] is None:
        return f"no operating point: {one['no_threshold']}"
    return f"a clip is called forged above {one['threshold']:.3f}"


def _gate(opens: bool | None) -> Text:
    if opens is None:
        return Text("not judged", "dim")
    return Text("✓ open", "green") if opens else Text("✕ closed", "red")


def _cell(one: Status, benchmark: str, *, known: bool) -> Text:
    """AUC, coloured where the line has learned the benchmark, underlined where it was learned just now."""
    auc = one["scores"].get(benchmark, {}).get("auc")
    if auc is None:
        return Text("–", "dim")
    if not known:
        return Text(f"{auc:.2f}", "dim")
    return Text(f"{auc:.2f}", Style(color=_colour(auc), bold=True, underline=one["learns"] == benchmark))


def _colour(auc: float) -> str:
    return next(
        colour for least, colour in ((0.9, "green"), (0.75, "cyan"), (0.6, "yellow"), (0.0, "red")) if auc >= least
    )


def _number(value: float | None, digits: int) -> Text:
    return Text("–", "dim") if value is None else Text(f"{value:z.{digits}f}")
