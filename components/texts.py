"""One text for one name: what people type, export and copy differs in ways nobody sees.

A person, a source, a method or a file that a list names is compared by `one_text`: surrounding blanks, line breaks, NUL and
Unicode forms never make two of one. Letters stay as they are, and so does their case.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Final

_BREAK: Final = re.compile(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*")
_AROUND: Final = re.compile(r"^[\s\ufeff\u200b\u2060]+|[\s\ufeff\u200b\u2060]+$")  # blanks, and marks without a width


def one_text(text: str) -> str:
    """The text without NUL and surrounding blanks, a line break inside as one blank, in NFC.

    NFC spells `é` in one way and keeps `²` apart from `2`, which NFKC would not.
    """
    if text.isascii() and text.isprintable() and text == text.strip():
        return text
    return _AROUND.sub("", _BREAK.sub(" ", unicodedata.normalize("NFC", text.replace("\0", ""))))


def texts(value: Any) -> Any:
    """The same for every text in what JSON holds, keys too."""
    match value:
        case str():
            return one_text(value)
        case list():
            return [texts(one) for one in value]
        case dict():
            return {texts(key): texts(one) for key, one in value.items()}
    return value
