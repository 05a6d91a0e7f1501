"""Whether a generation may replace the champion: rules, and the verdict they reach."""
