"""What a person sees: one page per line (`publish`) and the state of all lines in the terminal (`terminal`)."""

from collections.abc import Callable
from pathlib import Path

Place = Callable[[str, str], Path]
"""Where ``data/<kind>/<name>`` of a workspace is."""

PAGE_FILE = "index.html"
