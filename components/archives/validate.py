"""Stage validate: is this manifest fit to be learned from? Says which rows are not, and stops only this archive."""

from __future__ import annotations

from pathlib import Path

from components import stage
from components.archives import expectations, manifest
from components.archives.set_aside import LIST_FILE
from components.params import ValidationOptions


def validate(manifests: Path, output: Path, *, name: str, role: str, validation_params: ValidationOptions) -> None:
    """Write the report into folder `output`, then raise Invalid if a rule is broken; role is both, task or benchmark."""
    rows = manifest.read(manifests / manifest.MANIFEST_FILE)
    set_aside = manifest.read_set_aside(manifests / LIST_FILE)
    earlier = manifest.read_earlier(manifests / manifest.EARLIER_FILE)
    report = expectations.check_manifest(rows, earlier, role=role, params=validation_params, set_aside=set_aside)
    about = {"archive": name, "role": role, "clips": len(rows), "set_aside": sorted(set_aside["path"])}
    report.write(output, about)
    for finding in report.warnings:
        print(f"{name}: {finding}")
    report.enforce(name)


if __name__ == "__main__":
    stage.run(validate)
