"""Experience replay: half of every batch is remembered, chosen by a reservoir (Chaudhry et al. 2019, arXiv 1902.10486).

Differs  the reservoir is balanced: every (task, class) has an equal part of the memory, drawn once from the finished task, and
         an equal part of what a batch replays. In the paper every face of the stream is equally likely, and larger tasks
         keep more and are replayed more: `memory.policy: reservoir_proportional`.
"""

from __future__ import annotations

from components.strategies import Strategy


class ExperienceReplay(Strategy):
    """The detector's own losses on new and remembered faces alike."""

    remembers = "reservoir"
