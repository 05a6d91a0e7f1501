"""params.yaml in types: every fault at once, each with its place and what to write instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from components import detectors, strategies
from components.errors import BadParams
from components.params import Archive, CropOptions, MemoryOptions, Params, load, parse

ROOT = Path(__file__).parents[2]


def faults(raw: Any) -> list[str]:
    """The lines of advice `raw` earns."""
    with pytest.raises(BadParams) as caught:
        parse(Params, raw, "params.yaml")
    head, *lines = str(caught.value).splitlines()
    assert head == "params.yaml cannot be followed:"
    return lines


def archives(**roles: str) -> dict[str, Any]:
    """Archives that landed one after another."""
    names = list(roles)
    return {
        n: {"layout": "lab", "role": roles[n], "after": before}
        for n, before in zip(names, ["nobody", *names], strict=False)
    }


def test_the_repository_s_own_params_can_be_followed() -> None:
    params = load(ROOT / "params.yaml")
    assert params.gate and params.lines
    for line in params.lines.values():
        detectors.options(line.detector, params.detectors.get(line.detector, {}))
        strategies.options(line.strategy, params.strategies.get(line.strategy, {}))


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("# nothing said\n")
    assert load(tmp_path / "params.yaml") == Params()


def test_every_fault_is_reported_at_once_with_its_place() -> None:
    lines = faults(
        {
            "seed": "luck",
            "training": {"batch": 1, "learning_rate": -1},
            "faces": {"size": 256},
            "memory": {"policy": "all"},
            "lines": {"first": {"detector": "rsia_net"}},
        }
    )
    places = {line.strip().split(":")[0] for line in lines}
    assert places == {
        "seed", "training.batch", "training.learning_rate", "faces.size", "memory.policy", "lines.first.strategy"
    }  # fmt: skip
    assert any("found 'luck'" in line for line in lines)


@pytest.mark.parametrize(
    ("raw", "place", "hint"),
    [
        ({"benchmark": []}, "benchmark", "benchmarks"),
        ({"training": {"learning_rat": 1}}, "training.learning_rat", "learning_rate"),
        ({"archives": {"swap": {"layout": "lab", "rôle": "both"}}}, "archives.swap.rôle", "role"),
        ({"lines": {"x": {"detectr": "a", "strategy": "b"}}}, "lines.x.detectr", "detector"),
    ],
)
def test_a_misspelt_key_is_shown_the_nearest_known_one(raw: dict[str, Any], place: str, hint: str) -> None:
    (line,) = [line for line in faults(raw) if "unknown key" in line]
    assert line.startswith(f"  {place}: unknown key; known: ")
    assert line.endswith(f"Did you mean '{hint}'?")


def test_a_misspelt_key_inside_a_rule_is_shown_that_rule_s_own_keys() -> None:
    lines = faults({"gate": [{"rule": "infra"}, {"rule": "forgetting", "max_mean": 0.1, "max_wrost": 0.2}]})
    assert len(lines) == 1
    assert "gate.1.forgetting.max_wrost: unknown key" in lines[0]
    assert "known: max_mean, max_worst, rule. Did you mean 'max_worst'?" in lines[0]


def test_an_unknown_rule_is_shown_the_known_ones() -> None:
    (line,) = faults({"gate": [{"rule": "absolut", "min_auc": 0.5}]})
    assert line.startswith("  gate.0:")
    assert all(f"'{rule}'" in line for rule in ("absolute", "relative", "forgetting", "infra"))


def test_long_values_are_shortened() -> None:
    (line,) = faults({"sequence": "x" * 500})
    assert len(line) < 200 and line.endswith("...")


@pytest.mark.parametrize("name", ["Swap", "../swap", "a b", "", "_x"])
def test_names_that_would_be_odd_paths_are_refused(name: str) -> None:
    assert faults({"archives": {name: {"layout": "lab"}}})
    assert faults({"lines": {name: {"detector": "a", "strategy": "b"}}})


def test_all_disagreeing_names_are_reported_at_once() -> None:
    (text,) = faults(
        {
            "archives": archives(swap="both", web="benchmark") | {"late": {"layout": "lab", "after": "later"}},
            "sequence": ["swap", "swap", "web", "mesh"],
            "benchmarks": ["mask"],
        }
    )
    for advice in (
        "sequence names archive 'mesh', which has not landed; landed: swap, web, late",
        "`perennial land mesh PATH --layout LAYOUT`",
        "benchmarks names archive 'mask'",
        "sequence names 'swap' twice",
        "sequence names 'web', which landed as a benchmark and is never trained on",
        "archives.late.after is 'later', which is not an archive above it",
    ):
        assert advice in text


def test_an_archive_may_only_come_after_one_above_it() -> None:
    raw = {"archives": {"swap": {"layout": "lab", "after": "mesh"}, "mesh": {"layout": "lab"}}}
    assert "archives.swap.after is 'mesh'" in faults(raw)[0]
    assert parse(Params, {"archives": archives(swap="both", mesh="task")}, "").archives["mesh"].after == "swap"


def test_no_file_is_told_apart_from_a_bad_one(tmp_path: Path) -> None:
    with pytest.raises(BadParams, match=r"expected a params.yaml at '.*', found none"):
        load(tmp_path / "params.yaml")


@pytest.mark.parametrize("content", [b"seed: [1", b"\x80\x81: 1", b"a: b: c"])
def test_a_file_that_is_no_yaml_is_refused_in_words(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(BadParams, match=r"expected YAML in '.*params.yaml', found something else"):
        load(tmp_path / "params.yaml")


@pytest.mark.parametrize("content", ["- 1\n- 2\n", "just words\n", "0\n", "[]\n"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "params.yaml").write_text(content)
    with pytest.raises(BadParams, match=r"\(whole file\)"):
        load(tmp_path / "params.yaml")


def test_what_was_read_cannot_be_changed() -> None:
    faces = CropOptions()
    with pytest.raises(ValidationError, match="frozen"):
        faces.frames = 1


def test_params_survive_being_written_and_read(tmp_path: Path) -> None:
    params = load(ROOT / "params.yaml").model_copy(update={"archives": {"swap": Archive(layout="lab")}})
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    assert load(tmp_path / "params.yaml") == params


def test_shares_beyond_the_whole_are_refused() -> None:
    with pytest.raises(BadParams, match=r"hard and representative to sum to 1 at most, found 0\.8 and 0\.3"):
        parse(MemoryOptions, {"hard": 0.8, "representative": 0.3}, "params.yaml")
    assert parse(MemoryOptions, {"hard": 0.7, "representative": 0.3}, "params.yaml").hard == 0.7
