"""Finetune: learn the new forgery and look back at nothing. The lower bound every other method is measured against."""

from __future__ import annotations

from components.strategies import Strategy


class Finetune(Strategy):
    """The detector's own losses on new faces only."""
