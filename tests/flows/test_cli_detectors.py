"""``perennial detectors``: the catalogue side by side, for people and for machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from components import detectors
from components.evaluation.cost import Cost, Measured
from flows.terminal import costs_table, detectors_table

ROOT = Path(__file__).parents[2]


def perennial(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flows.cli", "detectors", *words]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PERENNIAL_DEVICE": "cpu"}, capture_output=True, text=True, timeout=280
    )


def shown(table: Table, columns: int = 100) -> str:
    console = Console(width=columns, file=StringIO())
    console.print(table)
    return console.file.getvalue()


@pytest.fixture
def costs() -> list[Cost]:
    """Two detectors with the longest of everything, one of them measured."""
    small = Cost("rsia_net", "RSIA-Net, the CFFD paper", 96, "", 325_249, 325_249, 313_729, 1_308_380, 34_449_600)
    paper = "LSDA, Yan et al., CVPR 2024, arXiv 2311.11278"
    large = Cost("lsda", paper, 256, "ra2_in1k", 116_440_503, 97_973_871, 18_730_314, 469_295_752, 4_039_436_992)
    return [
        small,
        replace(large, measured=Measured("cuda:0", "float32", 128, 9_120_000_000_000, 1_234_000_000, 98_765_000_000)),
    ]


def test_a_row_holds_what_a_choice_depends_on(costs: list[Cost]) -> None:
    table = shown(detectors_table(costs), 200)
    assert table.splitlines()[-2].split("  ")[0].strip() == "rsia_net"
    lsda = [cell.strip() for cell in table.splitlines()[-1].split("  ") if cell.strip()]
    assert lsda == ["lsda", costs[1].paper, "256 px", "116 M", "98 M", "18.7 M", "4.04", "ra2_in1k"]


def test_what_starts_from_nothing_shows_a_dash(costs: list[Cost]) -> None:
    assert shown(detectors_table(costs[:1])).split()[-1] == "–"


def test_only_measured_cards_have_costs(costs: list[Cost]) -> None:
    rows = shown(costs_table(costs)).splitlines()[2:]
    assert [row.split() for row in rows] == [["lsda", "cuda:0", "128", "9120", "1234", "98765"]]


def test_a_terminal_of_100_columns_cuts_nothing_off(costs: list[Cost]) -> None:
    for table in (detectors_table(costs), costs_table(costs)):
        text = shown(table)
        assert "…" not in text and max(map(len, text.splitlines())) <= 100


def test_a_machine_reads_the_same_of_every_detector_with_what_a_batch_took() -> None:
    done = perennial("--size", "tiny", "--measure", "--batch", "2", "--json")
    assert done.returncode == 0, done.stderr
    found = {cost["detector"]: cost for cost in json.loads(done.stdout)}
    assert tuple(found) == detectors.names()
    rsia = found["rsia_net"]
    assert (rsia["parameters"], rsia["input_px"], rsia["pretrained"]) == (325_249, 96, "")
    assert all((cost["measured"]["batch"], cost["measured"]["device"]) == (2, "cpu") for cost in found.values())


def test_a_size_there_is_not_is_refused_with_those_there_are() -> None:
    done = perennial("--size", "huge")
    assert done.returncode == 2 and "paper" in done.stderr and "tiny" in done.stderr
