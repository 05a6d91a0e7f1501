"""Experience replay: half of every batch is remembered, chosen by a reservoir (Chaudhry et al. 2019, arXiv 1902.10486).

Differs  the reservoir runs once over a finished task instead of over a stream; the marginal distribution is the same.
"""

from __future__ import annotations

from components.strategies import Strategy


class ExperienceReplay(Strategy):
    """The detector's own losses on new and remembered faces alike."""

    remembers = "reservoir"
