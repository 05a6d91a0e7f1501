"""Every detector learns a forgery of the lab at its tiny size: the measurement of benchmarks/families.py, with a floor.

Each has another family, so that five trainings touch all of them; the benchmark measures every pair. A quarter of an hour:
`make test-long`.
"""

from __future__ import annotations

import importlib.util
import sys
from itertools import cycle
from pathlib import Path
from types import ModuleType

import pytest

from components import detectors
from components.lab.forgeries import FAMILIES

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "families.py"


@pytest.fixture(scope="module")
def families() -> ModuleType:
    """The benchmark as a module."""
    spec = importlib.util.spec_from_file_location("benchmark_of_families", BENCHMARK)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where faces are kept, so that each family is rendered once."""
    return tmp_path_factory.mktemp("families")


@pytest.mark.long
@pytest.mark.usefixtures("torch_as_it_was")
@pytest.mark.parametrize(("name", "family"), list(zip(detectors.names(), cycle(FAMILIES), strict=False)))
def test_a_tiny_detector_tells_a_forgery_of_people_it_never_saw(
    name: str, family: str, families: ModuleType, kept: Path
) -> None:
    result = families.learned(name, families.faces_of(family, kept, people=families.people_for(name)))
    assert result.clips >= 50
    assert result.auc >= 0.9
