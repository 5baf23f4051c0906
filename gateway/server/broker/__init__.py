"""Current state: entities in, entities out, queries, batches, and who is told of changes (MIM1)."""
