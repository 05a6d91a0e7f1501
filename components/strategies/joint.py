"""Joint training: every task at once, nothing let go. The upper bound every other method is measured against.

Differs  the student starts from its teacher, as every student does, and meets all tasks so far again, an equal number of
         faces of each; an epoch lasts until every drawn face of the newest task was seen.
"""

from __future__ import annotations

from components.strategies import Strategy


class Joint(Strategy):
    """The detector's own losses on every face of every task so far."""

    remembers = "everything"
    tasks_alike = True
