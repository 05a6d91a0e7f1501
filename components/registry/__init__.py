"""What MLflow remembers of a line: its generations (`record`), its champion (`promote`, `rollback`), and why (`ledger`)."""
