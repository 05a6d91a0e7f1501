"""Who may be at work at once: one stage a device, in the order of arrival; no accelerator is needed to see it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from components.errors import BadParams
from components.generations.recipe import Recipe
from components.settings import settings
from flows import pipeline, turnstile
from flows.turnstile import Turnstile
from flows.workspace import Workspace

LISTED = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaa)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bbbb)
"""
CUT = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa)
  MIG 3g.20gb     Device  0: (UUID: MIG-1111)
  MIG 3g.20gb     Device  1: (UUID: MIG-2222)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb)
"""


class Crowd:
    """Stages in threads of their own: each takes its places and keeps them until it is told to leave."""

    def __init__(self, through: Turnstile) -> None:
        self._turnstile = through
        self._pool = ThreadPoolExecutor(32)
        self.inside: dict[str, tuple[str, ...]] = {}
        self._leaving: dict[str, threading.Event] = {}
        self._stages: dict[str, Future[None]] = {}

    def comes(self, name: str, devices: int) -> None:
        """The stage stands in its queue, or is inside, when this returns."""
        self._leaving[name] = threading.Event()
        before = self._standing()
        self._stages[name] = self._pool.submit(self._stage, name, devices)
        _until(lambda: name in self.inside or self._standing() > before)

    def leaves(self, name: str) -> None:
        self._leaving[name].set()
        self._stages[name].result(10)

    def end(self) -> None:
        for leaving in self._leaving.values():
            leaving.set()
        for stage in self._stages.values():
            stage.result(10)
        self._pool.shutdown()

    def _stage(self, name: str, devices: int) -> None:
        with self._turnstile.through(devices) as given:
            self.inside[name] = given
            self._leaving[name].wait(10)
            del self.inside[name]

    def _standing(self) -> int:
        return len(self._turnstile._for_devices) + len(self._turnstile._for_workers)


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.001)


@pytest.fixture
def crowd() -> Iterator[Callable[[Turnstile], Crowd]]:
    crowds: list[Crowd] = []

    def gather(through: Turnstile) -> Crowd:
        crowds.append(Crowd(through))
        return crowds[-1]

    yield gather
    for one in crowds:
        one.end()


def test_without_devices_as_many_stages_are_at_work_as_there_are_workers(crowd: Callable[..., Crowd]) -> None:
    stages = crowd(Turnstile(workers=2))
    for name, devices in (("a", 1), ("b", 0), ("c", 4)):
        stages.comes(name, devices)
    assert stages.inside == {"a": (), "b": ()}
    stages.leaves("a")
    _until(lambda: stages.inside == {"b": (), "c": ()})


def test_a_device_holds_one_stage_and_is_handed_to_the_next_who_waits(crowd: Callable[..., Crowd]) -> None:
    stages = crowd(Turnstile(workers=8, devices=("0", "1")))
    for name in "abc":
        stages.comes(name, 1)
    assert stages.inside == {"a": ("0",), "b": ("1",)}
    stages.leaves("b")
    _until(lambda: stages.inside == {"a": ("0",), "c": ("1",)})


def test_stages_that_share_devices_spread_over_them_first(crowd: Callable[..., Crowd]) -> None:
    stages = crowd(Turnstile(workers=1, devices=("0", "1"), per_device=2))
    for name in "abcde":
        stages.comes(name, 1)
    assert stages.inside == {"a": ("0",), "b": ("1",), "c": ("0",), "d": ("1",)}


def test_a_training_over_several_devices_is_not_overtaken_by_those_that_need_one(crowd: Callable[..., Crowd]) -> None:
    stages = crowd(Turnstile(workers=1, devices=("0", "1")))
    stages.comes("small", 1)
    stages.comes("wide", 2)
    stages.comes("late", 1)
    assert stages.inside == {"small": ("0",)}
    stages.leaves("small")
    _until(lambda: stages.inside == {"wide": ("0", "1")})
    stages.leaves("wide")
    _until(lambda: stages.inside == {"late": ("0",)})


def test_a_training_over_several_devices_has_them_to_itself(crowd: Callable[..., Crowd]) -> None:
    stages = crowd(Turnstile(workers=1, devices=("0", "1", "2"), per_device=2))
    stages.comes("small", 1)
    stages.comes("wide", 2)
    assert stages.inside == {"small": ("0",), "wide": ("1", "2")}
    stages.comes("other", 1)
    stages.comes("third", 1)
    assert stages.inside["other"] == ("0",)
    assert "third" not in stages.inside


def test_stages_that_need_no_device_do_not_wait_behind_those_that_do(crowd: Callable[..., Crowd]) -> None:
    stages = crowd(Turnstile(workers=1, devices=("0",)))
    for name, devices in (("learns", 1), ("waits", 1), ("ingests", 0), ("crops", 0)):
        stages.comes(name, devices)
    assert stages.inside == {"learns": ("0",), "ingests": ()}


def test_more_devices_than_there_are_is_an_error_that_tells_both(crowd: Callable[..., Crowd]) -> None:
    with (
        pytest.raises(BadParams, match="expected 2 devices, as the recipe says, found 1"),
        Turnstile(1, ("0",)).through(2),
    ):
        pass


def test_a_stage_that_fails_gives_its_place_back() -> None:
    through = Turnstile(workers=1, devices=("0",))
    for devices in (1, 0):
        with pytest.raises(RuntimeError), through.through(devices):
            raise RuntimeError
        with through.through(devices) as given:
            assert given == ("0",) * devices


def test_a_crowd_of_all_kinds_passes_whole_and_no_device_is_ever_given_twice() -> None:
    through, generator = Turnstile(workers=3, devices=("0", "1", "2")), random.Random(0)
    needs = [generator.choice((0, 0, 1, 1, 1, 2, 3)) for _ in range(300)]
    busy: list[str] = []
    faults: list[tuple[str, ...]] = []

    def stage(devices: int) -> None:
        with through.through(devices) as given:
            taken = given or ("a worker",)
            busy.extend(taken)
            if len(given) != devices or any(busy.count(name) > (1 if given else 3) for name in taken):
                faults.append(given)
            for name in taken:
                busy.remove(name)

    with ThreadPoolExecutor(60) as pool:
        for passed in [pool.submit(stage, devices) for devices in needs]:
            passed.result(60)
    assert faults == []


# -- which devices there are ---------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., tuple[str, ...]]]:
    """The devices a process would find with this variable, and where the driver's tool prints this."""

    def devices(variable: str | None = None, *, tool: str | None = None, device: str = "auto") -> tuple[str, ...]:
        monkeypatch.delenv(turnstile.VISIBLE, raising=False)
        monkeypatch.setenv("PERENNIAL_DEVICE", device)
        monkeypatch.setenv("PATH", str(tmp_path))
        if variable is not None:
            monkeypatch.setenv(turnstile.VISIBLE, variable)
        if tool is not None:
            program = tmp_path / "nvidia-smi"
            program.write_text(f"#!/bin/sh\n[ \"$1\" = -L ] && echo '{tool}'\n")
            program.chmod(0o755)
        settings.cache_clear()
        return turnstile.visible_devices()

    yield devices
    settings.cache_clear()


