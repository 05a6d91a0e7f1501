"""What a withdrawal means: exactly the rows it names, in the archive it names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from components.archives.withdrawn import struck
from components.errors import BadArchive, BadParams
from components.memory.buffer import Candidates
from components.memory.withdrawn import without
from components.params import MemoryOptions, Withdrawal, parse
from components.tasks.dataset import Faces
from components.vocabulary import REAL

Candidate = Callable[..., Candidates]


@pytest.fixture
def task(candidates: Candidate) -> Faces:
    """Six sources, three frames of a genuine and of a forged clip each."""
    table = candidates("swap").table
    table.rows["identity"] = "p" + table.rows["source"]
    return Faces.training_split("swap", table)


@pytest.mark.parametrize(
    ("named", "faces"),
    [
        ({"source": "3"}, 6),
        ({"identity": "p3"}, 6),
        ({"clip": "1/3.mp4"}, 3),
        ({"clip": "1/3.mp4", "frame": 0}, 1),
        ({"clip": "1/3.mp4", "frame": 9}, 0),
        ({"source": "33"}, 0),
    ],
)
def test_it_means_what_it_names_and_nothing_else(task: Faces, named: dict[str, Any], faces: int) -> None:
    order = Withdrawal(archive="swap", **named)
    found = struck(task.rows, [order])
    assert found.sum() == faces
    rows = task.rows[found]
    assert all((rows[column] == value).all() for column, value in named.items())
    assert not struck(task.rows, [Withdrawal(archive="mesh", **named)]).any()


def test_several_are_left_out_together_and_none_leaves_all(task: Faces) -> None:
    orders = [Withdrawal(archive="swap", source="1"), Withdrawal(archive="swap", clip="0/2.mp4")]
    left = without(task, orders)
    assert len(left) == len(task) - 6 - 3
    assert not struck(left.rows, orders).any()
    assert without(task, []).indices.tolist() == task.indices.tolist()
    assert (left.name, left.methods, left.table) == (task.name, task.methods, task.table)


def test_a_task_that_loses_a_class_is_refused_in_words(task: Faces) -> None:
    genuine = [Withdrawal(archive="swap", clip=clip) for clip in set(task.rows["clip"][task.rows["label"] == REAL])]
    with pytest.raises(BadArchive, match=r"faces in 'swap' besides the 18 that were withdrawn, found no real one\."):
        without(task, genuine)


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        ({"archive": "swap"}, "expected one of source, identity and clip of 'swap', found none"),
        ({"archive": "swap", "source": "1", "clip": "a"}, "found source, clip"),
        ({"archive": "swap", "source": "1", "frame": 3}, "expected the clip whose frame 3 is meant"),
        ({"archive": "swap", "surce": "1"}, "Did you mean 'source'"),
    ],
)
def test_a_withdrawal_that_names_nothing_or_too_much_is_refused(raw: dict[str, Any], fault: str) -> None:
    with pytest.raises(BadParams, match=fault):
        parse(MemoryOptions, {"withdrawn": [raw]}, "params.yaml")


def test_shares_beyond_the_whole_are_refused() -> None:
    with pytest.raises(BadParams, match=r"hard and representative to sum to 1 at most, found 0\.8 and 0\.3"):
        parse(MemoryOptions, {"hard": 0.8, "representative": 0.3}, "params.yaml")
    assert parse(MemoryOptions, {"hard": 0.7, "representative": 0.3}, "params.yaml").hard == 0.7
