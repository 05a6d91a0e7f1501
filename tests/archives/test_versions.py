"""What a later version of an archive changes, and what would leak."""

from __future__ import annotations

import pandas as pd

from components.archives.versions import Changes, compare, torn

COLUMNS = ["path", "sha256", "label", "method", "identity", "source", "split"]
BEFORE = pd.DataFrame(
    [
        ("a", "1", 0, "genuine", "", "s1", "train"),
        ("b", "2", 1, "swap", "", "s1", "train"),
        ("c", "3", 0, "genuine", "", "s2", "test"),
        ("d", "4", 1, "swap", "", "s2", "test"),
    ],
    columns=COLUMNS,
)


def changed(**rows: tuple[object, ...] | None) -> pd.DataFrame:
    """BEFORE with rows by path put in place of what is there; None: gone."""
    known = {row[0]: tuple(row) for row in BEFORE.itertuples(index=False)}
    return pd.DataFrame([row for row in (known | rows).values() if row is not None], columns=COLUMNS)


def test_the_same_archive_changes_nothing() -> None:
    found = compare(BEFORE, BEFORE.sample(frac=1, random_state=0))
    assert found == Changes() and not found
    assert found.words == "nothing"


def test_every_kind_of_change_is_told_apart() -> None:
    after = changed(
        a=("a", "9", 0, "genuine", "", "s1", "train"),
        b=None,
        moved=("moved", "2", 1, "swap", "", "s1", "train"),
        c=("c", "3", 1, "swap", "", "s2", "test"),
        d=None,
        e=("e", "5", 1, "swap", "", "s3", "train"),
    )
    found = compare(BEFORE, after)
    assert found == Changes(added=("e",), removed=("d",), replaced=("a",), moved=("moved",), relabelled=("c",))
    assert found.words == "1 added (e), 1 removed (d), 1 replaced (a), 1 moved (moved), 1 relabelled (c)"


def test_another_split_alone_is_said() -> None:
    assert compare(BEFORE, changed(c=("c", "3", 0, "genuine", "", "s2", "val"))).split_anew == ("c",)


def test_a_source_or_its_bytes_in_another_split_are_found_under_any_name() -> None:
    assert torn(BEFORE, BEFORE) == []
    assert torn(BEFORE, changed(e=("e", "5", 1, "swap", "", "new", "test"))) == []
    assert torn(BEFORE, changed(e=("e", "5", 1, "swap", "", "s1", "test"))) == ["e"]
    assert torn(BEFORE, changed(e=("e", "1", 0, "genuine", "", "new", "test"), a=None)) == ["e"]
    assert torn(BEFORE, changed(c=("c", "3", 0, "genuine", "", "s2", "train"))) == ["c"]
