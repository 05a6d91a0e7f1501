"""What can go wrong, as a family; every message says what was expected, what was found and what to do.

PerennialError
├── BadParams          params.yaml or a recipe holds something nobody can follow
│   └── UnknownName    a name that is in no catalogue (with the nearest one that is)
├── BadArchive         an archive does not have the layout it claims, or cannot be read
│   ├── NameTaken      another content already landed under that name
│   ├── OutOfReach     its store or a disk did not give it whole, or had no room for it: later it may
│   ├── Unreadable     one clip of it is no whole video or still
│   └── Invalid        the validation suite found rows that must not be learned from
├── NoFaceFound        too few faces in an archive or a clip
├── MissingWeights     a weight file is not here and cannot be fetched
├── BrokenLineage      lineage.yaml and what it points to disagree
├── Refused            a promotion without an open verdict for exactly these weights
├── TooLarge           a file beyond what a service takes
├── Busy               nobody is free to answer now; later there will be
└── StageFailed        a pipeline stage ended with an error
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from typing import Final


class PerennialError(Exception):
    """Anything the user can mend. ``str(error)`` is the whole advice."""


class BadParams(PerennialError):
    """``params.yaml`` or a recipe holds something nobody can follow."""


class UnknownName(BadParams):
    """A name that is in no catalogue."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        super().__init__(f"no {kind} '{name}'; known: {', '.join(names) or 'none'}.{hint}")


class BadArchive(PerennialError):
    """An archive does not have the layout it claims, or cannot be read."""


class NameTaken(BadArchive):
    """Another content already landed under that name."""


class OutOfReach(BadArchive):
    """A store or a disk did not give an archive whole, or had no room for it: nothing is wrong with the archive itself."""


class Unreadable(BadArchive):
    """One clip of an archive is no whole video or still, whatever machine reads it."""


class Invalid(BadArchive):
    """The validation suite found rows that must not be learned from."""


class NoFaceFound(PerennialError):
    """Too few faces in an archive or a clip."""


class MissingWeights(PerennialError):
    """A weight file is not here and cannot be fetched."""


class BrokenLineage(PerennialError):
    """lineage.yaml and what it points to disagree."""


class Refused(PerennialError):
    """A promotion without an open verdict for exactly these weights."""


class TooLarge(PerennialError):
    """A file beyond what a service takes."""


class Busy(PerennialError):
    """Nobody is free to answer now; later there will be."""


class StageFailed(PerennialError):
    """A pipeline stage ended with an error."""


_ADVICE: Final = {
    errno.EACCES: "it may not be read or written here: give this user the right (chmod, chown)",
    errno.EPERM: "it may not be read or written here: give this user the right (chmod, chown)",
    errno.ENOSPC: "the disk is full: make room and try again",
    errno.EFBIG: "it is larger than this disk or this user may hold: choose another place",
    errno.EDQUOT: "the quota of this user is used up: make room and try again",
    errno.EIO: "the disk or the network behind it fails: copy the file from another place",
    errno.ESTALE: "the network disk lost it: mount it again",
    errno.ENOENT: "nothing is there, or a link leads nowhere: put the file itself in its place",
    errno.ELOOP: "a link leads to itself: put the file itself in its place",
    errno.EROFS: "the disk is mounted read-only: choose another place",
    errno.ENAMETOOLONG: "its name is too long for the disk: rename it",
    errno.EILSEQ: "its name cannot be written on this disk: rename it",
}
_SHORT_OF_MEMORY: Final = ("DefaultCPUAllocator: ", "CUDA out of memory", "Cannot allocate memory", "std::bad_alloc")
"""What libraries say that raise no MemoryError."""
OF_THE_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE})
"""And not of what is written to it or read from it."""
_OF_THE_PROGRAM: Final = (errno.ENOENT, errno.ELOOP)  # more often a mistake of ours than of a disk


OUT_OF_MEMORY: Final = (
    "give it less (a smaller training.batch or faces.size_px in params.yaml, fewer PERENNIAL_WORKERS, PERENNIAL_LOADERS=0) or "
    "the machine more. What was made before is safe; run again"
)


def advice(fault: OSError) -> str:
    """What went wrong with a file, and what to do."""
    words = fault.strerror or str(fault) or type(fault).__name__
    return f"{words}: {_ADVICE[fault.errno]}" if fault.errno in _ADVICE else words


def in_words(fault: Exception) -> str:
    """A fault of the system that a person can mend, in one line; empty for others."""
    fault = _of_the_disk(fault) or fault
    if isinstance(fault, MemoryError) or any(sign in str(fault) for sign in _SHORT_OF_MEMORY):
        return f"the memory of this machine does not suffice: {OUT_OF_MEMORY}."
    if not isinstance(fault, OSError) or fault.errno not in _ADVICE or fault.errno in _OF_THE_PROGRAM:
        return ""
    where = f"'{fault.filename}' cannot be read or written" if fault.filename else "a file cannot be read or written"
    return f"{where}: {advice(fault)}. What was made before is safe; run again."


def _of_the_disk(fault: BaseException) -> OSError | None:
    """What a disk said while a fault was raised: torch closes a half-written file, and fails of that in its turn."""
    beneath: BaseException | None = fault
    while beneath is not None and not (isinstance(beneath, OSError) and beneath.errno in OF_THE_DISK):
        beneath = beneath.__cause__ or beneath.__context__
    return beneath
