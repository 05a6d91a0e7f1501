"""Which stages may be at work at once: on a machine with accelerators one stage a device, elsewhere as many as it has cores.

    with turnstile.through(1) as devices:      # ("0",): waits until a device is free
        ...

Who waits is let through in the order of arrival, so that a training that needs several devices is not overtaken for ever
by those that need one. Who was let through never waits for more, so nobody waits for somebody who waits.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from threading import Condition

from components.errors import BadParams
from components.generations.recipe import Recipe
from components.settings import settings
from flows.workspace import Workspace

VISIBLE = "CUDA_VISIBLE_DEVICES"
ON_DEVICE = frozenset({"evolve", "curate", "evaluate", "calibrate", "examine"})
"""Stages that compute on an accelerator where there is one. `judge` asks its known question on the CPU."""
SEARCHES_ON_DEVICE = frozenset({"retinaface"})
"""Face detectors that do; with the others `crop` computes on the CPU."""


class Turnstile:
    """Places for stages: `per_device` on every device, and `workers` for those that need none.

    Where there is no device, every stage is one that needs none.
    """

    def __init__(self, workers: int, devices: Sequence[str] = (), per_device: int = 1) -> None:
        self._workers = workers
        self._free = dict.fromkeys(devices, per_device)
        self._per_device = per_device
        self._moved = Condition()
        self._for_devices: deque[object] = deque()
        self._for_workers: deque[object] = deque()

    @contextmanager
    def through(self, devices: int) -> Iterator[tuple[str, ...]]:
        """Wait for so many devices at once, for a worker's place where it is none; gives the devices' names.

        One device may be shared with other stages, as many as have places on it. Several are taken whole, because their
        ranks wait for one another. Raises BadParams for more devices than there are.
        """
        if self._free and devices > len(self._free):
            raise BadParams(
                f"expected {devices} devices, as the recipe says, found {len(self._free)}: {', '.join(self._free)}. "
                f"Make more of them visible ({VISIBLE}), or run it on a machine that has them."
            )
        places = self._waited_for(devices)
        try:
            yield tuple(places)
        finally:
            self._leave(places)

    def _waited_for(self, devices: int) -> dict[str, int]:
        """Places taken by device; none where a worker's place was."""
        needed = devices if self._free else 0
        queue, me = self._for_devices if needed else self._for_workers, object()
        with self._moved:
            queue.append(me)
            try:
                self._moved.wait_for(lambda: queue[0] is me and self._has_room(needed))
            finally:
                queue.remove(me)
                self._moved.notify_all()  # who stands next may have room as well
            places = self._chosen(needed)
            for device, taken in places.items():
                self._free[device] -= taken
            if not needed:
                self._workers -= 1
            return places

    def _leave(self, places: Mapping[str, int]) -> None:
        with self._moved:
            for device, taken in places.items():
                self._free[device] += taken
            if not places:
                self._workers += 1
            self._moved.notify_all()

    def _has_room(self, needed: int) -> bool:
        return len(self._chosen(needed)) == needed if needed else self._workers > 0

    def _chosen(self, needed: int) -> dict[str, int]:
        """The emptiest device, or the first so many that nobody uses; fewer where there are not so many."""
        if needed > 1:
            empty = [device for device, free in self._free.items() if free == self._per_device]
            return dict.fromkeys(empty[:needed], self._per_device)
        emptiest = max(self._free, key=lambda device: self._free[device], default="")
        return {emptiest: 1} if needed and self._free[emptiest] else {}


@cache
def turnstile() -> Turnstile:
    """The one of this process, as the settings and the machine have it."""
    return Turnstile(settings().workers, visible_devices(), settings().stages_per_device)


def devices_of(workspace: Workspace, stage: str) -> int:
    """How many devices a stage instance computes on: what its recipe froze for `evolve`, one for others that use one."""
    kind, _, name = stage.partition("@")
    if kind == "evolve":
        return Recipe.read(workspace.recipes / f"{name}.yaml").machine.devices
    if kind == "crop":
        return int(workspace.params().archives[name].faces in SEARCHES_ON_DEVICE)
    return int(kind in ON_DEVICE)


def environment(devices: Sequence[str]) -> dict[str, str]:
    """What makes a process see these devices alone; nothing where there are none to choose from."""
    return {VISIBLE: ",".join(devices)} if devices else {}


def visible_devices() -> tuple[str, ...]:
    """CUDA's devices by the names that ``CUDA_VISIBLE_DEVICES`` takes, without importing torch.

    None where the settings name another kind of device, or the driver's tool does not answer.
    """
    if settings().device not in ("auto", "cuda"):
        return ()
    said = os.environ.get(VISIBLE)
    if said is not None:
        return _said(said)
    try:
        asked = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return listed(asked.stdout) if asked.returncode == 0 else ()


def _said(variable: str) -> tuple[str, ...]:
    """As CUDA reads it: what stands behind a name that is none, such as -1, does not count."""
    names: list[str] = []
    for name in map(str.strip, variable.split(",")):
        if not name or name.startswith("-"):
            break
        names.append(name)
    return tuple(names)


def listed(text: str) -> tuple[str, ...]:
    """What ``nvidia-smi -L`` lists: numbers of whole devices, and of one that is cut in instances (MIG) those by UUID."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if whole := re.match(r"GPU (\d+):", line):
            found[whole[1]] = []
        elif found and (part := re.match(r"\s+MIG .*\(UUID: (MIG-[^)]+)\)", line)):
            found[next(reversed(found))].append(part[1])
    return tuple(name for number, parts in found.items() for name in (parts or [number]))
