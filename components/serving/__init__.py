"""The champion at work: the model MLflow serves (`model`), and the records it gives of files (`verdicts`, `record`)."""
