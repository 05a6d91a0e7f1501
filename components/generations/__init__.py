"""A generation: born from a recipe, its teacher, a task and a memory (``evolve``); it leaves a memory behind (``curate``)."""
