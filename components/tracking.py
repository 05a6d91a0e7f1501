"""The door to MLflow: where it keeps its books, and one client per place.

Embedded by default: ``<workspace>/mlflow.db`` (sqlite) with artifacts under ``<workspace>/mlartifacts``;
``PERENNIAL_TRACKING_URI`` names a server instead, which then decides about artifacts itself.

    tracking = connect(workspace)
    tracking.client.search_runs([tracking.experiment], ...)

MLflow knows artifacts by absolute paths. A workspace that was moved, or is a copy, is found out when its books are opened,
and they name its own folder from then on.

Everything Perennial writes there is a projection of files in the workspace: deleting it loses nothing, `record` and
`promote` write it again.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import sqlite3
import threading
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from components import addresses
from components.errors import PerennialError
from components.settings import hush, settings
from components.writing import room

hush()  # before the import: MLflow reads its telemetry switch then

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType")  # about its own classes
    import mlflow
    import mlflow.pyfunc
from mlflow import MlflowClient  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402

logging.getLogger("mlflow").setLevel(logging.WARNING)  # it reports every table it makes and every version it registers

EXPERIMENT = "perennial"
DATABASE, ARTIFACTS, MODELS = "mlflow.db", "mlartifacts", Path(".perennial", "models")
_CONNECTING = threading.RLock()
"""Alembic, which makes the tables, holds what it works on in variables of its module: two threads would share them."""
PATIENCE_S = 10.0
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
"""Where MLflow 3.17 writes down a path."""
SERVERS = ("http://", "https://", "databricks")


@dataclass(frozen=True)
class Tracking:
    """A place where MLflow keeps its books."""

    uri: str
    experiment: str
    """Id of the experiment that holds every line."""
    models: Path
    """Where models that were fetched from there are kept, by their digest."""

    @property
    def page(self) -> str:
        """Where its server shows the lines, empty where there is none. What MLflow shows of an experiment is otherwise for the
        browser to remember, and at first it is traces of language models: no tag of ours changes that."""
        if not self.uri.startswith(("http://", "https://")):
            return ""
        return f"{self.uri.rstrip('/')}/#/experiments/{self.experiment}/runs?workflowType=machine_learning"

    @property
    def client(self) -> MlflowClient:
        """The client of this place; it also becomes the place of MLflow's own global functions."""
        return _client(self.uri)


def connect(workspace: Path, uri: str = "") -> Tracking:
    """Open the books of a workspace, and create them on first use.

    `uri` wins over ``PERENNIAL_TRACKING_URI``, which wins over the workspace's own sqlite file. Raises PerennialError where
    nobody answers there.
    """
    with _CONNECTING:
        return _connect(workspace.resolve(), uri or settings().tracking_uri)


@cache
def _connect(workspace: Path, uri: str) -> Tracking:
    with warnings.catch_warnings():
        # MLflow 3.17 maps its tables in a way that SQLAlchemy 2.1 means to drop; said once, when they are mapped.
        warnings.filterwarnings("ignore", message="The ``noload`` loader strategy", category=DeprecationWarning)
        own = not uri
        if own:
            workspace.mkdir(parents=True, exist_ok=True)
            _create_database(workspace / DATABASE)
            uri = addresses.sqlite(workspace / DATABASE)
        expect_answer(uri)
        # A server decides about artifacts itself; a bare database would leave them in the current folder.
        artifacts = None if uri.startswith(SERVERS) else (workspace / ARTIFACTS).as_uri()
        if own and artifacts:
            _follow_a_move(workspace / DATABASE, artifacts)
        return Tracking(uri, _experiment(_client(uri), artifacts), workspace / MODELS)


def expect_answer(uri: str) -> None:
    """Raise PerennialError where nobody answers at `uri`, within seconds; MLflow itself would ask for minutes, in silence.

    An answer of any kind is one.
    """
    parts = urlsplit(uri)
    if not parts.hostname:  # a file, or a name that a profile explains
        return
    try:
        if parts.scheme in ("http", "https"):
            httpx.head(uri, timeout=PATIENCE_S)
        else:
            port = parts.port or PORTS.get(parts.scheme.partition("+")[0])
            if port:
                socket.create_connection((parts.hostname, port), timeout=PATIENCE_S).close()
    except (OSError, httpx.TransportError) as fault:
        raise away(uri, fault) from None


@contextmanager
def answering(tracking: Tracking) -> Iterator[None]:
    """What is asked of MLflow in the block; a server that stops answering is PerennialError, in one line."""
    try:
        yield
    except (MlflowException, OSError) as fault:  # those of `requests`, which MLflow speaks through, are OSErrors
        if "API request to" not in str(fault) and type(fault).__module__.partition(".")[0] != "requests":
            raise
        raise away(tracking.uri, fault) from None


def away(uri: str, fault: Exception) -> PerennialError:
    """Nobody answers at `uri`; a password in it is not said."""
    parts = urlsplit(uri)
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    why = re.sub(r"\s+", " ", str(fault))[:200]
    return PerennialError(
        f"expected MLflow at PERENNIAL_TRACKING_URI='{shown}', found nobody that answers ({why}). Start it, mend the address, "
        "or unset it: the workspace has books of its own. Nothing is lost: `perennial run` records what was made."
    )


def _client(uri: str) -> MlflowClient:
    # log_model and create_model_version reach for the global place whatever client they are called through.
    if mlflow.get_tracking_uri() != uri:
        mlflow.set_tracking_uri(uri)
    return _cached_client(uri)


@cache
def _cached_client(uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _create_database(database: Path) -> None:
    """Make the tables beside `database` and move them in place in one step.

    A process killed in the middle of the migrations would otherwise leave a database that MLflow refuses to open, and
    two first users would migrate it at once. ``link`` fails where the other was first: its database then stands.
    """
    if database.exists():
        return
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

    with room(database.parent, database.name) as here:
        draft = here / database.name
        engine = create_sqlalchemy_engine(addresses.sqlite(draft))
        try:
            _initialize_tables(engine)
        finally:
            engine.dispose()
        with suppress(FileExistsError):
            os.link(draft, database)


def _follow_a_move(database: Path, artifacts: str) -> None:
    """Let the books of a workspace that lay elsewhere name the artifacts beside them, all at once or not at all."""
    with closing(sqlite3.connect(database, timeout=60)) as books, books:
        known = books.execute("select artifact_location from experiments where name = ?", (EXPERIMENT,)).fetchone()
        before = known[0] if known else artifacts
        if before == artifacts or not before.endswith(f"/{ARTIFACTS}"):
            return
        for table, column in LOCATIONS:
            books.execute(
                f"update {table} set {column} = ? || substr({column}, ?) where substr({column} || '/', 1, ?) = ?",  # noqa: S608
                (artifacts, len(before) + 1, len(before) + 1, f"{before}/"),
            )


def _experiment(client: MlflowClient, artifacts: str | None) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        try:
            return str(client.create_experiment(EXPERIMENT, artifact_location=artifacts))
        except MlflowException:  # another process was first
            found = client.get_experiment_by_name(EXPERIMENT)
            if found is None:
                raise
    return str(found.experiment_id)
