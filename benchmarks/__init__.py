"""How fast, against what. `python -m benchmarks` measures ratios; scripts beside it measure what has no baseline."""
