"""The page of a line says what its files say, needs nothing else, and is the same bytes from the same files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from components.errors import BrokenLineage
from components.evaluation import late, point_files
from components.gates.verdict import VERDICT_FILE
from components.generations.card import read_card
from components.reports import PAGE_FILE
from components.reports.publish import publish
from components.reports.terms import TERMS

ROOT = Path(__file__).parents[2]
VOID = {"meta", "link", "img", "br"}


class WellFormed(HTMLParser):
    """Every tag that opens closes, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data.strip())


def page_of(root: Path, last: str, page: Path, examined: str = "nobody", **keywords) -> str:
    data = root / "data"
    folders = [data / kind for kind in ("verdicts", "scores", "generations", "faces")]
    publish(
        *folders, data / "examinations" / examined, page, page / "metrics.json", page / "plots", last=last, **keywords
    )
    return (page / PAGE_FILE).read_text()


@pytest.fixture(scope="module")
def grown(grow) -> Path:
    return grow(3)


@pytest.fixture(scope="module")
def html(grown, tmp_path_factory) -> str:
    return page_of(grown, "rsia-M3", tmp_path_factory.mktemp("page"), beside="finetune")


def test_the_page_tells_the_whole_story(html):
    for section in ("Family tree", "What each generation knows", "What was forgotten", "At one threshold", "What the gate said",
                    "Most wrong", "How it learned"):  # fmt: skip
        assert f"<h2>{section}</h2>" in html
    assert "<b>rsia-M3</b> answers, and knows deepfakes (0.82), face2face (0.86), faceswap (0.90)." in html
    assert html.count('<td class="learned"') == 3 and html.count('<td class="future"') == 3
    assert "cross_entropy" in html and "distil" in html


def test_the_page_tells_of_the_threshold_the_ladder_and_who_has_none(grow, tmp_path):
    root = grow(2)
    folder = root / "data/verdicts/rsia-M2"
    verdict = json.loads((folder / VERDICT_FILE).read_text())
    standing = {"balanced_accuracy": 0.812, "calibration_error": 0.054, "false_alarms": {"face2face": 0.031}}
    (folder / VERDICT_FILE).write_text(json.dumps({**verdict, "standing": standing}))
    alarms = {"value": 0.047, "low": 0.01, "high": 0.1, "reason": None}
    rows = [{"low": p / 10, "high": p / 10 + 0.1, "clips": 9, "mean": p / 10, "forged": p / 10} for p in (1, 9)]
    point = {"threshold": 0.7314, "found": {"cllr": 0.22, "false_alarms": alarms, "reliability": rows}}
    climbed = {"face2face": {"faces": 64, "clean": 0.95, "rungs": {"jpeg_50": 0.61}}}
    point_files.write(folder, {"point": point, "reason": None, "ladder": climbed})
    html = page_of(root, "rsia-M2", tmp_path)
    for words in ("At one threshold", "0.731", "0.047", "face2face 0.031", "0.812", "0.220", "0.054", "Faces made worse",
                  "jpeg 50", "0.61", "64 faces", "Reliability on validation clips"):  # fmt: skip
        assert words in html, words
    assert html.count("no operating point: it was raised before there were operating points") == 1
    parser = WellFormed()
    parser.feed(html)
    assert parser.open == []


def test_the_page_is_well_formed(html):
    parser = WellFormed()
    parser.feed(html)
    assert parser.open == []


def test_the_page_fetches_nothing(html):
    sources = re.findall(r'(?:src|href)="([^"]*)"|url\(([^)]*)\)', html)
    elsewhere = [a or b for a, b in sources if not (a or b).startswith(("data:", "#"))]
    others = ["../../index.html", "../finetune/index.html", "../../data_docs/index.html", "../../asked/rsia/index.html"]
    assert elsewhere == others, "links to other pages alone leave it"
    assert "<script" not in html and "@import" not in html


def test_the_same_files_give_the_same_bytes_in_another_process(grown, html, tmp_path):
    data = [
        str(grown / "data" / part) for part in ("verdicts", "scores", "generations", "faces", "examinations/nobody")
    ]
    command = [
        sys.executable,
        "-m",
        "components.reports.publish",
        *data,
        *map(str, (tmp_path, tmp_path / "metrics.json", tmp_path / "plots")),
        "--last",
        "rsia-M3",
    ]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([*command, "--beside", "finetune"], check=True, cwd=ROOT, env=environment)
    assert (tmp_path / PAGE_FILE).read_text() == html


