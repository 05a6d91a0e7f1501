"""Withdrawals in the document of params.yaml."""

from __future__ import annotations

from collections.abc import Sequence

from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import SingleQuotedScalarString

from components.params import Withdrawal

NAMES = ("source", "identity", "clip")


def name_in(document: CommentedMap, orders: Sequence[Withdrawal]) -> None:
    """Add `orders` to the list of withdrawals in the document of params.yaml."""
    if not orders:
        return
    document["withdrawn"] = document.get("withdrawn") or CommentedSeq()
    for order in orders:
        named = order.model_dump(exclude_defaults=True)
        quoted = {key: SingleQuotedScalarString(value) for key, value in named.items() if key in NAMES}
        line = CommentedMap({**named, **quoted})  # plain, 133_097 would be read as a number and no as false
        line.fa.set_flow_style()
        document["withdrawn"].append(line)
