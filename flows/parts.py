"""Archives of one workspace come into another's, whole or in part, under the same name or another."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping

from components.archives import parts
from components.archives.parts import Part
from components.params import Withdrawal
from flows.land import land
from flows.workspace import Workspace


def bring(own: Workspace, workspace: Workspace, name: str, part: Part, role: str) -> None:
    """Land in `own`, as `name`, the part of an archive that landed in `workspace`.

    Parts of one archive share its genuine clips, which are in the same split in each of them.
    """
    known, source = workspace.params().archives[part.archive], workspace.data("archives", part.archive)
    if not part.methods:
        land(own, name, str(source), layout=known.layout, role=role, faces=known.faces)
        return
    room = own.root / ".perennial" / "parts" / name
    parts.write(source, room, layout=known.layout, methods=part.methods)
    land(own, name, str(room), layout=known.layout, role=role, faces=known.faces)
    shutil.rmtree(room)


def renamed(withdrawn: Iterable[Withdrawal], among: Mapping[str, Part]) -> list[Withdrawal]:
    """What was withdrawn from archives, as it is to be said of the tasks that are parts of them."""
    return [
        order.model_copy(update={"archive": name})
        for order in withdrawn
        for name, part in among.items()
        if order.archive == part.archive != name
    ]
