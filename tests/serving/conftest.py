"""A service with tiny champions, the files it is asked about, and books that a test may turn a page of."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from components import detectors
from components.errors import Refused
from components.faces import detection
from components.faces.extraction import profile_of
from components.faces.table import named_profile
from components.generations.card import read_card
from components.generations.generation import save_generation
from components.params import CropOptions
from components.serving.api import application
from components.serving.jobs import Jobs
from components.serving.limits import Limits
from components.serving.service import Options, Service
from components.serving.succession import Standing

TINY = {"size": "tiny", "trunk": "small", "width": 8, "input_px": 96}
CUT = CropOptions(frames=5, size_px=64)
LIMITS = Limits(bytes=2_000_000, pixels=250_000, seconds=20, frames=100, time_s=30)


def raise_tiny(folder: Path, name: str, seed: int) -> Standing:
    """A generation that learned nothing, of faces that are whole pictures."""
    torch.manual_seed(seed)
    detector = detectors.build("rsia_net", detectors.options("rsia_net", TINY))
    learned = named_profile(profile_of(detection.build("none", CUT), CUT))
    about = {"generation": name, "detector": "rsia_net", "options": TINY, "strategy": "finetune", "profiles": [learned]}
    save_generation(folder, detector, {}, about)
    return Standing(name, read_card(folder)["weights"], folder, CUT)


@dataclass
class TestBooks:
    """Books with a memory: whoever is put on top is champion."""

    __test__ = False
    standing: list[Standing] = field(default_factory=list)
    youngest: Standing | None = None

    def who(self) -> tuple[str, str]:
        return self.standing[-1].generation, self.standing[-1].weights

    def champion(self) -> Standing:
        return self.standing[-1]

    def challenger(self) -> Standing | None:
        return self.youngest

    def named(self, generation: str) -> Standing:
        for one in self.standing:
            if one.generation == generation:
                return one
        raise Refused(f"'{generation}' is gone")


@pytest.fixture(scope="session")
def generations(tmp_path_factory) -> list[Standing]:
    root = tmp_path_factory.mktemp("generations")
    return [raise_tiny(root / f"small-M{number}", f"small-M{number}", number) for number in (1, 2, 3)]


@pytest.fixture(scope="session")
def media(tmp_path_factory) -> Path:
    """A photograph, a clip of 20 frames, and what nobody should send."""
    folder = tmp_path_factory.mktemp("media")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (80, 80, 3), np.uint8)).save(folder / "a.png")
    for name, frames, side, rate in (
        ("b.mp4", 20, 80, 10), ("many.mp4", 300, 80, 60), ("long.mp4", 30, 80, 1), ("wide.mp4", 3, 640, 10),
    ):  # fmt: skip
        with av.open(str(folder / name), "w") as clip:
            stream = clip.add_stream("mpeg4", rate=rate)
            stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p"
            for number in range(frames):
                picture = np.full((side, side, 3), number * 12 % 256, np.uint8)
                clip.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            clip.mux(stream.encode())
    whole = (folder / "b.mp4").read_bytes()
    (folder / "torn.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "torn.png").write_bytes((folder / "a.png").read_bytes()[:4000])
    (folder / "text.mp4").write_text("no clip")
    (folder / "empty.png").write_bytes(b"")
    (folder / "playlist.mp4").write_text("#EXTM3U\nfile:///etc/passwd\n")
    (folder / "page.png").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    Image.new("1", (12_000, 12_000)).save(folder / "bomb.png")  # 18 KB, 144 megapixels
    return folder


@pytest.fixture(scope="session")
def books(generations) -> TestBooks:
    return TestBooks([generations[0]])


@pytest.fixture(scope="session")
def service(tmp_path_factory, books, media) -> Iterator[Service]:
    root = tmp_path_factory.mktemp("service")
    served = root / "files"
    served.mkdir()
    (served / "a.png").write_bytes((media / "a.png").read_bytes())
    (served / "out.png").symlink_to(media / "a.png")
    options = Options(
        state=root / "state", told=root / "told", files=(served,), limits=LIMITS, job_limits=LIMITS, at_once=6,
        log=root / "answers", every_s=0.1, shadow=True,
    )  # fmt: skip
    made = Service(options, books)
    yield made
    made.close()


@pytest.fixture(scope="session")
def jobs(service) -> Iterator[Jobs]:
    made = Jobs(service)
    yield made
    made.close()


@pytest.fixture(scope="session")
def client(service, jobs) -> Iterator[TestClient]:
    with TestClient(application(service, jobs, {}, local=True), base_url="http://localhost") as asked:
        yield asked


@pytest.fixture
def post(client, media) -> Callable[..., tuple[int, dict]]:
    """``post("a.png")``: what `/v1/score` says of it."""

    def send(name: str, address: str = "/v1/score", called: str = "", **data: str):
        answer = client.post(address, files={"file": (called or name, (media / name).read_bytes())}, data=data)
        return answer.status_code, answer.json()

    return send


def until(true: Callable[[], object], within_s: float = 60) -> None:
    """Wait for something that another thread does."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "it did not come true in time"
        threading.Event().wait(0.02)
