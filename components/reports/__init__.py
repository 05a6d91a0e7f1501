"""What a person sees: one page per line (`publish`) and the state of all lines in the terminal (`terminal`)."""
