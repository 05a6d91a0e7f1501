"""What an accelerator does with the five detectors at full size, with the loop, and with many runs at once.

    python -m benchmarks.gpu [--seconds 300] [--device cuda] [--size paper] [--out gpu.md] [--only rates loop many]

Needs the checkout and installed packages, this project not among them. In order of importance, each with its share of the
seconds: learning and scoring rates (bf16, the paper's batch; as it is, deterministic, channels-last with fused Adam, compiled),
the training loop over the bare step (lossless faces of 256 px, the paper's augmentations), many small trainings at once.
The table is written anew after every row, so that a run that is cut off keeps what it has. Every part is a process of its
own, begun together and asked in turn, so that nobody waits for imports; one that outlasts its share is stopped.

    python -m benchmarks.gpu --device cpu --size tiny --seconds 30      the same as a test of this file

A cell that fails says why; the exit code is 1 only where no part gave a single row.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from components.tasks.dataset import Faces

ROOT = Path(__file__).parents[1]
NAMES = ("lnclip", "rsia_net", "m2tr", "lsda", "masm")
PARTS = {"rates": 0.6, "loop": 0.25, "many": 0.15}
"""Part -> share of the seconds."""
MARGIN = 0.05
"""Of the seconds, for what goes on around the parts."""
STOPPED = "the rest was stopped when its time was over"
VARIANTS = ("as it is", "deterministic", "channels-last, fused", "compiled")
AT_ONCE = (1, 4, 16)
HEADERS = {
    "rates": ("detector", "variant", "batch", "steps/s", "faces/s learning", "GB", "faces/s scoring"),
    "loop": ("detector", "batch", "loop, ms a step", "bare, ms a step", "loop to bare"),
    "many": ("trainings at once", "faces/s in all", "of one alone"),
}
Cells = list[str]


# -- the parent --------------------------------------------------------------------------------------------------------------


class Part:
    """A process that imports at once, begins when it is told to, and tells its rows one a line."""

    def __init__(self, part: str, subject: str, asked: argparse.Namespace) -> None:
        self.part, self.subject, self.stopped, self._ended = part, subject, False, False
        command = [sys.executable, "-m", "benchmarks.gpu", "--part", part, "--subject", subject]
        command += ["--device", asked.device, "--size", asked.size]
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": path},
        )  # fmt: skip

    def rows(self, seconds: float, deadline: float) -> Iterator[Cells]:
        """What it tells within so many seconds, counted from when it has imported all, and before the deadline; then it is
        stopped."""
        assert self.process.stdin is not None
        with self.process:
            try:
                if self._line(deadline) is None:
                    return
                until = min(deadline, time.monotonic() + seconds)
                self.process.stdin.write(f"{until - time.monotonic()}\n")
                self.process.stdin.flush()
                while line := self._line(until):
                    yield json.loads(line)
            except BrokenPipeError:
                pass  # it ended before it was asked
            finally:
                self.stopped = self.process.poll() is None and not self._ended
                self.process.kill()

    def _line(self, until: float) -> str | None:
        """Its next line; None where none comes until then, or ever."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            come = selector.select(max(0.0, until - time.monotonic()))
        line = self.process.stdout.readline() if come else ""
        self._ended = bool(come) and not line
        return line or None


def parts(asked: argparse.Namespace) -> list[tuple[Part, float]]:
    """Every part, begun, with its share of what time there is."""
    subjects = {"rates": asked.detectors, "loop": asked.detectors[:2], "many": ["rsia_net"]}
    return [
        (Part(part, subject, asked), PARTS[part] / len(subjects[part]))
        for part in PARTS
        if part in asked.only
        for subject in subjects[part]
    ]


