"""Addresses of other tools: a name is text as it stands, and `#`, `?` and `%` in it are characters, not syntax."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from components.errors import BadParams


def bucket_and_prefix(address: str) -> tuple[str, str]:
    """Of ``s3://bucket/prefix``, the prefix without slashes at its ends; raises BadParams."""
    scheme, _, rest = address.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise BadParams(f"expected an address like s3://bucket/prefix, found '{address}'.")
    return bucket, prefix.strip("/")


def sqlite(database: Path) -> str:
    """A database as SQLAlchemy 2.0 reads it: a path as it stands, but for `?`. With the driver named MLflow makes no folder of
    the spelling."""
    path = str(database)
    return f"sqlite+pysqlite:///file:{quote(path)}?uri=true" if "?" in path else f"sqlite+pysqlite:///{path}"
