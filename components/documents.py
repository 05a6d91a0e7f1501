"""YAML in one dialect, whoever reads it: DVC reads params.yaml and lineage.yaml as YAML 1.2, PyYAML reads 1.1.

Read as DVC does: yes, no, on and off are words, and only true and false are not. Written so that no reader can take a
text for anything else: what either version calls a number, a date or a truth value is quoted.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

_BOOL, _INT, _FLOAT = (f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float"))
_DIGITS: Final = list("-+0123456789")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # libyaml: ten times as fast
    """A safe loader that knows the truth values of YAML 1.2."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag != _BOOL]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


class _Dumper(yaml.SafeDumper):
    """A safe dumper that also quotes what YAML 1.2 alone calls a number: 08, 0o17, 1e5."""


_Dumper.add_implicit_resolver(_INT, re.compile(r"^[-+]?(?:0o[0-7_]+|[0-9_]+)$"), _DIGITS)
_Dumper.add_implicit_resolver(_FLOAT, re.compile(r"^[-+]?[0-9][0-9_.]*[eE][-+]?[0-9]+$"), _DIGITS)


def load_yaml(content: bytes | str) -> Any:
    """What a document says; raises yaml.YAMLError, also for anything but plain data."""
    return yaml.load(content, Loader=_Loader)  # noqa: S506 a safe one


def dump_yaml(value: Any, *, sort_keys: bool = False, **how: Any) -> str:
    """The document that says `value`; `how` as in `yaml.dump`."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=sort_keys, **how))


def needs_quotes(text: str) -> bool:
    """Whether some reader would take this text, written plainly, for something else."""
    return any(pattern.match(text) for _, pattern in _Dumper.yaml_implicit_resolvers.get(text[:1], ()))
