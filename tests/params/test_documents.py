"""One dialect of YAML: what is written is read as the same by this program, by DVC and by any YAML 1.1 reader."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from dvc.utils.serialize import parse_yaml
from hypothesis import example, given
from hypothesis import strategies as st

from components.documents import dump_yaml, load_yaml, needs_quotes
from components.params import load
from flows.workspace import Workspace, template

AMBIGUOUS = (
    *("no", "on", "yes", "off", "NO", "On", "true", "null", "~", "08", "007", "0o17", "0x1f", "0b11", "1_000"),
    *("1e5", "1.e+3", "12e03", "1:30", "2026-11-26", ".inf", ".nan", "=", "<<"),
)
PLAIN = ("y", "n", "nobody", "celeb", "celeb_v2", "e5", "nan", "inf", "train", "3d_faces", "00_a")


@pytest.mark.parametrize("word", AMBIGUOUS)
def test_a_word_that_one_reader_takes_for_something_else_is_quoted(word: str) -> None:
    assert needs_quotes(word)
    assert f"'{word}'" in dump_yaml({"name": word})


@pytest.mark.parametrize("word", PLAIN)
def test_other_words_stay_plain(word: str) -> None:
    assert not needs_quotes(word)
    assert dump_yaml({word: word}) == f"{word}: {word}\n"


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1))
@example("no")
@example("08")
@example("1e5")
def test_every_reader_finds_the_text_that_was_written(text: str) -> None:
    said = {text: [text]}
    written = dump_yaml(said)
    assert load_yaml(written) == parse_yaml(written, "it") == yaml.safe_load(written) == said


def test_truth_values_are_those_of_dvc() -> None:
    words = "[yes, no, on, off, y, n, true, False]"
    assert load_yaml(words) == parse_yaml(words, "it") == ["yes", "no", "on", "off", "y", "n", True, False]


def test_nothing_but_plain_data_is_read() -> None:
    with pytest.raises(yaml.YAMLError):
        load_yaml(b"!!python/object/apply:os.getcwd []")


def test_params_keep_their_comments_and_an_archive_may_have_any_name(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(template("params.yaml"))
    names = ["no", "on", "y", "null", "08", "1e5", "123"]
    entry = {"layout": "crops", "role": "benchmark"}
    Workspace(tmp_path).rewrite(
        lambda document: document.update(archives=dict.fromkeys(names, entry), benchmarks=names)
    )
    assert list(load(path).archives) == list(load(path).benchmarks) == names
    assert list(parse_yaml(path.read_text(), path)["archives"]) == names
    assert "# Every choice." in path.read_text()
