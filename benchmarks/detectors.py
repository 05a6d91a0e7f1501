"""How fast every detector learns and scores, and what memory it takes, in float32 and under bf16 autocast.

    python -m benchmarks.detectors [--device cuda|cpu] [--size paper|tiny] [--detectors NAME …] [--batch N] [--threads N]
                                   [--steps 10] [--repeats 5] [--warm-up 3] [--out FILE]
                                   [--channels-last] [--fused] [--compile MODE] [--deterministic]
                                   [--cudnn-benchmark]

Weights are random, faces are noise, the batch is that of the detector's recipe unless one is named. Prints a table in
Markdown under a line that names the machine: medians over the repeats, each of which takes some steps and then scores as
many batches. Loading and augmenting faces is not in it. A detector that fails has its row, and the exit code is 1.
Operators are those of one step without the optimiser's, views left out: about as many kernels as an accelerator is
given. Shares are of the dense bf16 ceiling of the chip where it is known, products alone counted.
`--batch 2 --steps 1 --repeats 1 --warm-up 0` asks only whether a size works here at all.
"""

from __future__ import annotations

import argparse
import copy
import gc
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.optim import SGD, Adam
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.ratios import processor
from components import detectors
from components.evaluation import cost
from components.params import TrainingOptions, parse
from components.tasks.dataset import Batch

PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16}
MODES = ("default", "reduce-overhead", "max-autotune")
HEADER = """\
| detector | precision | batch | steps/s | faces/s learning | % of ceiling | MB learning | operators | faces/s scoring | \
% of ceiling | MB scoring |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"""
COLUMNS = 9  # after detector and precision
CEILINGS = {
    "H100": 989e12,
    "H200": 989e12,
    "A100": 312e12,
}  # FLOP/s in bf16 without sparsity, by the maker's data sheets


@dataclass(frozen=True)
class Pace:
    """Of one detector at one precision."""

    batch: int
    step_s: float
    scoring_s: float
    took: cost.Measured
    scoring_flops: int
    """Of a batch."""
    operators: int
    ceiling: float | None
    """FLOP/s; None where nobody knows."""

    def cells(self) -> list[str]:
        return [
            str(self.batch),
            f"{1 / self.step_s:.3g}",
            f"{self.batch / self.step_s:.3g}",
            self._share(self.took.step_flops / self.step_s),
            f"{self.took.step_bytes / 1e6:.0f}",
            str(self.operators),
            f"{self.batch / self.scoring_s:.3g}",
            self._share(self.scoring_flops / self.scoring_s),
            f"{self.took.scoring_bytes / 1e6:.0f}",
        ]

    def _share(self, flops_a_second: float) -> str:
        return "–" if self.ceiling is None else f"{100 * flops_a_second / self.ceiling:.1f}"


class Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what is called and is no view."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def pace(name: str, asked: argparse.Namespace, precision: torch.dtype) -> Pace:
    """Raises RuntimeError where the detector does not run on this machine, or answers with something else than numbers."""
    options = detectors.options(name, {"size": asked.size})
    batch = (
        asked.batch or parse(TrainingOptions, detectors.paper_training(name, options), f"the recipe of {name}").batch
    )
    took = cost.took(name, options, batch=batch, device=asked.device, precision=precision)
    detector = cost.built(name, options, asked.device).train()
    faces = cost.noise(batch, detector.input_px, asked.device)
    operators = _operators(detector, faces, precision)
    if asked.channels_last:
        detector.to(memory_format=torch.channels_last)
        faces = replace(faces, faces=faces.faces.contiguous(memory_format=torch.channels_last))
    if asked.compile:
        detector.forward = torch.compile(detector.forward, mode=asked.compile)  # type: ignore[method-assign]
    optimiser = Adam([p for p in detector.parameters() if p.requires_grad], fused=asked.fused or None)

    def learn() -> None:
        cost.step(detector, optimiser, faces, precision=precision)

    def score() -> None:
        cost.answers(detector, faces, precision=precision)

    learning = seconds(learn, asked)
    if not all(value.isfinite().all() for value in detector.state_dict().values()):
        raise RuntimeError("weights are not finite after these steps")
    detector.eval()
    scoring = seconds(score, asked)
    if not cost.answers(detector, faces, precision=precision).isfinite().all():
        raise RuntimeError("answers are not finite")
    flops = batch * cost.count(name, options).face_flops
    return Pace(batch, learning, scoring, took, flops, operators, _ceiling(asked.device, precision))


