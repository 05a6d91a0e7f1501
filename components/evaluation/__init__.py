"""What a generation knows: scores, metrics with intervals, paired comparisons, and the matrix of a line."""

MATRIX_FILE = "matrix.json"
"""Beside a verdict: the matrix of its line up to that generation."""
