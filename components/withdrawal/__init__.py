"""Who asked not to be learned from: which rows are meant, which stage is told, and who met them before."""
