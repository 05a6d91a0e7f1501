"""Where things run, from the environment (``PERENNIAL_*``). What is trained is set in ``params.yaml`` alone."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from components.errors import BadParams
from components.vocabulary import Compiled, Precision

# No tool we use may phone home, fetch anything behind the user's back, or keep the user waiting without a word.
SILENCE = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines a run, between those that people read
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # seconds; its seven are minutes without a word
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
}


class Settings(BaseSettings):
    """One field, one variable: ``device`` is ``PERENNIAL_DEVICE``."""

    model_config = SettingsConfigDict(env_prefix="PERENNIAL_", frozen=True)

    workspace: Path = Path()
    """The folder with dvc.yaml, params.yaml and lineage.yaml."""
    device: str = "auto"
    """Accelerator for Lightning Fabric: auto, cpu, cuda, mps."""
    precision: Precision = "32-true"
    """Of training, as Fabric names it; losses are computed in float32 either way. A recipe freezes it when it is planned."""
    deterministic: bool = True
    """Kernels that give the same bytes every time, at some cost in speed. A recipe freezes it when it is planned."""
    devices: int = Field(1, ge=1)
    """Devices one training uses. A recipe freezes it when it is planned."""
    compile: Compiled = "no"
    """Whether torch compiles what a network does in training, and how: `torch.compile`'s mode. A recipe freezes it when
    it is planned."""
    loaders: int | None = Field(None, ge=0)
    """Processes that decode and augment faces beside each training or examination; 0 is a thread. Unset: the spare cores
    of a machine with an accelerator, up to 16, and 0 where the CPU computes."""
    decoded_bytes: int = Field(16 * 2**30, ge=0)
    """Of files in ``.perennial/decoded``, where stages keep decoded faces for one another; 0 keeps none."""
    fetched_bytes: int = Field(64 * 2**30, ge=0)
    """Of files in ``.perennial/fetched``, where faces whose table lies in an object store are kept; 0 keeps none."""
    workers: int = os.cpu_count() or 1
    """Pipeline stages that may run at once; where there are accelerators, of those that use none."""
    stages_per_device: int = Field(1, ge=1)
    """Pipeline stages that may share an accelerator; more than one where networks are small."""
    stage_timeout_s: float = 24 * 3600
    """A stage that runs longer is stopped."""
    ray_address: str = ""
    """``host:port`` of a Ray cluster that crops archives, all its machines seeing the archives at the same place; empty means
    the cores of this machine."""
    tracking_uri: str = ""
    """MLflow; empty means ``<workspace>/mlflow.db`` (sqlite)."""
    yunet_weights: Path | None = None
    """face_detection_yunet.onnx of the OpenCV model zoo."""
    retinaface_weights: Path | None = None
    """retinaface_resnet50_2020-07-20 state dict (.pth); fetched by name where a network exists and this is unset."""
    keys: SecretStr = SecretStr("")
    """Who may ask a service that others than this machine reach: ``name:key,name:key``."""
    inbox: str = ""
    """What `perennial watch` looks at: a folder or ``s3://bucket/prefix``."""


@cache
def settings() -> Settings:
    """The settings of this process, read once; raises BadParams naming the variable that cannot be followed."""
    try:
        return Settings()
    except ValidationError as faults:
        lines = [f"  PERENNIAL_{str(f['loc'][0]).upper()}: {f['msg']}; found {f['input']!r}" for f in faults.errors()]
        raise BadParams("the environment cannot be followed:\n" + "\n".join(lines)) from None


def hush() -> None:
    """Set the variables of ``SILENCE`` unless the user has set them; call before importing the tools."""
    for name, value in SILENCE.items():
        os.environ.setdefault(name, value)