@pytest.mark.parametrize(
    ("variable", "devices"),
    [("0,2", ("0", "2")), ("", ()), ("-1", ()), ("1,-1,0", ("1",)), ("MIG-1111, GPU-aaaa", ("MIG-1111", "GPU-aaaa"))],
)
def test_the_variable_says_which_devices_there_are_as_cuda_reads_it(
    asked: Callable[..., tuple[str, ...]], variable: str, devices: tuple[str, ...]
) -> None:
    assert asked(variable, tool=LISTED) == devices


def test_without_the_variable_the_driver_is_asked(asked: Callable[..., tuple[str, ...]]) -> None:
    assert asked(tool=LISTED) == ("0", "1")
    assert asked(tool=CUT) == ("MIG-1111", "MIG-2222", "1")


def test_without_a_driver_or_where_the_settings_say_cpu_there_is_none(asked: Callable[..., tuple[str, ...]]) -> None:
    assert asked() == ()
    assert asked("0,1", device="cpu") == ()


# -- what a stage needs --------------------------------------------------------------------------------------------------


def test_a_stage_needs_the_devices_its_recipe_froze_one_or_none(workspace: Workspace) -> None:
    recipe = Recipe.model_validate(
        {
            "generation": "a-M1", "row": {"line": "a", "detector": "masm", "strategy": "er", "learns": "x", "bench": "x"},
            "detector": {"name": "masm"}, "strategy": {"name": "er"}, "memory": {}, "training": {}, "evaluation": {},
            "gate": [], "seed": 0, "machine": {"devices": 4}, "benchmarks": ["x"],
        }
    )  # fmt: skip
    recipe.write(workspace.recipes / "a-M1.yaml")
    archives = {name: {"layout": "lab", "faces": name} for name in ("none", "yunet", "retinaface")}
    workspace.rewrite(lambda document: document.update(archives=archives))
    needs = {
        "evolve@a-M1": 4, "curate@a-M1": 1, "evaluate@a-M1": 1, "calibrate@a-M1": 1, "judge@a-M1": 0,
        "publish@a": 0, "ingest@none": 0,
        "crop@none": 0, "crop@yunet": 0, "crop@retinaface": 1, "code": 0,
    }  # fmt: skip
    assert {stage: turnstile.devices_of(workspace, stage) for stage in needs} == needs


def test_a_stage_sees_the_devices_it_was_given_and_no_other(workspace: Workspace) -> None:
    (workspace.root / "dvc.yaml").write_text("stages:\n  look:\n    cmd: echo sees $CUDA_VISIBLE_DEVICES\n")
    said: list[str] = []
    for devices in (("1",), ("0", "2")):
        seen = turnstile.environment(devices)
        pipeline.reproduce(workspace.root, "look", timeout_s=60, listen=said.append, environment=seen)
    assert [line for line in said if line.startswith("sees")] == ["sees 1", "sees 0,2"]
    assert turnstile.environment(()) == {}
