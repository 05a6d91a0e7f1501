"""The champion at work: the model MLflow serves (`model`) and the verdicts on files (`verdicts`)."""
