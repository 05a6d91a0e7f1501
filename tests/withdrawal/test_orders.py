"""What a withdrawal means: exactly the rows it names, in the archive it names; and the file that says so to a stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.errors import BadArchive, BadParams, BrokenLineage
from components.faces.table import FaceTable, encode
from components.orders import as_text, named, read, struck, write
from components.params import Params, Withdrawal, parse
from components.tasks.dataset import Faces
from components.vocabulary import GENUINE, LABELS, REAL, TRAIN


@pytest.fixture
def task(tmp_path: Path) -> Faces:
    """Six sources, three frames of a genuine and of a forged clip each."""
    rows = [
        {
            "archive": "swap", "clip": f"{label}/{source}.mp4", "frame": frame, "label": label,
            "method": GENUINE if label == REAL else "swap", "identity": f"p{source}", "source": f"{source}",
            "split": TRAIN, "landmarks": [0.0] * 10, "box": [0.0] * 4, "score": 1.0,
        }
        for source in range(6) for label in LABELS for frame in range(3)
    ]  # fmt: skip
    grey = encode(np.full((8, 8, 3), 128, np.uint8))
    table = FaceTable.write(tmp_path / "swap", pd.DataFrame(rows), [grey] * len(rows), {"detector": "formula"})
    return Faces.training_split("swap", table)


@pytest.mark.parametrize(
    ("what", "faces"),
    [
        ({"source": "3"}, 6),
        ({"identity": "p3"}, 6),
        ({"clip": "1/3.mp4"}, 3),
        ({"clip": "1/3.mp4", "frame": 0}, 1),
        ({"clip": "1/3.mp4", "frame": 9}, 0),
        ({"source": "33"}, 0),
    ],
)
def test_it_means_what_it_names_and_nothing_else(task: Faces, what: dict[str, Any], faces: int) -> None:
    order = Withdrawal(archive="swap", **what)
    found = struck(task.rows, [order])
    assert found.sum() == faces
    rows = task.rows[found]
    assert all((rows[column] == value).all() for column, value in what.items())
    assert not struck(task.rows, [Withdrawal(archive="mesh", **what)]).any()


def test_several_are_left_out_together_and_none_leaves_all(task: Faces) -> None:
    orders = [Withdrawal(archive="swap", source="1"), Withdrawal(archive="swap", clip="0/2.mp4")]
    left = task.without(orders)
    assert len(left) == len(task) - 6 - 3
    assert not struck(left.rows, orders).any()
    assert task.without([]).indices.tolist() == task.indices.tolist()
    assert (left.name, left.methods, left.table) == (task.name, task.methods, task.table)


def test_a_task_that_loses_a_class_is_refused_in_words(task: Faces) -> None:
    genuine = [Withdrawal(archive="swap", clip=clip) for clip in set(task.rows["clip"][task.rows["label"] == REAL])]
    with pytest.raises(BadArchive, match=r"faces in 'swap' besides the 18 that were withdrawn, found no real one\."):
        task.without(genuine)


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
        parse(Params, {"withdrawn": [raw]}, "params.yaml")


def test_where_version_0_1_kept_the_list_the_way_out_is_told() -> None:
    with pytest.raises(BadParams, match=r"expected `withdrawn` at the top level.*found it under `memory`.*upgrade"):
        parse(Params, {"memory": {"withdrawn": []}}, "params.yaml")


def test_a_command_that_names_several_things_or_a_frame_of_nothing_is_refused() -> None:
    with pytest.raises(BadParams, match=r"found source and identity\. Withdraw one after another"):
        named("swap", source="s1", identity="p1")
    with pytest.raises(BadParams, match="expected one --clip beside --frame 3, found 2"):
        named("swap", clips=["a", "b"], frame=3)
    assert named("swap", clips=["a", "b"]) == [Withdrawal(archive="swap", clip=clip) for clip in ("a", "b")]
    assert named("swap") == []


ORDERS = (
    Withdrawal(archive="swap", source="133_097"),
    Withdrawal(archive="swap", clip="a clip: with 'signs'.mp4", frame=0),
    Withdrawal(archive="swap", clip="a clip: with 'signs'.mp4"),
    Withdrawal(archive="mesh", identity="no"),
    Withdrawal(archive="mesh", identity="Zoë"),
)


def test_a_file_says_what_was_written_and_the_same_withdrawals_are_the_same_bytes(tmp_path: Path) -> None:
    file = tmp_path / "withdrawals" / "archives" / "swap.yaml"
    assert write(file, ORDERS)
    assert set(read(file)) == set(ORDERS) and len(read(file)) == len(ORDERS)
    assert as_text([*reversed(ORDERS), ORDERS[0]]) == file.read_text()
    assert write(file, []) and read(file) == ()
    assert [path.name for path in file.parent.iterdir()] == ["swap.yaml"]


def test_a_file_that_says_the_same_already_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "swap.yaml"
    write(file, ORDERS)
    before = file.stat()
    assert not write(file, reversed(ORDERS))
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_no_file_is_not_taken_for_nothing_withdrawn(tmp_path: Path) -> None:
    with pytest.raises(BrokenLineage, match=r"expected a file .* found none\. `perennial run` writes it"):
        read(tmp_path / "swap.yaml")
    (tmp_path / "swap.yaml").write_text("withdrawn: [{archive: swap, surce: s1}]")
    with pytest.raises(BadParams, match="Did you mean 'source'"):
        read(tmp_path / "swap.yaml")
