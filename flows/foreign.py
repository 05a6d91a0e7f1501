"""``perennial import-scores``: what other people's detectors answered enters a study as a line of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from components import strategies
from components.errors import BadParams, UnknownName
from components.evaluation import foreign
from components.evaluation.foreign import CHANCE, Imported, named
from components.faces.about import FACES_FILE
from components.faces.table import FaceTable
from components.reports import foreign as lines
from flows.study import FOLDER_NAME, FOREIGN, key_of, own_of
from flows.workspace import Workspace


def import_scores(
    workspace: Workspace, study: str, label: str, files: Mapping[str, Path], *, chance: bool = False
) -> dict[str, Imported]:
    """Let the tables of some tasks stand in a study as line `label`, in place of what it had there; returns them as read.

    Raises BadParams, with nothing changed, where a table cannot be believed or lacks clips and not `chance` answers them.
    """
    own = own_of(workspace, study)
    _check_label(own, label)
    tables = {task: _table(own, task) for task in files}
    imported = {
        task: foreign.joined(foreign.read(file), tables[task].rows, task, chance=chance) for task, file in files.items()
    }
    digests = {task: table.digest for task, table in tables.items()}
    lines.write(own.data(FOREIGN, label), label, imported, digests)
    return imported


def files_of(words: Sequence[str]) -> dict[str, Path]:
    """``TASK=FILE`` words; raises BadParams."""
    files: dict[str, Path] = {}
    for word in words:
        task, equals, file = word.partition("=")
        if not (task and equals and file) or task in files:
            raise BadParams(f"expected TASK=FILE, each task once, found '{word}'. Write swaps=scores.csv.")
        files[task] = Path(file)
    return files


def told(imported: Mapping[str, Imported]) -> str:
    """What was read, a line a task."""
    return "\n".join(f"{task}: {len(read.rows)} test clips{_gaps(read)}." for task, read in imported.items())


def _gaps(read: Imported) -> str:
    passed = f"; {len(read.unknown)} that are no test clips were passed over: {named(read.unknown)}"
    guessed = f"; {len(read.missing)} had no score and count as {CHANCE}: {named(read.missing)}"
    return (passed if read.unknown else "") + (guessed if read.missing else "")


def _check_label(own: Workspace, label: str) -> None:
    if not FOLDER_NAME.fullmatch(label):
        raise BadParams(f"expected a label of letters, digits, '_', '.' and '-', found '{label}'.")
    ours = {key_of(line).label for line in own.params().lines}
    if label in ours or label in strategies.names():
        raise BadParams(f"expected a label that none of ours has, found '{label}'. Call the line by its detector.")


def _table(own: Workspace, task: str) -> FaceTable:
    if task not in own.params().archives:
        raise UnknownName("task", task, own.params().archives)
    faces = own.data("faces", task)
    if not (faces / FACES_FILE).is_file():
        raise BadParams(f"expected the faces of '{task}' in '{faces}', found none. Run the study first.")
    return FaceTable.load(faces)
