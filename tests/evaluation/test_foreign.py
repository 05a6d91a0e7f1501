"""Scores of other people's detectors: believed line by line, or refused with the lines that cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.errors import BadParams
from components.evaluation import foreign
from components.evaluation.scores import Scores
from components.reports import foreign as lines

FACES = pd.DataFrame(
    [("swap", f"{n}_{label}.mp4", frame, f"s{n}", "", "x" if label else "genuine", label, split)
     for n, split in enumerate(("train", "test", "test"))
     for label in (0, 1) for frame in (0, 1)],
    columns=["archive", "clip", "frame", "source", "identity", "method", "label", "split"],
)  # fmt: skip
TESTED = {"1_0.mp4": 0.1, "1_1.mp4": 0.9, "2_0.mp4": 0.7, "2_1.mp4": 0.6}


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_table_of_clips_is_read_and_further_columns_are_passed_over(tmp_path: Path) -> None:
    assert foreign.read(written(tmp_path / "a.csv", "clip,note,p_fake\nx.mp4,hm,0.25\n")) == {"x.mp4": 0.25}


def test_every_line_that_cannot_be_believed_is_named(tmp_path: Path) -> None:
    text = "clip,p_fake\na.mp4,1.5\nb.mp4,0.5\nb.mp4,0.5\nc.mp4,\nd.mp4,nan\n"
    with pytest.raises(BadParams) as refused:
        foreign.read(written(tmp_path / "a.csv", text))
    for words in ("line 2: p_fake '1.5' of 'a.mp4'", "line 4: 'b.mp4' for the second time", "line 5: p_fake ''",
                  "line 6: p_fake 'nan'"):  # fmt: skip
        assert words in str(refused.value)


@pytest.mark.parametrize("text", ["clip,score\na,0.5\n", "", "\x00"])
def test_a_file_without_the_two_columns_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadParams, match="expected"):
        foreign.read(written(tmp_path / "a.csv", text))


def test_test_clips_get_one_row_each_with_what_is_known_of_them() -> None:
    found = foreign.joined(TESTED | {"0_0.mp4": 0.2, "elsewhere.mp4": 0.3}, FACES, "swap")
    assert found.rows.set_index("clip")["p_fake"].to_dict() == TESTED
    assert found.rows.set_index("clip")["label"].to_dict() == {"1_0.mp4": 0, "1_1.mp4": 1, "2_0.mp4": 0, "2_1.mp4": 1}
    assert found.unknown == ("0_0.mp4", "elsewhere.mp4"), "a training clip is no test clip"
    assert found.missing == ()


def test_clips_without_a_score_are_refused_or_count_as_chance_and_are_named() -> None:
    three = {clip: p for clip, p in TESTED.items() if clip != "2_0.mp4"}
    with pytest.raises(BadParams, match=r"each of the 4 test clips of 'swap', found none of 1: '2_0.mp4'"):
        foreign.joined(three, FACES, "swap")
    found = foreign.joined(three, FACES, "swap", chance=True)
    assert found.missing == ("2_0.mp4",)
    assert found.rows.set_index("clip").loc["2_0.mp4", "p_fake"] == 0.5


@pytest.mark.parametrize("chance", [False, True])
def test_a_table_that_knows_no_test_clip_is_refused_whatever_is_said_of_missing_ones(chance: bool) -> None:
    with pytest.raises(
        BadParams, match=r"none of them: 'x.mp4'\. Name clips by their paths in the archive, as '1_0.mp4'"
    ):
        foreign.joined({"x.mp4": 0.5}, FACES, "swap", chance=chance)


def test_a_line_of_foreign_scores_has_an_end_and_no_past(tmp_path: Path) -> None:
    swap = foreign.joined(TESTED, FACES, "swap")
    mesh = foreign.joined(TESTED, FACES.assign(archive="mesh"), "mesh")
    lines.write(tmp_path / "xception", "xception", {"swap": swap}, {"swap": "1", "mesh": "2"})
    (run,) = lines.read_runs(tmp_path, ("swap", "mesh"), seed=3)
    assert run.metric("average").value is None, "one of two tasks is not known yet"
    lines.write(tmp_path / "xception", "xception", {"mesh": mesh}, {"swap": "1", "mesh": "2"})
    (run,) = lines.read_runs(tmp_path, ("swap", "mesh"), seed=3)
    assert (run.entry.label, run.entry.seed, run.images, run.stored_bytes) == ("xception", 3, None, None)
    assert run.metric("average").value == pytest.approx(0.75) and run.metric("average", "acc").value == pytest.approx(
        0.75
    )
    assert np.isnan(run.auc[:-1]).all()
    assert run.metric("bwt").value is None and "not measured" in str(run.metric("bwt").reason)
    assert lines.read_runs(tmp_path, ("other",), seed=3) == []
    assert Scores.read(tmp_path / "xception").measured["swap"]["missing"] == 0
