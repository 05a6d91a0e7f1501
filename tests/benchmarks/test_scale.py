"""The plan on paper adds up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import scale
from benchmarks.scale import Detector, Machines, Plan, Work

ROOT = Path(__file__).parents[2]
TINY = Detector("tiny", 100, 1000, founder_epochs=5, epochs=3, faces_per_clip=4, weights_mb=10, core_s_a_face=0.01)
SMALL = Plan(clips=1000, archives=10, lines=("lnclip",), frames=8, memory_faces=50)


def test_a_founder_learns_from_its_drawn_faces_once_an_epoch_and_others_beside_as_many_remembered() -> None:
    assert SMALL.learned_from(TINY, 1) == 100 * 0.6 * 4 * 5
    assert SMALL.learned_from(TINY, 2) == 100 * 0.6 * 4 * 3 * 2


def test_no_more_faces_are_drawn_of_a_clip_than_it_has() -> None:
    assert SMALL.learned_from(replace(TINY, faces_per_clip=99), 1) == 100 * 0.6 * 8 * 5


def test_a_generation_is_examined_on_every_benchmark_so_far_and_its_teacher_on_the_newest() -> None:
    test_faces = 100 * 0.25 * 8
    assert SMALL.examined_on(1) == test_faces
    assert SMALL.examined_on(3) == 4 * test_faces


def test_a_generation_is_calibrated_on_validation_faces_of_all_it_was_taught() -> None:
    assert SMALL.calibrated_on(3) == pytest.approx(3 * 100 * 0.15 * 8)


def test_one_line_takes_its_generations_one_after_another_however_many_accelerators_there_are() -> None:
    jobs = scale.works(SMALL, Machines(), beside=True)
    raising = sum(job.hours for job in jobs if job.stage in ("evolve", "curate"))
    last = sum(job.hours for job in jobs if job.stage in ("evaluate", "calibrate") and job.generation == 10)
    curated = next(job for job in jobs if (job.stage, job.generation) == ("curate", 10))
    found = scale.scheduled(jobs, 100)
    assert found.hours == pytest.approx(raising - curated.hours + max(curated.hours, last))


def test_on_one_accelerator_the_hours_add_up() -> None:
    jobs = scale.works(replace(SMALL, lines=("lnclip", "masm")), Machines(), beside=True)
    found = scale.scheduled(jobs, 1)
    assert found.hours == pytest.approx(sum(job.hours for job in jobs)) == pytest.approx(found.busy)


def test_two_lines_on_two_accelerators_by_hand() -> None:
    jobs = [
        *(Work("evolve", line, 1, 2.0) for line in (0, 1)),
        *(Work("curate", line, 1, 1.0) for line in (0, 1)),
        *(Work("evaluate", line, 1, 3.0) for line in (0, 1)),
    ]
    assert scale.scheduled(jobs, 2).hours == 6.0
    assert scale.scheduled(jobs, 4).hours == 5.0


def test_learning_is_held_up_by_the_cores_where_they_decode_more_slowly_than_the_step_learns() -> None:
    machines = Machines(cores_an_accelerator=16, loop=1.0)
    assert scale.learning_rate(TINY, machines, beside=True) == 100
    assert scale.learning_rate(replace(TINY, core_s_a_face=1.6), machines, beside=True) == 10
    assert scale.learning_rate(TINY, machines, beside=False) == pytest.approx(50)


def test_faces_take_the_bytes_of_clips_times_frames() -> None:
    kept = scale.stored(replace(SMALL, face_kb=50))
    assert kept["faces"] == pytest.approx(1000 * 8 * 50e3 / 1e12)


def test_moving_takes_bytes_over_bandwidth() -> None:
    moved = scale.moved(Plan(), Machines(network_gbit=8))
    size, hours = moved["faces, every machine all of them"]
    assert hours == pytest.approx(size * 1e12 / 1e9 / 3600)


def test_crop_waits_for_the_slower_of_its_threads_and_its_one_writer() -> None:
    plan = Plan(clips=36_000, archives=1)
    assert scale.before_learning(plan, Machines(crop_core_s=8, crop_threads=8))["crop"] == pytest.approx(10)
    assert scale.before_learning(plan, Machines(crop_core_s=0.8, crop_thread_s=0.5))["crop"] == pytest.approx(5)


def test_a_line_is_fitted_through_what_ran_and_foretells_its_own_points() -> None:
    line = scale.fitted([(10, 7.0), (20, 9.0), (40, 13.0)])
    assert line == pytest.approx((5.0, 0.2))
    assert scale.foretold(line, [10, 40]) == pytest.approx(20.0)


def test_a_start_below_nothing_is_none() -> None:
    start, slope = scale.fitted([(10, 1.0), (20, 3.0)])
    assert start == 0
    assert slope == pytest.approx(2 / 15)


def test_the_page_holds_the_tables_that_its_command_prints() -> None:
    page = (ROOT / "docs" / "scale.md").read_text()
    for table in scale.tables(Plan(), Machines()).split("\n\n"):
        assert table in page