def test_tiles_tell_of_one_generation_the_champion_where_there_is_one(grow, tmp_path):
    html = page_of(grow(3, opens=False), "rsia-M3", tmp_path)
    tiles = re.search(r'<dl class="tiles">(.*?)</dl>', html, re.DOTALL)[1]
    assert re.findall(r"<dd>(.*?)<small>(.*?)</small>", tiles) == [
        ("M1", "learned deepfakes last"), ("0.900", "of what M1 was taught"), ("–", "nothing older"),
        ("3", "the gate opened for 1"),
    ]  # fmt: skip


def test_the_gate_is_a_table_of_value_limit_and_verdict_with_words_where_a_rule_refused(grow, tmp_path):
    root = grow(1)
    file = root / "data/verdicts/rsia-M1" / VERDICT_FILE
    rules = [
        {"rule": "absolute", "benchmark": "deepfakes", "measured": {"auc": 0.9}, "required": {"min_auc": 0.7},
         "passed": True, "words": "high enough"},
        {"rule": "forgetting", "measured": {"mean": 0.4, "per_task": {}}, "required": {"max_mean": 0.15},
         "passed": False, "words": "too much was forgotten"},
        {"rule": "infra", "measured": {"difference": 0.0}, "required": {"max_difference": 1e-4, "max_seconds": 120.0},
         "passed": True, "words": "it answers alike"},
        {"rule": "relative", "passed": None, "words": "nobody to compare with"},
        {"rule": "relative", "benchmark": "mask", "measured": {"drop": 0.6}, "required": {"max_drop": 0.1}, "passed": True,
         "words": "that may be chance"},
    ]  # fmt: skip
    file.write_text(json.dumps({**json.loads(file.read_text()), "rules": rules}))
    html = page_of(root, "rsia-M1", tmp_path)
    rows = [
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)
        for row in re.findall(r'<tr class="(?:true|false|null)" .*?</tr>', html, re.DOTALL)
    ]
    assert rows == [
        ["absolute", "deepfakes", "0.900", "≥ 0.700", "✓ passed"],
        ["forgetting", "", "0.400", "≤ 0.150", "✕ refused"],
        ["infra", "", "0", "≤ 0.0001", "✓ passed"],
        ["relative", "", "", "", "– skipped"],
        ["relative", "mask", "0.600", "≤ 0.100", "✓ passed"],
    ]
    assert re.findall(r'<td colspan="5">(.*?)</td>', html) == [
        "too much was forgotten", "nobody to compare with", "that may be chance",
    ]  # fmt: skip


def test_whatever_scrolls_can_be_reached_by_keyboard_and_has_a_name(html):
    scrolling = re.findall(r'<div class="scroll[^>]*>', html)
    assert len(scrolling) >= 5
    assert all('tabindex="0" role="region" aria-label="' in tag for tag in scrolling)


def test_terms_of_the_loss_are_explained(html):
    assert "<dt>cross_entropy</dt><dd>how wrong genuine-or-forged was on the faces of the batch</dd>" in html


def test_every_term_that_weighs_something_in_a_strategy_is_explained():
    from components import strategies

    terms = {term for name in strategies.names() for term in strategies.find(name).terms}
    assert terms and terms - set(TERMS) == set()


def test_numbers_for_dvc_lie_beside_the_page(grown, html, tmp_path):
    page_of(grown, "rsia-M3", tmp_path)
    numbers = json.loads((tmp_path / "metrics.json").read_text())
    assert (numbers["generation"], numbers["champion"], numbers["opens"]) == ("rsia-M3", "rsia-M3", 1)
    assert numbers["auc"] == pytest.approx({"deepfakes": 0.82, "face2face": 0.86, "faceswap": 0.9})
    files = {path.relative_to(tmp_path / "plots").as_posix(): path for path in (tmp_path / "plots").rglob("*.csv")}
    assert files["forgetting/face2face.csv"].read_text() == "generation,auc\n2,0.9\n3,0.86\n"
    assert files["curves/rsia-M1/cross_entropy.csv"].read_text() == "epoch,loss\n0.0,0.7\n1.0,0.5\n"
    assert sorted(path for path in files if path.startswith("matrix/")) == [
        f"matrix/rsia-M{number}.csv" for number in (1, 2, 3)
    ]


