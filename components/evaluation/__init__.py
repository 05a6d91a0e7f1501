"""What a generation knows: scores, metrics with intervals, paired comparisons, and the matrix of a line."""
