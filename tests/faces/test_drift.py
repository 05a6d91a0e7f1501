"""Faces that are unlike those that landed before are said to be, and others are not."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations, product
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from components.archives import manifest as manifests
from components.archives.report import passed, read_report, read_validations
from components.errors import Invalid
from components.faces import drift
from components.faces.gauge import gauge
from components.faces.table import FaceTable, encode
from components.params import ValidationOptions

SOURCES = 12
CLIPS = 3  # of a source and class
Change = Callable[[np.ndarray], np.ndarray]


def same(face: np.ndarray) -> np.ndarray:
    return face


def blurred(face: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(face, (0, 0), 2)


def write_faces(
    faces: Path, archive: str, seed: int, change: Change = same, forged: int = CLIPS, sources: int = SOURCES
) -> None:
    """Faces of their sources' own light and grain, each changed."""
    rng = np.random.default_rng(seed)
    rows, images = [], []
    for source in range(sources):
        light, grain = rng.normal(120, 20), rng.uniform(10, 30)
        for label, clips in ((0, CLIPS), (1, forged)):
            for clip in range(clips):
                about = {"clip": f"{source}_{label}_{clip}.png", "frame": 0, "label": label, "split": "train"}
                rows.append(
                    {
                        "archive": archive,
                        **about,
                        "method": "swap" if label else "genuine",
                        "identity": "",
                        "source": f"s{source}",
                        "landmarks": np.zeros(10),
                        "box": np.array([0, 0, 100, 100]) + rng.normal(0, 2, 4),
                        "score": 0.9,
                    }
                )
                images.append(encode(change(rng.normal(light, grain, (64, 64, 3)).clip(0, 255).astype(np.uint8))))
    FaceTable.write(faces / archive, pd.DataFrame(rows), images, {"detector": "none"})


def gauged(place: Path, *before: str, name: str = "now", **options: object) -> dict:
    earlier = pd.DataFrame({"name": list(before), "label": 0, "split": "train", "archive": list(before)})
    manifests.write(earlier, place / "manifest" / manifests.EARLIER_FILE, manifests.EARLIER)
    params = ValidationOptions.model_validate(options)
    gauge(place / "manifest", place / "faces", place / "drift", name=name, validation_params=params)
    return read_report(place / "drift")


def test_the_distance_is_the_energy_coefficient_of_pairs_of_other_sources():
    rng = np.random.default_rng(0)
    groups = [(rng.normal(shift, 1, (12, 3)), tuple(f"s{n % 4}" for n in range(12))) for shift in (0, 1)]
    found, _ = drift.energy_coefficient(*groups, generator=rng)

    def mean(pairs: list) -> float:
        return float(np.mean([np.linalg.norm(x - y) for (x, s), (y, t) in pairs if s != t]))

    old, new = ([*zip(values, sources, strict=True)] for values, sources in groups)
    across = float(np.mean([np.linalg.norm(x - y) for (x, _), (y, _) in product(old, new)]))
    within = mean([*combinations(old, 2)]) + mean([*combinations(new, 2)])
    assert found == pytest.approx((2 * across - within) / (2 * across), abs=1e-9)


@pytest.mark.parametrize(("shift", "least", "most"), [(0, 0, 0.02), (0.5, 0.04, 0.08), (1, 0.16, 0.23), (50, 0.95, 1)])
def test_the_distance_grows_with_a_shift_of_so_many_deviations(shift, least, most):
    rng = np.random.default_rng(1)
    groups = [(rng.normal(mean, 1, 400), tuple(map(str, range(400)))) for mean in (0, shift)]
    distance, chance = drift.energy_coefficient(*groups, generator=rng)
    assert least <= distance <= most
    assert (chance <= drift.CHANCE) == (shift > 0)


def test_sources_that_differ_are_no_drift_however_many_faces_each_has():
    rng = np.random.default_rng(2)
    sources = tuple(f"s{n // 50}" for n in range(200))
    groups = [(rng.normal(np.repeat(rng.normal(0, 3, 4), 50), 0.1), sources) for _ in range(2)]
    _, chance = drift.energy_coefficient(*groups, generator=rng)
    assert chance > drift.CHANCE


def test_faces_of_other_sources_of_the_same_world_do_not_drift(tmp_path):
    for seed in range(3):
        write_faces(tmp_path / "faces", f"before_{seed}", seed)
    write_faces(tmp_path / "faces", "now", 9, forged=1)
    report = gauged(tmp_path, "before_0", "before_1", "before_2")
    assert len(report["measures"]) == 16
    assert not any(one["beyond"] for one in report["measures"])
    assert passed(tmp_path / "drift")


def test_faces_that_were_blurred_drift_in_sharpness_and_spectrum_and_only_a_warning_comes_of_it(tmp_path, capsys):
    write_faces(tmp_path / "faces", "before", 0)
    write_faces(tmp_path / "faces", "now", 9, blurred)
    report = gauged(tmp_path, "before", "elsewhere")
    beyond = {one["measure"] for one in report["measures"] if one["beyond"]}
    assert {f"{what} of {kind} faces" for what in ("sharpness", "spectrum") for kind in ("genuine", "forged")} <= beyond
    assert not {"size in px of genuine faces", "brightness of genuine faces"} & beyond
    assert (report["compared_with"], report["left_out"]) == (["before"], ["elsewhere"])
    assert (report["passed"], passed(tmp_path / "drift")) == (True, True)
    assert "expected that no measure of the faces drifts by more than 0.1 from before" in capsys.readouterr().out
    (said,) = read_validations(tmp_path / "drift")
    (result,) = said["results"]
    assert (result["expectation_config"]["severity"], result["success"]) == ("warning", False)


def test_a_drift_that_a_person_asked_to_be_refused_is(tmp_path):
    write_faces(tmp_path / "faces", "before", 0)
    write_faces(tmp_path / "faces", "now", 9, blurred)
    with pytest.raises(Invalid, match=r"(?s)'sharpness of .*withdraw --archive now"):
        gauged(tmp_path, "before", drift="refuses")
    assert passed(tmp_path / "drift") is False
    assert gauged(tmp_path, "before", drift="refuses", max_drift=1)["passed"]


def test_the_first_archive_and_one_of_a_single_source_have_nothing_to_be_compared_with(tmp_path):
    write_faces(tmp_path / "faces", "before", 0)
    write_faces(tmp_path / "faces", "now", 9, blurred, sources=1)
    assert gauged(tmp_path, name="before")["measures"] == []
    assert gauged(tmp_path, "before")["measures"] == []


def test_the_report_is_the_same_bytes_every_time(tmp_path):
    write_faces(tmp_path / "faces", "before", 0)
    write_faces(tmp_path / "faces", "now", 1)
    written = []
    for _ in range(2):
        gauged(tmp_path, "before")
        written.append({path.name: path.read_bytes() for path in (tmp_path / "drift").iterdir()})
    assert written[0] == written[1]
    assert json.loads(written[0]["report.json"])["archive"] == "now"
