"""What a line remembers: exemplars chosen for a reason, in a table of their own that outlives the archives."""

EXEMPLARS = "exemplars.parquet"
"""In a memory's folder: one row a face, see `buffer`."""
