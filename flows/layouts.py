"""Which layouts there are, and which one an archive has."""

from __future__ import annotations

from pathlib import Path

from components.archives import layouts
from components.errors import BadArchive, BadParams


def table() -> str:
    """The name of every layout, what it is, and where its list comes from."""
    width = max(map(len, layouts.names()))
    lines = []
    for name in layouts.names():
        declared = layouts.declared_by(name)
        title = declared.title if declared else layouts.tree(name).partition("\n")[0].rstrip(".")
        lines.append(f"{name:{width}}  {title}")
        if declared:
            lines.append(f"{'':{width}}  lists: {declared.lists}")
    return "\n".join([*lines, "", "perennial layouts NAME shows the tree and the lists of one."])


def page(name: str) -> str:
    """The tree of one layout, the face detector it needs, its lists, and what nobody verified; raises UnknownName."""
    faces = layouts.default_faces(name)
    said = [layouts.tree(name), "", f"Faces    {faces}"]
    if declared := layouts.declared_by(name):
        said.append(f"Lists    {declared.lists}")
        if declared.counts:
            said.append("Counts   " + ", ".join(f"{n:,} {what}" for what, n in declared.counts.items()))
        said += [f"Not verified: {words}" for words in declared.unverified]
    return "\n".join(said)


def recognised(path: str) -> tuple[str, list[str]]:
    """The layout of a folder and what to say about it; raises BadArchive where names do not decide, BadParams for S3."""
    if "://" in path:
        raise BadParams(f"expected --layout for '{path}': only folders are recognised by what lies there.")
    fits = layouts.recognise(Path(path).expanduser())
    best = [name for name, count in fits.items() if count == max(fits.values())]
    if len(best) != 1:
        found = f"it could be {' or '.join(best)}" if best else "none fits"
        raise BadArchive(f"expected to recognise the layout of '{path}', but {found}. Say which: --layout NAME.")
    name = best[0]
    declared = layouts.declared_by(name)
    said = [f"Recognised {declared.title if declared else name}: --layout {name}, by the names of {fits[name]} files."]
    others = {other: count for other, count in fits.items() if other != name}
    said += [f"{count} files fit layout {other} too." for other, count in others.items()]
    return name, said
