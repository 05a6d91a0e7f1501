"""What was asked is kept without names and pictures, and tells whether the champion is asked what it was made for."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from components.errors import Refused
from components.evaluation.calibration import Calibration
from components.evaluation.operating_point import OperatingPoint
from components.evaluation.point_files import write as write_point
from components.evaluation.population import Population
from components.serving.asked import Asked
from components.serving.service import Options, Service
from components.serving.watching import look
from tests.answers import record, traits

from .conftest import LIMITS, TestBooks, until


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return Asked(tmp_path / "kept" / "asked.sqlite")


@pytest.fixture
def point(tmp_path: Path) -> Path:
    """The operating point of a generation that was calibrated on 60 clips."""
    folder = tmp_path / "point"
    said = OperatingPoint(Calibration("temperature"), 0.5, 0.0, {})
    raw = {"calibration": said.calibration.as_json(), "threshold": 0.5, "margin": 0.0, "found": {}, "familiarity": {}}
    write_point(folder, {"point": raw, "reason": None})
    looks = [traits(1000 + number) for number in range(60)]
    scores = np.random.default_rng(5).uniform(0.2, 0.8, 60)
    views = {view: np.stack([one[view] for one in looks]) for view in looks[0]}
    quality = {"face_px": np.array([100.0 + number % 7 for number in range(60)])}
    Population(tuple(map(str, range(60))), scores, views, quality).write(folder)
    return folder


def test_neither_names_nor_pictures_are_kept(asked: Asked) -> None:
    asked.add(record(1), traits(1))
    assert b"secret" not in asked.file.read_bytes() + b"".join(
        path.read_bytes() for path in asked.file.parent.glob("asked.sqlite-*")
    )


def test_what_is_asked_alike_is_no_drift_and_what_is_not_alarms(asked: Asked, point: Path) -> None:
    draw = np.random.default_rng(6)
    for number in range(50):
        asked.add(record(number, float(draw.uniform(0.2, 0.8))), traits(number))
    alike = look(asked, "a-M1", point)
    assert alike.drift is not None and not alike.drifted
    assert alike.numbers()["files"] == 50 and "stability_face_px" in alike.numbers()
    for number in range(50, 150):
        asked.add(record(number, float(draw.uniform(0.2, 0.8))), traits(number, shift=1.5))
    assert look(asked, "a-M1", point).drifted


def test_a_file_that_is_sent_again_counts_once_as_it_was_answered_last(asked: Asked) -> None:
    for probability in (0.2, 0.7, 0.9):
        asked.add(record(3, probability), traits(3))
    seen = asked.population("a-M1")
    assert seen is not None and seen.scores.tolist() == [0.9]
    assert len(asked.rows("a-M1")) == 3


def test_too_few_files_tell_why_nothing_is_said(asked: Asked, point: Path, tmp_path: Path) -> None:
    assert look(asked, "a-M1", point).without == "0 files with a judged face were asked about, and comparing takes 20"
    asked.add(record(1), traits(1))
    found = look(asked, "a-M1", point)
    assert found.drift is None and found.without.startswith("1 files") and found.expected is not None
    assert look(asked, "a-M1", tmp_path / "none").without.startswith("it has no operating point")


def test_files_without_a_face_and_reasons_are_counted(asked: Asked, point: Path) -> None:
    asked.add(record(1), traits(1))
    asked.add(record(2, None, verdict="cannot tell", code="no face"))
    asked.add(record(3, 0.5, verdict="cannot tell", code="near the threshold"), traits(3))
    found = look(asked, "a-M1", point).asked
    assert found["with_a_face"] == pytest.approx(2 / 3)
    assert found["reasons"] == {"near the threshold": 1, "no face": 1}


def test_only_the_last_days_and_the_generation_that_answered_count(asked: Asked, point: Path) -> None:
    asked.add(record(1, days_ago=8), traits(1))
    asked.add(record(2), traits(2))
    assert look(asked, "a-M1", point, days=7).asked["files"] == 1
    assert look(asked, "a-M2", point).asked == {"files": 0}


def test_what_is_past_being_kept_leaves_with_the_next(tmp_path: Path) -> None:
    asked = Asked(tmp_path / "asked.sqlite", keep_days=5)
    asked.add(record(1, days_ago=6), traits(1))
    asked.add(record(2), traits(2))
    assert [f"{2:064x}"] == asked.rows("a-M1")["sha256"].tolist()


def test_the_challenger_agrees_where_it_said_the_same(asked: Asked, point: Path) -> None:
    numbers = [asked.add(record(number), traits(number)) for number in range(3)]
    asked.tell_shadow(numbers[0], "forged")
    asked.tell_shadow(numbers[1], "genuine")
    assert look(asked, "a-M1", point).asked["agreement"] == 0.5


def test_several_may_write_at_once(asked: Asked) -> None:
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda number: asked.add(record(number), traits(number)), range(40)))
    assert sorted(numbers) == list(range(1, 41))
    with sqlite3.connect(asked.file) as database:
        assert database.execute("SELECT COUNT(*) FROM asked").fetchone() == (40,)


def test_the_service_keeps_what_it_answers_and_what_the_challenger_said(tmp_path, generations, media) -> None:
    books = TestBooks([generations[0]], youngest=generations[1])
    looked = []
    options = Options(
        state=tmp_path / "state", told=tmp_path / "told", limits=LIMITS, every_s=0.05, shadow=True,
        asked=tmp_path / "asked.sqlite", population=lambda: looked.append(1) or {"drift": 0.25}, population_every_s=0.1,
    )  # fmt: skip
    service = Service(options, books)
    try:
        said = service.answer(media / "a.png", "a.png", "somebody")["answer"]
        kept = Asked(tmp_path / "asked.sqlite")
        until(lambda: kept.rows(generations[0].generation)["shadow"].tolist() != [""])
        (row,) = kept.rows(generations[0].generation).to_dict("records")
        until(lambda: looked)
        until(lambda: b'perennial_population{number="drift"} 0.25' in service.measure())
    finally:
        service.close()
    assert (row["sha256"], row["verdict"], row["score"]) == (said["file"]["sha256"], said["verdict"], said["score"])
    assert row["shadow"] in {"genuine", "forged", "cannot tell"}


def test_a_look_that_fails_costs_no_answer_and_is_counted(tmp_path, generations) -> None:
    def fails() -> dict[str, float]:
        raise Refused("nobody is champion")

    options = Options(
        state=tmp_path / "state",
        told=tmp_path / "told",
        limits=LIMITS,
        every_s=0.05,
        population=fails,
        population_every_s=0.05,
    )
    service = Service(options, TestBooks([generations[0]]))
    try:
        until(lambda: b"perennial_population_faults_total 0.0" not in service.measure())
        assert service.trouble() == ""
    finally:
        service.close()
