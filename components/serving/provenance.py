"""What a file says of its own origin: a C2PA manifest, read by `c2pa-python` where that is installed (extra `provenance`).

A manifest tells who signed what about a file; it proves neither that the file is genuine nor, by its absence, that it is
not. Nothing is fetched: a manifest that lies elsewhere counts as none, and no list of revoked certificates is asked for.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from components.serving.record import Provenance

OFFLINE = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
NOT_HERE = (
    "Nobody looked for a C2PA manifest: c2pa-python is not installed here (pip install 'perennial[provenance]'). "
    "Whether the file names its origin is not known."
)


def read(path: Path) -> Provenance:
    """What the manifest of a file says, or that there is none; a file of a format that holds no manifest has none."""
    c2pa = _library()
    if c2pa is None:
        return Provenance(looked_for=False, found=None, words=NOT_HERE)
    try:
        with path.open("rb") as file:
            reader = c2pa.Reader.try_create(file, context=c2pa.Context.from_dict(OFFLINE))
            if reader is None:
                return _without()
            with reader:
                return _told(str(reader.get_validation_state()), reader.get_active_manifest() or {})
    except c2pa.C2paError.NotSupported:
        return _without()
    except (c2pa.C2paError, OSError) as fault:
        words = f"A C2PA manifest was looked for, and reading the file for it failed: {str(fault)[:200]}."
        return Provenance(looked_for=True, found=None, words=words)


def _without() -> Provenance:
    words = "No C2PA manifest was found in the file. Most files have none, genuine or forged."
    return Provenance(looked_for=True, found=False, words=words)


def _told(state: str, manifest: dict[str, Any]) -> Provenance:
    generators = manifest.get("claim_generator_info") or [{}]
    made_by = " ".join(str(generators[0][key]) for key in ("name", "version") if generators[0].get(key)) or None
    signed_by = (manifest.get("signature_info") or {}).get("issuer")
    words = f"A C2PA manifest was found; its state is {state}. It says that it was made by {made_by or 'an unnamed program'}"
    words += f" and signed for by {signed_by}." if signed_by else "."
    return Provenance(looked_for=True, found=True, state=state, made_by=made_by, words=words)


@cache
def _library() -> Any:
    """c2pa-python, or None where it is not installed or its library does not load."""
    try:
        import c2pa
    except (ImportError, OSError):
        return None
    return c2pa