def _operators(detector: detectors.Detector, faces: Batch, precision: torch.dtype) -> int:
    """Of one step; the network and torch's stream of random numbers are left as they were."""
    other = copy.deepcopy(detector)
    with torch.random.fork_rng(), Operators() as operators:
        cost.step(other, SGD(other.parameters(), lr=0), faces, precision=precision)
    return operators.count


def _ceiling(device: torch.device, precision: torch.dtype) -> float | None:
    if device.type != "cuda" or precision != torch.bfloat16:
        return None
    chip = torch.cuda.get_device_name(device)
    return next((flops for name, flops in CEILINGS.items() if name in chip), None)


def seconds(act: Callable[[], None], asked: argparse.Namespace) -> float:
    """Seconds one act takes: the median over the repeats."""

    def elapsed(times: int) -> float:
        _finish(asked.device)
        start = time.perf_counter()
        for _ in range(times):
            act()
        _finish(asked.device)
        return (time.perf_counter() - start) / max(times, 1)

    elapsed(asked.warm_up)
    return median(elapsed(asked.steps) for _ in range(asked.repeats))


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def machine(device: torch.device) -> str:
    """Where this ran, in words."""
    if device.type == "cuda":
        name = f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    else:
        name = f"{processor()}, {torch.get_num_threads()} of {os.cpu_count()} threads"
    return f"{name}, torch {torch.__version__}, {platform.system()}"


def _how(asked: argparse.Namespace) -> str:
    """What was asked for beyond the plain step, in words."""
    said = {
        "channels last": asked.channels_last,
        "fused Adam": asked.fused,
        "deterministic kernels": asked.deterministic,
        "convolutions chosen by trial": asked.cudnn_benchmark,
    }
    compiled = [f"compiled ({asked.compile})"] if asked.compile else []
    return ", ".join([*(words for words, so in said.items() if so), *compiled]) or "as it is"


def main() -> None:
    wanted = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    wanted.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    wanted.add_argument("--size", choices=("paper", "tiny"), default="paper")
    wanted.add_argument("--detectors", nargs="+", default=detectors.names(), choices=detectors.names(), metavar="NAME")
    wanted.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=list(PRECISIONS), metavar="NAME")
    wanted.add_argument("--batch", type=int)
    wanted.add_argument("--threads", type=int, default=1, help="of the CPU")
    wanted.add_argument("--steps", type=int, default=10)
    wanted.add_argument("--repeats", type=int, default=5)
    wanted.add_argument("--warm-up", type=int, default=3)
    wanted.add_argument(
        "--channels-last", action="store_true", help="weights and faces, a pixel's channels side by side"
    )
    wanted.add_argument("--fused", action="store_true", help="one kernel for all of Adam's updates")
    wanted.add_argument("--compile", metavar="MODE", choices=MODES, help=f"torch.compile's: {', '.join(MODES)}")
    wanted.add_argument("--deterministic", action="store_true", help="deterministic kernels, as trainings may ask for")
    wanted.add_argument("--cudnn-benchmark", action="store_true", help="convolutions as they were fastest in a trial")
    wanted.add_argument("--out", type=Path, help="where the table is written, too")
    asked = wanted.parse_args()
    torch.set_num_threads(asked.threads)
    torch.use_deterministic_algorithms(asked.deterministic, warn_only=True)
    torch.backends.cudnn.benchmark = asked.cudnn_benchmark
    lines = [f"{machine(asked.device)}; size {asked.size}; {_how(asked)}", "", *HEADER.splitlines()]
    print("\n".join(lines), flush=True)
    failures = []
    for name in asked.detectors:
        for precision in asked.precisions:
            try:
                cells = pace(name, asked, PRECISIONS[precision]).cells()
            except RuntimeError as fault:  # out of memory, say: the others still have their rows
                failures.append(f"{name} in {precision}: {fault}")
                cells = ["failed", *["–"] * (COLUMNS - 1)]
            lines.append(f"| {name} | {precision} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
            gc.collect()
            torch.cuda.empty_cache()
    if asked.out:
        asked.out.write_text("\n".join(lines) + "\n")
    if failures:
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    main()
