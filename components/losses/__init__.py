"""Terms a detector or a strategy may sum: each a formula, its shapes and its source; no state, no configuration."""
