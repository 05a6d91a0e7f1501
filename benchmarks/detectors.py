"""How fast every detector learns and scores, and what memory it takes, in float32 and under bf16 autocast.

    python -m benchmarks.detectors [--device cuda|cpu] [--size paper|tiny] [--detectors NAME …] [--batch N] [--threads N]
                                     [--steps 10] [--repeats 5] [--warm-up 3] [--out FILE]

Weights are random, faces are noise, the batch is that of the detector's recipe unless one is named. Prints a table in
Markdown under a line that names the machine: medians over the repeats, each of which takes some steps and then scores as
many batches. Loading and augmenting faces is not in it. A detector that fails has its row, and the exit code is 1.
`--batch 2 --steps 1 --repeats 1 --warm-up 0` asks only whether a size works here at all.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch.optim import Adam

from benchmarks.ratios import processor
from components import detectors
from components.evaluation import cost
from components.params import TrainingOptions, parse

PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16}
HEADER = """\
| detector | precision | batch | steps/s | faces/s learning | MB learning | faces/s scoring | MB scoring |
|---|---|--:|--:|--:|--:|--:|--:|"""


@dataclass(frozen=True)
class Pace:
    """Of one detector at one precision."""

    batch: int
    step_s: float
    scoring_s: float
    took: cost.Measured

    def cells(self) -> list[str]:
        return [
            str(self.batch),
            f"{1 / self.step_s:.3g}",
            f"{self.batch / self.step_s:.3g}",
            f"{self.took.step_bytes / 1e6:.0f}",
            f"{self.batch / self.scoring_s:.3g}",
            f"{self.took.scoring_bytes / 1e6:.0f}",
        ]


def pace(name: str, asked: argparse.Namespace, precision: torch.dtype) -> Pace:
    """Raises RuntimeError where the detector does not run on this machine, or answers with something else than numbers."""
    options = detectors.options(name, {"size": asked.size})
    batch = (
        asked.batch or parse(TrainingOptions, detectors.paper_training(name, options), f"the recipe of {name}").batch
    )
    took = cost.took(name, options, batch=batch, device=asked.device, precision=precision)
    detector = cost.built(name, options, asked.device).train()
    faces = cost.noise(batch, detector.input_px, asked.device)
    optimiser = Adam([p for p in detector.parameters() if p.requires_grad])

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
    return Pace(batch, learning, scoring, took)


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
    wanted.add_argument("--out", type=Path, help="where the table is written, too")
    asked = wanted.parse_args()
    torch.set_num_threads(asked.threads)
    lines = [f"{machine(asked.device)}; size {asked.size}", "", *HEADER.splitlines()]
    print("\n".join(lines), flush=True)
    failures = []
    for name in asked.detectors:
        for precision in asked.precisions:
            try:
                cells = pace(name, asked, PRECISIONS[precision]).cells()
            except RuntimeError as fault:  # out of memory, say: the others still have their rows
                failures.append(f"{name} in {precision}: {fault}")
                cells = ["failed", *["–"] * 5]
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
