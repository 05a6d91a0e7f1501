"""The services of infra/compose.yaml as processes, in a folder that is gone afterwards; and archives for them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from PIL import Image

from .processes import SECRETS, Services, postgres_program

SPLITS = ("train", "val", "test")
PARAMS = """\
archives: {}
lines:
  small: {detector: rsia_net, strategy: cffd}
faces: {size_px: 64}
validation: {min_per_class: 2}
detectors:
  rsia_net: {size: tiny, trunk: small, width: 8, input_px: 96}
memory: {budget: 8}
training: {founder_epochs: 60, epochs: 40, batch: 4, faces_per_clip: 1}
evaluation: {bootstrap: 50}
gate:
  - {rule: absolute, min_auc: 0.0}
  - {rule: infra}
"""


@pytest.fixture(scope="session")
def _postgres() -> None:
    if postgres_program("initdb") is None:
        why = "PostgreSQL is not installed: apt-get install postgresql"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)


@pytest.fixture(scope="module")
def services_at(_postgres: None) -> Iterator[Callable[[], Services]]:
    """A new set of services at each call, nothing started yet; all of them end with the module."""
    made: list[Services] = []

    def make() -> Services:
        place = Path(tempfile.mkdtemp(prefix="services-"))
        place.chmod(0o755)  # PostgreSQL is another user
        made.append(Services(place))
        return made[-1]

    yield make
    for services in made:
        services.end()
        shutil.rmtree(services.place)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """An archive of layout crops, its marker last: three people in each split, and the same with a stripe."""

    def make(seed: int) -> Path:
        root, generator = tmp_path_factory.mktemp(f"pictures{seed}"), np.random.default_rng(seed)
        rows = ["file,label,method,source,split"]
        for number, split in ((number, split) for split in SPLITS for number in range(3)):
            coarse = Image.fromarray(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8))
            face = np.array(coarse.resize((96, 96), Image.Resampling.BICUBIC))
            for label, folder in enumerate(("real", "fake")):
                (root / folder).mkdir(exist_ok=True)
                face[40 : 40 + 16 * label] //= 2
                file = f"{folder}/{split}_{number}.png"
                Image.fromarray(face).save(root / file)
                rows.append(f"{file},{label},{'swap' if label else 'genuine'},{split}{number}of{seed},{split}")
        (root / "labels.csv").write_text("\n".join(rows) + "\n")
        (root / "PERENNIAL.json").write_text('{"layout": "crops", "faces": "none"}')
        return root

    return make


@pytest.fixture(scope="session")
def drop() -> Callable[[Services, str, Path], None]:
    """Put an archive in the inbox, which is a bucket."""

    def put(services: Services, name: str, archive: Path) -> None:
        store: Any = boto3.client(
            "s3",
            endpoint_url=services.address("store"),
            aws_access_key_id=SECRETS["STORE_ACCESS_KEY"],
            aws_secret_access_key=SECRETS["STORE_SECRET_KEY"],
            region_name="us-east-1",
        )
        files = sorted((path for path in archive.rglob("*") if path.is_file()), key=lambda path: path.suffix == ".json")
        for path in files:
            store.upload_file(str(path), "inbox", f"archives/{name}/{path.relative_to(archive).as_posix()}")

    return put
