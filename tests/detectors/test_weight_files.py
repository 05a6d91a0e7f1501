"""Files of weights: what is broken is refused in words, what is wrapped is unwrapped, and no code is ever run."""

from __future__ import annotations

import gzip
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from components import weight_files
from components.detectors.parts import backbones, clip
from components.errors import BadParams, MissingWeights, PerennialError

STATE = {f"layer{number}.weight": torch.arange(400.0).reshape(20, 20) + number for number in range(3)}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5120\n"
PAGE = b"<!DOCTYPE html><title>Not found</title>"


def new(path: Path, content: Any = STATE) -> None:
    torch.save(content, path)


def old(path: Path) -> None:
    """As torch wrote them before 1.6."""
    torch.save(STATE, path, _use_new_zipfile_serialization=False)


def safe(path: Path) -> None:
    save_file(STATE, path)


def released(path: Path) -> None:
    """In a zip around it."""
    new(path.with_name("inner"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(path.with_name("inner"), "weights.pth")


FORMS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "torch": (".pt", new),
    "torch before 1.6": (".pth", old),
    "safetensors": (".safetensors", safe),
    "zip": (".zip", released),
}
every_form = pytest.mark.parametrize(("suffix", "write"), FORMS.values(), ids=FORMS)

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "a byte": lambda whole: whole[:1],
    "a tenth": lambda whole: whole[: len(whole) // 10],
    "half": lambda whole: whole[: len(whole) // 2],
    "all but its end": lambda whole: whole[:-3],
    "page": lambda whole: PAGE,
    "pointer": lambda whole: POINTER,
    "packed": gzip.compress,
    "zeros": lambda whole: bytes(len(whole)),
}


@every_form
def test_a_whole_file_is_read(suffix: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / f"a{suffix}")
    assert same(weight_files.read(tmp_path / f"a{suffix}"), STATE)


@every_form
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_broken_file_is_an_advice(
    suffix: str, write: Callable[[Path], None], damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix}"
    write(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        MissingWeights, match=rf"in '.*a\{suffix}' \({path.stat().st_size} bytes\), found .*fetch it again"
    ):
        weight_files.read(path)


@pytest.mark.parametrize("read", [backbones.build, clip.tower], ids=["trunk", "tower"])
@pytest.mark.parametrize("name", ["half.pt", "half.safetensors"])
def test_every_reader_of_weights_gives_that_advice(read: Callable[..., object], name: str, tmp_path: Path) -> None:
    FORMS["safetensors" if name.endswith("s") else "torch"][1](tmp_path / name)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:1000])
    with pytest.raises(MissingWeights, match="fetch it again"):
        read({backbones.build: "resnet10t", clip.tower: "small"}[read], pretrained=str(tmp_path / name))


class Trap:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("sprung"),))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (Trap(), "could be code"),
        ({"state_dict": STATE, "args": Trap()}, "could be code"),
        ([1, 2], "a list"),
        ({}, "nothing"),
        ({"state_dict": {}}, "nothing"),
        (STATE | {"epoch": 3}, "an? int under 'epoch'"),
        ({"network": STATE}, "a dict under 'network'"),
    ],
)
def test_what_is_no_state_dict_is_named_and_never_run(
    content: object, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, "a.pt")
    with pytest.raises(BadParams, match=rf"'a\.pt', found .*{found}.*[Ss]ave a plain state dict"):
        weight_files.read(Path("a.pt"))
    assert not Path("sprung").exists()


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_torchscript_archive_is_code_and_is_not_run(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "script.pt"))
    with pytest.raises(BadParams, match=r"TorchScript archive, which is code.*tag.*'model\.safetensors'"):
        weight_files.read(tmp_path / "script.pt")


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": STATE, "optimizer": {"lr": 0.1}, "epoch": 3},
        {"model": OrderedDict(STATE)},
        {"model": {"state_dict": STATE}},
        {"state_dict": {"other": torch.zeros(1)}, "state_dict_ema": STATE},
        {f"module.{name}": value for name, value in STATE.items()},
        {"model": {f"module._orig_mod.{name}": value for name, value in STATE.items()}},
        {"state_dict": {f"model.{name}": value for name, value in STATE.items()}},
    ],
    ids=["checkpoint", "ordered", "twice", "averaged", "distributed", "compiled", "lightning"],
)
def test_what_training_tools_wrap_around_weights_is_taken_off(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pt")
    assert same(weight_files.read(tmp_path / "a.pt"), STATE)


def test_a_prefix_that_some_names_lack_is_a_part_of_the_names(tmp_path: Path) -> None:
    state = {"module.weight": torch.zeros(1), "head.weight": torch.ones(1)}
    save_file(state, tmp_path / "a.safetensors")
    assert same(weight_files.read(tmp_path / "a.safetensors"), state)


@pytest.mark.parametrize("place", range(0, 1200, 40))
def test_a_file_with_a_hole_is_read_or_refused_in_words(place: int, tmp_path: Path) -> None:
    for suffix, write in FORMS.values():
        path = tmp_path / f"a{suffix}"
        write(path)
        content = bytearray(path.read_bytes())
        content[place : place + 20] = content[-place - 20 : -place or None] = bytes(20)
        path.write_bytes(content)
        try:
            assert weight_files.read(path)
        except PerennialError as advice:
            assert "fetch" in str(advice).lower() or "state dict" in str(advice)


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
