"""Protocols of papers, run as studies: what a protocol still needs, the study it is, and what it found beside what was
reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from components.archives import manifest
from components.archives.parts import Part, spelled
from components.documents import dump_yaml
from components.errors import BadParams, UnknownName
from components.params import Changes
from components.protocols import Protocol, Task, names, read
from components.reports import protocol as report
from components.vocabulary import FORGED
from flows import study as studies
from flows.study import Study, Variant
from flows.workspace import Workspace


def listed(workspace: Workspace) -> str:
    """Every protocol: its order, and whether it can run here."""
    told = []
    for name in names():
        protocol = read(name)
        lacks = missing(workspace, protocol)
        told += [f"{name}: {protocol.title}"]
        told += [f"  missing {words}" for words in lacks] or [f"  ready: perennial study NAME --protocol {name}"]
    return "\n".join(told)


def described(workspace: Workspace, name: str) -> str:
    """One protocol: what its file says, and what it still needs."""
    protocol = read(name)
    said = protocol.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    lacks = missing(workspace, protocol)
    needs = [f"missing {words}" for words in lacks] or [f"ready: perennial study NAME --protocol {name}"]
    return dump_yaml(said, allow_unicode=True, width=4096) + "\n".join(needs)


def expect_no_order(sequence: str) -> None:
    """Raise BadParams for an order beside a protocol's."""
    if sequence:
        raise BadParams(
            f"expected no --sequence beside --protocol, which has its own, found '{sequence}'. Leave one out."
        )


def missing(workspace: Workspace, protocol: Protocol) -> list[str]:
    """What has not landed, each with how to land it; nothing where the protocol can run."""
    landed = workspace.params().archives
    lacks = [
        f"'{name}', {wanted.what}: `perennial land {name} PATH --layout {wanted.layout}`"
        for name, wanted in protocol.archives.items()
        if name not in landed
    ]
    for task in protocol.tasks:
        lacks += [] if task.archive not in landed else _missing_methods(workspace, task)
    return lacks


def applied(workspace: Workspace, study: Study, name: str) -> Study:
    """The study under a protocol: its order, archives, faces, few-shot counts and memory in place of the study's.

    What the protocol does not state stays the workspace's choice, and what a variant changes is the variant's. Raises
    UnknownName, and BadParams that lists the archives which have not landed.
    """
    protocol = read(name)
    if lacks := missing(workspace, protocol):
        raise BadParams(
            f"expected the archives of protocol '{name}', found {len(lacks)} missing:\n"
            + "\n".join(f"  {words}" for words in lacks)
            + "\nLand them and ask again; nothing was changed."
        )
    parts = {task.name: Part(task.archive, task.methods) for task in protocol.tasks}
    variants = {label: _under(protocol, variant) for label, variant in study.variants.items()}
    return replace(
        study,
        sequence=protocol.sequence,
        variants=variants,
        parts={task: part for task, part in parts.items() if part != Part(task)},
        faces=protocol.faces,
    )


def tell(workspace: Workspace, study: Study, name: str) -> Path:
    """Write what the protocol's finished runs found on test faces, beside what was reported, into reports/studies/NAME/test."""
    own = studies.own_of(workspace, study.name)
    runs = [*studies.finished(own, study, "test"), *studies.foreign_runs(own, study)]
    into = studies.reports(workspace, study.name) / "test"
    archives = {task: study.of(task).archive for task in study.sequence}
    return report.tell(name, read(name), runs, own.data, into, archives=archives)


def _missing_methods(workspace: Workspace, task: Task) -> list[str]:
    """Methods of a task that its archive landed without."""
    file = workspace.data("manifests", task.archive) / manifest.MANIFEST_FILE
    if not task.methods or not file.is_file():
        return []
    rows = manifest.read(file)
    try:
        spelled(task.methods, set(rows.loc[rows["label"] == FORGED, "method"]))
    except UnknownName as fault:
        return [f"a method of '{task.archive}' for task '{task.name}': {fault} Land it whole, with that method"]
    return []


def _under(protocol: Protocol, variant: Variant) -> Variant:
    """The variant with the protocol's choices below its own."""
    own = variant.changes
    said: dict[str, dict[str, Any]] = {"training": protocol.training, "memory": protocol.memorised}
    changed = {section: {**facts, **getattr(own, section)} for section, facts in said.items()}
    return replace(variant, changes=Changes(detector=own.detector, strategy=own.strategy, **changed))