def measured(asked: argparse.Namespace) -> dict[str, list[Cells]]:
    """Rows by part, the table written after each; what a part leaves of its time goes to those behind it."""
    deadline = time.monotonic() + asked.seconds
    found: dict[str, list[Cells]] = {part: [] for part in PARTS if part in asked.only}
    begun = parts(asked)
    for number, (part, share) in enumerate(begun):
        left = (deadline - time.monotonic()) * (1 - MARGIN)
        for cells in part.rows(left * share / sum(other for _, other in begun[number:]), deadline):
            found[part.part].append(cells)
            print(f"| {' | '.join(cells)} |", flush=True)
            _write(found, asked)
        if part.stopped:
            found[part.part].append([part.subject, STOPPED, *["–"] * (len(HEADERS[part.part]) - 2)])
            _write(found, asked)
    return found


def table(found: dict[str, list[Cells]], machine: str) -> str:
    """Markdown: a table a part, under a line that names the machine."""
    blocks = [machine]
    for part, rows in found.items():
        head = HEADERS[part]
        lines = [f"| {' | '.join(head)} |", "|---|" + "--:|" * (len(head) - 1), *(f"| {' | '.join(r)} |" for r in rows)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _write(found: dict[str, list[Cells]], asked: argparse.Namespace) -> None:
    if asked.out:
        asked.out.write_text(table(found, _machine_line(asked)))


def _machine_line(asked: argparse.Namespace) -> str:
    said = (
        subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
        if asked.device == "cuda"
        else None
    )
    name = said.stdout.partition("\n")[0].partition(" (UUID")[0] if said else "CPU"
    return f"{name}, {os.cpu_count()} cores, size {asked.size}, {asked.seconds:g} s in all."


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


# -- a part ------------------------------------------------------------------------------------------------------------------


def part_of(asked: argparse.Namespace) -> None:
    """What the process of one part does: import, wait to be told the seconds, and tell rows."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed goes where nobody reads rows
    import torch

    from components import torchvision_ops

    torchvision_ops.complete()
    act: Callable[[str, Any, str, float], Iterator[Cells]] = {"rates": rates, "loop": loop, "many": many}[asked.part]
    print("ready", file=out, flush=True)
    seconds = float(sys.stdin.readline())
    torch.set_num_threads(max(1, min(8, (os.cpu_count() or 1) // 2)))
    for cells in act(asked.subject, torch.device(asked.device), asked.size, seconds):
        print(json.dumps(cells), file=out, flush=True)


def rates(name: str, device: torch.device, size: str, seconds: float) -> Iterator[Cells]:
    """A row a variant, the surest first; one that fails says why."""
    until = time.monotonic() + seconds
    for number, variant in enumerate(VARIANTS):
        left = until - time.monotonic()
        if left < 2 and number:
            yield [name, variant, "no time left", "–", "–", "–", "–"]
            continue
        try:
            yield _rate(name, variant, device, size, left / (len(VARIANTS) - number))
        except Exception as fault:
            yield [name, variant, f"failed: {_short(fault)}", "–", "–", "–", "–"]


def _rate(name: str, variant: str, device: torch.device, size: str, seconds: float) -> Cells:
    import torch
    from torch.optim import Adam

    from components import detectors
    from components.evaluation import cost
    from components.params import TrainingOptions, parse

    torch.use_deterministic_algorithms(variant == "deterministic", warn_only=True)
    options = detectors.options(name, {"size": size})
    batch = parse(TrainingOptions, detectors.paper_training(name, options), name).batch
    detector: Any = cost.built(name, options, device).train()
    faces = cost.noise(batch, detector.input_px, device)
    fused = variant in VARIANTS[2:] and device.type == "cuda"
    if variant in VARIANTS[2:]:
        detector = detector.to(memory_format=torch.channels_last)
        faces.faces.data = faces.faces.contiguous(memory_format=torch.channels_last)
    if variant == "compiled":
        detector.forward = torch.compile(detector.forward)
    optimiser = Adam([p for p in detector.parameters() if p.requires_grad], fused=fused or None)
    precision = torch.bfloat16 if device.type == "cuda" else torch.float32
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    step_s = paced(lambda: cost.step(detector, optimiser, faces, precision=precision), device, seconds * 0.6)
    held = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else float("nan")
    detector.eval()
    score_s = paced(lambda: cost.answers(detector, faces, precision=precision), device, seconds * 0.25)
    return [
        name, variant, str(batch), f"{1 / step_s:.3g}", f"{batch / step_s:.3g}", f"{held:.1f}", f"{batch / score_s:.4g}",
    ]  # fmt: skip


def paced(act: Callable[[], object], device: torch.device, seconds: float, warm_up: int = 3) -> float:
    """Seconds one act takes: the median of runs of a few, within about so many seconds, one run at least."""
    import torch

    def finish() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    until = time.monotonic() + seconds
    for _ in range(warm_up):
        act()
        finish()
        if time.monotonic() > until:
            break
    taken: list[float] = []
    while not taken or (time.monotonic() < until and len(taken) < 50):
        start = time.perf_counter()
        for _ in range(3):
            act()
        finish()
        taken.append((time.perf_counter() - start) / 3)
    return median(taken)


def loop(name: str, device: torch.device, size: str, seconds: float) -> Iterator[Cells]:
    """The training loop of `evolve` over the bare step, both with what the settings say of determinism and precision."""
    os.environ["PERENNIAL_DEVICE"] = device.type
    import torch

    from components import detectors, machine
    from components.params import TrainingOptions, parse

    options = detectors.options(name, {"size": size})
    raw = detectors.paper_training(name, options)
    params = parse(TrainingOptions, raw, name)
    until = time.monotonic() + seconds
    machine.deterministic(torch.get_num_threads(), kernels=False)
    with tempfile.TemporaryDirectory() as place:
        task = _faces(Path(place), 4 * params.batch, 256 if size == "paper" else 96)
        bare = _bare(name, options, params.batch, device, seconds * 0.2)
        looped = _looped(name, options, params, task, Path(place), bare, until, device)
    yield [name, str(params.batch), f"{looped * 1e3:.0f}", f"{bare * 1e3:.0f}", f"{looped / bare:.2f}"]


def _bare(name: str, options: Any, batch: int, device: torch.device, seconds: float) -> float:
    """Seconds a step takes on faces that lie on the device."""
    import torch

    from components.evaluation import cost

    detector = cost.built(name, options, device).train()
    optimiser = torch.optim.Adam([p for p in detector.parameters() if p.requires_grad])
    faces = cost.noise(batch, detector.input_px, device)
    precision = torch.bfloat16 if device.type == "cuda" else torch.float32
    return paced(lambda: cost.step(detector, optimiser, faces, precision=precision), device, seconds)


def _looped(
    name: str, options: Any, params: Any, task: Faces, place: Path, bare: float, until: float, device: torch.device
) -> float:
    """Seconds a step of `training.train`, from the second epoch on: the median of its steps' distances."""
    from components import detectors, machine, strategies
    from components.generations import training
    from components.generations.training import Lesson

    class Enough(Exception):
        """There is no time for more."""

    moments: list[float] = []

    def listen(*_: Any) -> None:
        moments.append(time.perf_counter())
        if time.monotonic() > until - 1 and len(moments) > 8:
            raise Enough

    student = detectors.build(name, options, blank=True)
    finetune = strategies.build("finetune", strategies.options("finetune", {}))
    epochs = max(2, min(30, int((until - time.monotonic()) / max(bare, 1e-3) / 8)))
    with contextlib.suppress(Enough):
        training.train(
            Lesson(student, None, finetune, task, None, params, epochs=epochs, seed=0),
            checkpoint=place / "checkpoint.pt",
            on_step=listen,
            engine=machine.fabric("bf16-mixed" if device.type == "cuda" else "32-true"),
        )
    first = len(moments) // 3  # decoding is not kept from one epoch to the next: `_faces` allows no cache
    return (moments[-1] - moments[first]) / (len(moments) - 1 - first)


def _faces(place: Path, count: int, size_px: int) -> Faces:
    """Lossless faces that are decoded whenever they are asked for."""
    from benchmarks import faces as material
    from components.faces.table import FaceTable
    from components.tasks.dataset import Faces

    shown = list(material.people(min(count, 32), size_px))
    material.written(place / "faces", (shown[i % len(shown)] for i in range(count)), count)
    return Faces.whole("faces", FaceTable.load(place / "faces", cache_bytes=0))


def many(name: str, device: torch.device, size: str, seconds: float) -> Iterator[Cells]:  # noqa: ARG001 always tiny
    """Trainings of the tiny network at once, a process each, their faces on the device: faces/s of all together."""
    at_once = [n for n in AT_ONCE if n <= 2 * (os.cpu_count() or 1)]
    alone = 0.0
    for number in at_once:
        share = seconds / len(at_once)
        try:
            rate = _together(name, device, number, share)
        except Exception as fault:
            yield [str(number), f"failed: {_short(fault)}", "–"]
            continue
        alone = alone or rate
        yield [str(number), f"{rate:.4g}", f"{rate / alone:.2f}"]


def _together(name: str, device: torch.device, number: int, seconds: float) -> float:
    """Faces/s of so many processes, counted while all are at work."""
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    ready, counts = context.Barrier(number), context.Queue()
    learners = [
        context.Process(target=_learner, args=(name, device.type, ready, counts, max(1.0, seconds / 3)), daemon=True)
        for _ in range(number)
    ]
    for learner in learners:
        learner.start()
    try:
        return float(sum(counts.get(timeout=max(20.0, seconds)) for _ in learners))
    finally:
        for learner in learners:
            learner.terminate()
            learner.join()


def _learner(name: str, device: str, ready: Any, counts: Any, seconds: float) -> None:
    """Steps on faces that lie on the device until the seconds are over; tells its faces/s."""
    import torch

    from components import detectors
    from components.evaluation import cost
    from components.tasks.dataset import Batch

    torch.set_num_threads(1)
    where = torch.device(device)
    detector = cost.built(name, detectors.options(name, {"size": "tiny"}), where).train()
    optimiser = torch.optim.Adam(detector.parameters())
    held = cost.noise(256, detector.input_px, where)
    stored = (held.faces * 255).to(torch.uint8)

    def learn() -> None:
        chosen = torch.randint(len(stored), (32,), device=where)
        batch = Batch.of(stored[chosen].float() / 255, held.labels[chosen], held.methods[chosen])
        cost.step(detector, optimiser, batch)

    learn()
    ready.wait(60)
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        learn()
        if where.type == "cuda":
            torch.cuda.synchronize(where)
        steps += 1
    counts.put(32 * steps / (time.perf_counter() - start))


def _short(fault: BaseException) -> str:
    words = " ".join(str(fault).split())
    return f"{type(fault).__name__}: {words[:80]}".replace("|", "/")


def main() -> None:
    chosen = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    chosen.add_argument("--seconds", type=float, default=285, help="in all; starting and stopping come on top")
    chosen.add_argument("--device", default="cuda")
    chosen.add_argument("--size", choices=("paper", "tiny"), default="paper")
    chosen.add_argument("--detectors", nargs="+", default=list(NAMES), choices=NAMES, metavar="NAME")
    chosen.add_argument("--only", nargs="+", default=list(PARTS), choices=list(PARTS), metavar="PART")
    chosen.add_argument("--out", type=Path, help="where the table is written, too, after every row")
    chosen.add_argument("--part", help=argparse.SUPPRESS)
    chosen.add_argument("--subject", help=argparse.SUPPRESS)
    asked = chosen.parse_args()
    if asked.part:
        part_of(asked)
        return
    found = measured(asked)
    print("\n" + table(found, _machine_line(asked)))
    sys.exit(0 if any(STOPPED not in row for rows in found.values() for row in rows) else 1)


if __name__ == "__main__":
    main()
