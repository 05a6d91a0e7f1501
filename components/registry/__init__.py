"""What MLflow knows of a line: generations (`record`), the champion (`promote`, `rollback`) and why (`ledger`)."""
