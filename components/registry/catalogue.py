"""The registered models of a line, read: versions by the digest of their weights, aliases, weights on disk.

A line is the registered model ``perennial-<line>``; a version is one generation with one set of weights. The aliases:

    champion     who answers                              moved by `promote` and `rollback` alone
    previous     who answered before                      the way back
    challenger   the newest generation that is not retired, while it is younger than the champion
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from components.digests import file_digest
from components.errors import BrokenLineage
from components.generations.card import WEIGHTS
from components.tracking import Tracking
from components.writing import room

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
GENERATION_TAG, WEIGHTS_TAG, INDEX_TAG, OPENS_TAG, MODEL_TAG, RETIRED_TAG = (
    "perennial.generation",
    "perennial.weights",
    "perennial.index",
    "perennial.opens",
    "perennial.model",
    "perennial.retired",
)
GENERATION = "artifacts"
"""The folder of a logged model that holds the generation."""
REGISTERED_META = "registered_model_meta"


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
    """The generation folder of a version on this machine; raises BrokenLineage unless they are the files recorded.

    A version loaded by name may hold other bytes than the one that was judged (a store restored from a backup, a file
    replaced by hand), so the digest is taken again of what is really there, the code that would be executed included: all
    of it, where `record` of this version wrote the digest down, and of the weights where an older one did not.
    """
    expected = version.tags.get(MODEL_TAG, ""), version.tags[WEIGHTS_TAG]
    kept = tracking.models / (expected[0] or expected[1])
    if not (kept.is_dir() and _is_of(kept, *expected)):
        shutil.rmtree(kept, ignore_errors=True)
        with room(tracking.models) as here:
            brought = _download(f"models:/{version.name}/{version.version}", here, tracking)
            if not _is_of(brought, *expected):
                found = (
                    file_digest(brought / GENERATION / WEIGHTS)
                    if (brought / GENERATION / WEIGHTS).is_file()
                    else "none"
                )
                other = "other code beside them" if found == expected[1] else f"found {found[:12]}"
                raise BrokenLineage(
                    f"expected weights {expected[1][:12]} in version {version.version} of '{version.name}' as they were "
                    f"recorded, found {other}: nothing of it was executed. Restore the artifact store, or delete the version "
                    "and run the lifecycle again."
                )
            _keep(brought, kept)
    return kept / GENERATION


def executable(version: ModelVersion) -> bool:
    """Whether a digest of the version's code was recorded, which `fetch` compares; other code is not to be executed."""
    return MODEL_TAG in version.tags


def logged_digest(model_id: str, tracking: Tracking) -> str:
    """The digest of all files of a logged model, which is kept here from now on."""
    with room(tracking.models) as here:
        brought = _download(f"models:/{model_id}", here, tracking)
        digest = tree_digest(brought)
        _keep(brought, tracking.models / digest)
    return digest


def _download(uri: str, into: Path, tracking: Tracking) -> Path:
    place = into / "model"
    place.mkdir()
    where = {"tracking_uri": tracking.uri, "registry_uri": tracking.uri}
    mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(place), **where)
    (place / REGISTERED_META).unlink(missing_ok=True)  # what MLflow writes down of each download
    return place


def _keep(brought: Path, kept: Path) -> None:
    with suppress(OSError):  # another process was first
        brought.replace(kept)


def _is_of(folder: Path, model: str, weights: str) -> bool:
    if not (folder / GENERATION / WEIGHTS).is_file():
        return False
    return tree_digest(folder) == model if model else file_digest(folder / GENERATION / WEIGHTS) == weights


def tree_digest(folder: Path) -> str:
    """One name for the paths and bytes of all files of a model, compiled code too: Python would execute it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    said = "".join(f"{path.relative_to(folder).as_posix()}\0{file_digest(path)}\n" for path in files)
    return hashlib.sha256(said.encode()).hexdigest()


@contextmanager
def own_modules() -> Iterator[None]:
    """Undo what loading a model does to ``sys.path``: the code stored with it would shadow ours in later imports. No
    compiled code is written beside it, so that it stays what its digest says."""
    before, writes_nothing = list(sys.path), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.path[:] = before
        sys.dont_write_bytecode = writes_nothing
