"""History of entities: reads of what the broker wrote (MIM1)."""
