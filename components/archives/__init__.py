"""Archives: how they lie on disk, what is in them, and whether they may be learned from."""
