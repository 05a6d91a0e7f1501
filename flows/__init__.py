"""When things happen and what follows from a verdict. Prefect and DVC are spoken to only here."""
