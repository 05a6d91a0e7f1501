"""One text for one name, and names as they can be shown: what people type, export and copy differs in ways nobody sees.

A person, a source, a method or a file that a list names is compared by `one_text`: surrounding blanks, line breaks, NUL and
Unicode forms never make two of one. Letters stay as they are, and so does their case.

Whatever is shown that came from outside goes through `printable` or `harmless`: a terminal obeys escapes, and letters that
turn the direction of writing make one name look like another. Commands print by `say`, or with a `components.printing.Console`.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Final, TextIO

_BREAK: Final = re.compile(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*")
_UNSEEN: Final = frozenset(
    {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
)  # categories: controls, marks of direction, breaks
_AROUND: Final = re.compile(r"^[\s\ufeff\u200b\u2060]+|[\s\ufeff\u200b\u2060]+$")  # blanks, and marks without a width


def one_text(text: str) -> str:
    """The text without NUL and surrounding blanks, a line break inside as one blank, in NFC.

    NFC spells `é` in one way and keeps `²` apart from `2`, which NFKC would not.
    """
    if text.isascii() and text.isprintable() and text == text.strip():
        return text
    return _AROUND.sub("", _BREAK.sub(" ", unicodedata.normalize("NFC", text.replace("\0", ""))))


def printable(text: str) -> str:
    """The text in one line, with an escape such as \\x1b or \\u202e for every character that is no letter, sign or blank.

    Bytes of a name that were in another code page than UTF-8 show as \\x..
    """
    return text if text.isascii() and text.isprintable() else "".join(map(_shown, text))


def harmless(text: str) -> str:
    """The same with line breaks and tabs left as they are: of a text that may have lines."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(one if one in "\n\t" else _shown(one) for one in text)


def say(words: str = "", *, file: TextIO | None = None, flush: bool = False) -> None:
    """Print a line, or lines, of nothing but words."""
    print(harmless(words), file=file, flush=flush)


def _shown(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python keeps a byte that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    if unicodedata.category(character) not in _UNSEEN:
        return character
    return character.encode("unicode_escape").decode()


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
