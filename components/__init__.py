"""What each step does. Nouns are libraries, verbs are stages; read from top to bottom, it is the story.

    lab            a small world of people and forgeries, rendered or made of photographs
    archives       clips land: layouts, manifests, expectations          ingest  validate
    faces          clips become aligned faces                            crop  gauge
    tasks          faces become batches, half of them remembered
    losses         formulas of the papers
    detectors      one file a paper, and the parts they share
    strategies     how a student learns without forgetting, one file a method
    memory         which faces are worth keeping
    protocols      what papers compare under
    generations    M_i from M_{i-1}: recipes, lineage, the loop          evolve  curate
    evaluation     scores, the matrix, what was gained and forgotten     add_benchmark  evaluate  examine
    gates          rules and their verdict                               judge
    registry       MLflow remembers: runs, versions, aliases, ledger     (promote, rollback)
    serving        the champion answers
    reports        one page a line, Data Docs                            publish
    withdrawal     who is never learned again, and who met them          (withdraw)

A module imports only what stands above it; flows use all of it, and nothing here uses flows.
"""
