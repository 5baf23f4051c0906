"""Sources of context (CIM 009 clauses 5.9 to 5.12, 5.15)."""
