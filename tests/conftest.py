"""Fixtures every test may ask for. The network is closed; nothing phones home."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import settings

from components.settings import hush
from components.settings import settings as preferences

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")  # its server's last words come after the streams are closed
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's `&`; whoever is started here would ignore it too
    signal.signal(signal.SIGINT, signal.default_int_handler)
hush()
settings.register_profile("patient", deadline=None)  # a busy machine is nobody's fault
settings.load_profile("patient")

ROOT = Path(__file__).parents[1]


@pytest.fixture
def torch_as_it_was() -> Iterator[None]:
    """Stages fix threads, kernels and seeds for their own process; here others follow in the same one."""
    import torch

    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng():
        yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict)


@pytest.fixture(scope="session", autouse=True)
def _closed_homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tools that keep something in the home directory keep it in a temporary one."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(home / "prefect"))
        patch.setenv("DVC_SITE_CACHE_DIR", str(home / "dvc"))
        patch.setenv("DVC_GLOBAL_CONFIG_DIR", str(home / "dvc-global"))
        patch.setenv("HF_HOME", str(home / "hf"))
        yield


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Ray cluster of two machines of one core each, both of them this one; the settings name it."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    store = 80 * 2**20
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": store})
    try:
        cluster.add_node(num_cpus=1, object_store_memory=store)
        monkeypatch.setenv("PERENNIAL_RAY_ADDRESS", cluster.address)
        preferences.cache_clear()
        yield cluster
    finally:
        preferences.cache_clear()
        cluster.shutdown()


@pytest.fixture
def cutting() -> Callable[[], list[psutil.Process]]:
    """The workers of this test's cluster that are cutting faces."""

    def found() -> list[psutil.Process]:
        return [one for one in psutil.Process().children(recursive=True) if "_elsewhere" in _name_of(one)]

    return found


def _name_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has ended
        return ""


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real photographs and clips, which are not part of the repository."""
    folder = Path(os.environ.get("PERENNIAL_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(
            "no real material: set PERENNIAL_REAL_DATA to a folder with crops/, clips/, portraits/ and weights/"
        )
    return folder


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, np.ndarray]]:
    """Read ``<name>.npz`` of the golden vectors (PERENNIAL_GOLDEN, default tests/golden)."""
    folder = Path(os.environ.get("PERENNIAL_GOLDEN", ROOT / "tests" / "golden"))

    def read(name: str) -> dict[str, np.ndarray]:
        with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
            return dict(file)

    return read
