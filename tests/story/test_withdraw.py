"""Somebody withdraws: who was raised before stays as it was, and whoever is raised after never meets them."""

from __future__ import annotations

import json

import pandas as pd
import pyarrow.parquet as pq
import pytest

from components.memory.buffer import Memory

pytestmark = pytest.mark.slow


def remembered(place, name: str) -> pd.DataFrame:
    table = Memory.load(place.root / "data" / "memories" / name).table
    assert table is not None
    return table.rows


@pytest.fixture(scope="module")
def asked(raised, copied):
    """A copy of `raised` from which a source that is remembered was withdrawn, its name, and what was printed."""
    place = copied(raised)
    source = remembered(place, "cffd-M2").query("archive == 'first'")["source"].iloc[0]
    return place, source, place.perennial("withdraw", source, "--archive", "first", "--why", "asked by letter")


def test_nothing_that_was_raised_before_is_raised_again(raised, asked):
    place, source, printed = asked
    assert f"source '{source}' of 'first': will never be learned or replayed again." in printed
    assert "cffd-M1 learned" in printed and "cffd-M2 has a memory without it now" in printed
    assert source not in set(remembered(place, "cffd-M2").query("archive == 'first'")["source"])
    changed = {name for name in raised.outs if place.outs[name] != raised.outs[name]}
    assert changed == {"curate@cffd-M2"}
    assert "up to date" in place.dvc("status")
    assert "Everything is up to date" in place.perennial("run")
    assert "Running stage" not in place.dvc("repro")
    history = json.loads(place.perennial("history", "--json"))
    assert [entry["action"] for entry in history] == ["promote", "promote", "withdraw"]
    assert history[-1]["what"] == {"archive": "first", "source": source}
    assert "asked by letter" in place.perennial("history")


def test_a_generation_raised_after_it_was_told_and_never_met_it(asked, archives, copied):
    place, source = copied(asked[0]), asked[1]
    place.land("third", archives["third"])
    clips = pq.read_table(place.root / "data" / "manifests" / "third" / "manifest.parquet").to_pandas()
    clip = clips.query("split == 'train'")["path"].iloc[0]  # so few people: without a whole one no task would be left
    said = place.perennial("withdraw", "--archive", "third", "--clip", clip, "--frame", "0")
    assert "no generation has met it" in said
    outcome = place.lifecycle()
    assert (outcome["failed"], outcome["planned"]) == ({}, ["cffd-M3"])
    card = json.loads((place.root / "data" / "generations" / "cffd-M3" / "card.json").read_text())
    assert card["withdrawn"] == [{"archive": "first", "source": source}, {"archive": "third", "clip": clip, "frame": 0}]
    table = remembered(place, "cffd-M3")
    assert source not in set(table.query("archive == 'first'")["source"])
    assert table.query("archive == 'third' and clip == @clip and frame == 0").empty
    assert "Running stage" not in place.dvc("repro")
