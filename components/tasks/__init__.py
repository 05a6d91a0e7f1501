"""A task as the student meets it: faces of an archive, drawn into batches, half of them remembered."""
