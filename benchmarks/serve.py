"""What a service costs: pictures a second over HTTP against the same model called in a loop, and how long one waits.

    python -m benchmarks.serve [--seconds 60] [--clients 4] [--workers 2] [--swaps 2]

A tiny champion is served by `perennial.serving` in this process, behind uvicorn on localhost; clients in a process of their own
send 96-px pictures that are faces already, each its next one when the answer is there. While they do, the champion is swapped
`--swaps` times. The loop calls `Examiner.answer` on the same files, one after another.

Prints pictures a second of both, the 50th and 99th percentile of the waits, and what was not answered with 200.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

PICTURES = 32
SIDE_PX = 96
TINY = {"size": "tiny", "trunk": "small", "width": 8, "input_px": 96}


@dataclass
class Books:
    """Champions, the last of whom answers."""

    standing: list[object] = field(default_factory=list)

    def who(self) -> tuple[str, str]:
        return self.standing[-1].generation, self.standing[-1].weights  # type: ignore[attr-defined]

    def champion(self) -> object:
        return self.standing[-1]

    def challenger(self) -> None:
        return None

    def named(self, generation: str) -> object:
        return next(one for one in self.standing if one.generation == generation)  # type: ignore[attr-defined]


def generation(folder: Path, name: str, seed: int) -> object:
    """A generation that learned nothing, of faces that are whole pictures."""
    import torch

    from components import detectors
    from components.faces import detection
    from components.faces.extraction import profile_of
    from components.faces.table import named_profile
    from components.generations.card import read_card
    from components.generations.generation import save_generation
    from components.params import CropOptions
    from components.serving.succession import Standing

    cut = CropOptions(frames=4, size_px=SIDE_PX)
    torch.manual_seed(seed)
    detector = detectors.build("rsia_net", detectors.options("rsia_net", TINY))
    learned = named_profile(profile_of(detection.build("none", cut), cut))
    about = {"generation": name, "detector": "rsia_net", "options": TINY, "strategy": "finetune", "profiles": [learned]}
    save_generation(folder, detector, {}, about)
    return Standing(name, read_card(folder)["weights"], folder, cut)


def pictures(folder: Path) -> list[Path]:
    """Noise, of which no two are alike."""
    rng = np.random.default_rng(0)
    files = []
    for number in range(PICTURES):
        files.append(folder / f"{number}.jpg")
        Image.fromarray(rng.integers(0, 256, (SIDE_PX, SIDE_PX, 3), np.uint8)).save(files[-1])
    return files


def looped(books: Books, files: list[Path], seconds: float) -> float:
    """Pictures a second of one examiner in a loop."""
    from components.serving.succession import Served

    examiner = Served.load(books.champion(), "cpu").examiner  # type: ignore[arg-type]
    examiner.answer(files[0])
    begun, done = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        examiner.answer(files[done % len(files)])
        done += 1
    return done / (time.perf_counter() - begun)


async def asked(port: int, files: list[Path], seconds: float, clients: int) -> tuple[list[float], Counter[int]]:
    """Seconds that each answer took, and how often which status came."""
    import httpx

    bodies = [file.read_bytes() for file in files]
    waits: list[float] = []
    statuses: Counter[int] = Counter()
    until = time.perf_counter() + seconds

    async def one(number: int, client: httpx.AsyncClient) -> None:
        while time.perf_counter() < until:
            begun = time.perf_counter()
            answer = await client.post("/v1/score", files={"file": ("face.jpg", bodies[number % len(bodies)])})
            waits.append(time.perf_counter() - begun)
            statuses[answer.status_code] += 1
            number += 1

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
        await asyncio.gather(*(one(number, client) for number in range(clients)))
    return waits, statuses


def served(books: Books, champions: list[object], root: Path, options: argparse.Namespace) -> dict[str, object]:
    """What clients in another process tell of a service in this one."""
    import uvicorn

    from components.serving.api import application
    from components.serving.jobs import Jobs
    from components.serving.service import Options, Service

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    set_up = Options(root / "state", root / "told", workers=options.workers, at_once=2 * options.clients, every_s=0.2)
    service = Service(set_up, books)  # type: ignore[arg-type]
    jobs = Jobs(service)
    config = uvicorn.Config(application(service, jobs, {}, local=True), port=port, log_level="warning")
    server = uvicorn.Server(config)
    threading.Thread(target=server.run, daemon=True).start()
    command = [
        sys.executable,
        "-m",
        "benchmarks.serve",
        "--ask",
        str(port),
        str(root),
        str(options.seconds),
        str(options.clients),
    ]
    asking = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for number in range(options.swaps):
        time.sleep(options.seconds / (options.swaps + 1))
        books.standing.append(champions[(number + 1) % len(champions)])
    said, _ = asking.communicate()
    server.should_exit = True
    told = {
        **json.loads(said),
        "swaps": service.succession.swaps,
        "batches": service.succession.champion.batched.batches,
    }
    jobs.close()
    service.close()
    return told


def main() -> None:
    if sys.argv[1:2] == ["--ask"]:
        port, root, seconds, clients = int(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
        files = sorted((root / "pictures").glob("*.jpg"))
        asyncio.run(asked(port, files, 1, clients))  # processes import what they need
        begun = time.perf_counter()
        waits, statuses = asyncio.run(asked(port, files, seconds, clients))
        print(json.dumps({"waits": waits, "statuses": statuses, "seconds": time.perf_counter() - begun}))
        return
    read = argparse.ArgumentParser()
    read.add_argument("--seconds", type=float, default=60)
    read.add_argument("--clients", type=int, default=4)
    read.add_argument("--workers", type=int, default=2)
    read.add_argument("--swaps", type=int, default=2)
    options = read.parse_args()
    with tempfile.TemporaryDirectory() as held:
        root = Path(held)
        (root / "pictures").mkdir()
        files = pictures(root / "pictures")
        champions = [generation(root / f"tiny-M{number}", f"tiny-M{number}", number) for number in (1, 2)]
        books = Books([champions[0]])
        plain = looped(books, files, max(2.0, options.seconds / 4))
        told = served(books, champions, root, options)
    waits = np.array(told["waits"])
    rate = len(waits) / float(told["seconds"])  # type: ignore[arg-type]
    print(
        f"served  {rate:6.1f} pictures/s  p50 {1e3 * np.median(waits):.0f} ms  p99 {1e3 * np.quantile(waits, 0.99):.0f} ms"
    )
    print(f"looped  {plain:6.1f} pictures/s  ratio {rate / plain:.2f}")
    print(f"statuses {told['statuses']}, champions swapped {told['swaps']} times in {told['seconds']:.0f} s")


if __name__ == "__main__":
    main()