def test_a_founder_alone_has_a_page(grow, tmp_path):
    html = page_of(grow(1), "rsia-M1", tmp_path)
    assert "After 1 generation, <b>rsia-M1</b> answers" in html
    assert 'title="nothing older">–</td>' in html


def test_a_generation_that_was_refused_stands_beside_the_champion_that_stayed(grow, tmp_path):
    html = page_of(grow(2, opens=False), "rsia-M2", tmp_path)
    assert "<b>rsia-M1</b> answers" in html and "M2 was raised after it and refused." in html
    assert "stays closed" in html


def test_what_was_not_measured_is_a_dash_with_its_reason(grow, tmp_path):
    html = page_of(grow(2, undefined=True), "rsia-M2", tmp_path)
    assert 'title="one class only">–</td>' in html


def test_words_from_data_cannot_become_markup(grow, tmp_path):
    html = page_of(grow(2, opens=False, method="<script>alert(1)</script>"), "rsia-M2", tmp_path)
    assert "<script" not in html and "fell &lt;b&gt;too far&lt;/b&gt;" in html


def test_names_that_look_like_markup_stay_names(grow, tmp_path):
    names = ('<b>&"', "'<u onload='", "x&amp;y")
    root = grow(2, line=names[0], tasks=names, method=names[1])
    page = page_of(root, f"{names[0]}-M2", tmp_path, beside=names[1])
    parser = WellFormed()
    parser.feed(page)
    assert parser.open == [] and "<u " not in page and '<b>&"' not in page
    assert {*names, f"learned {names[1]} last"} <= set(parser.texts), "a reader sees them as they are"
    assert 'href="../%27%3Cu%20onload%3D%27/index.html"' in page


def test_the_page_says_what_code_raised_whom(grow, tmp_path):
    html = page_of(grow(3, codes=(None, "a" * 64, "b" * 64)), "rsia-M3", tmp_path)
    assert "code before 0.2" in html and f"<code>{'a' * 64}</code>" in html and f"<code>{'b' * 64}</code>" in html
    assert html.count("raised by older code") == 2 and html.count(">older code</text>") == 2


@pytest.mark.parametrize("code", [None, "a" * 64])
def test_a_line_raised_by_one_code_has_no_mark(grow, tmp_path, code):
    html = page_of(grow(2, codes=(code, code)), "rsia-M2", tmp_path)
    assert ">older code<" not in html and "raised by older code" not in html


def test_a_verdict_on_other_weights_is_named(grow, tmp_path):
    root = grow(2)
    verdict = root / "data/verdicts/rsia-M1" / VERDICT_FILE
    said = json.loads(verdict.read_text())
    said["candidate"]["weights"] = "f" * 64
    verdict.write_text(json.dumps(said))
    with pytest.raises(BrokenLineage, match=r"verdicts/rsia-M1/verdict\.json' to speak of weights"):
        page_of(root, "rsia-M2", tmp_path)


def test_a_missing_verdict_is_named(grow, tmp_path):
    root = grow(2)
    (root / "data/verdicts/rsia-M1" / VERDICT_FILE).unlink()
    with pytest.raises(BrokenLineage, match=r"verdicts/rsia-M1/verdict\.json"):
        page_of(root, "rsia-M2", tmp_path)


def test_the_page_shows_cells_that_were_measured_after_the_verdict(grow, tmp_path):
    root = grow(2)
    weights = read_card(root / "data/generations/rsia-M1")["weights"]
    cell = {"auc": {"value": 0.6123, "low": 0.55, "high": 0.67, "reason": None}}
    found = root / "data/examinations/rsia-M1_on_mask"
    found.mkdir(parents=True)
    late.write(found, [late.Cell("rsia-M1", "mask", weights, cell), late.Cell("rsia-M2", "mask", "gone", cell)])
    told = page_of(root, "rsia-M2", tmp_path / "page", examined="rsia-M1_on_mask")
    assert "Measured after the verdict: rsia-M1 on mask." in told
    assert "M1 on mask: AUC 0.6123, interval 0.55–0.67" in told and "M2 on mask" not in told
    assert "Examined only, not learned so far: faceswap, mask." in told
    assert "Measured after" not in page_of(root, "rsia-M2", tmp_path / "before")
