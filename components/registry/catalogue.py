"""The registered models of a line, read: versions by the digest of their weights, aliases, weights on disk.

A line is the registered model ``perennial-<line>``; a version is one generation with one set of weights. The aliases:

    champion     who answers                              moved by `promote` and `rollback` alone
    previous     who answered before                      the way back
    challenger   the newest generation, while it is younger than the champion
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from components.digests import file_digest
from components.errors import BrokenLineage
from components.generations.card import WEIGHTS
from components.tracking import Tracking

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
GENERATION_TAG, WEIGHTS_TAG, INDEX_TAG, OPENS_TAG = (
    "perennial.generation",
    "perennial.weights",
    "perennial.index",
    "perennial.opens",
)


@dataclass(frozen=True)
class Champion:
    """Who answers for a line."""

    name: str
    version: str
    weights: str
    """sha256 of its ``weights.safetensors``."""
    folder: Path
    """Its generation folder on this machine, without the curve: ``load_classifier(folder)``."""


def model_name(line: str) -> str:
    return f"perennial-{line}"


def champion(line: str, tracking: Tracking) -> Champion | None:
    """The champion of a line with its weights fetched and checked; None while nobody was promoted.

    Raises BrokenLineage when the weights in the store are not those that were promoted.
    """
    version = holder(line, CHAMPION, tracking)
    if version is None:
        return None
    folder = fetch(version, tracking)
    return Champion(version.tags[GENERATION_TAG], str(version.version), version.tags[WEIGHTS_TAG], folder)


def versions(line: str, tracking: Tracking) -> list[ModelVersion]:
    """Every version of a line that `record` wrote, oldest generation first."""
    found = tracking.client.search_model_versions(f"name = '{model_name(line)}'", max_results=10_000)
    ours = [version for version in found if WEIGHTS_TAG in version.tags]
    return sorted(ours, key=lambda version: (int(version.tags[INDEX_TAG]), int(version.version)))


def version_of(line: str, generation: str, weights: str, tracking: Tracking) -> ModelVersion | None:
    """The version of exactly these weights of this generation."""
    for version in versions(line, tracking):
        if (version.tags[GENERATION_TAG], version.tags[WEIGHTS_TAG]) == (generation, weights):
            return version
    return None


def holder(line: str, alias: str, tracking: Tracking) -> ModelVersion | None:
    """The version an alias points to, None where the alias or the model does not exist."""
    try:
        return tracking.client.get_model_version_by_alias(model_name(line), alias)
    except MlflowException as absent:
        if absent.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
            return None
        raise


def fetch(version: ModelVersion, tracking: Tracking) -> Path:
    """The generation folder of a version on this machine; raises BrokenLineage unless they are the ones recorded.

    A version loaded by name may hold other bytes than the one that was judged (a store restored from a backup, a file
    replaced by hand), so the digest is taken again of what is really there.
    """
    uri = f"models:/{version.name}/{version.version}"
    root = Path(
        mlflow.artifacts.download_artifacts(artifact_uri=uri, tracking_uri=tracking.uri, registry_uri=tracking.uri)
    )
    folder = root / "artifacts"
    expected, found = version.tags[WEIGHTS_TAG], file_digest(folder / WEIGHTS)
    if found != expected:
        raise BrokenLineage(
            f"expected weights {expected[:12]} in version {version.version} of '{version.name}', found {found[:12]} in "
            f"'{folder}'. Restore the artifact store, or delete the version and run the lifecycle again."
        )
    return folder


@contextmanager
def own_modules() -> Iterator[None]:
    """Undo what loading a model does to ``sys.path``: the code stored with it would shadow ours in later imports."""
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before
